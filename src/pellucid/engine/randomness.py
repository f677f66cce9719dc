"""Random numbers of our own for models that draw in their forward pass: the host's sources are not touched.

PyTorch, Python and NumPy each have one source per process. Whether a model draws at all is found out in its
first pass, which PyTorch shows us operation by operation; most never do, and run as they are from then on.
One that does gets a generator of its own for every operation that draws. Python's and NumPy's sources cannot
be exchanged for one thread alone: for models that use them they are lent for the time of a pass, and put
back.
"""

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

T = TypeVar("T")

_SEEDED = torch.Tag.nondeterministic_seeded
_DRAWS: WeakKeyDictionary[Any, tuple[bool, bool]] = WeakKeyDictionary()
"""Of each module: whether it draws from PyTorch's source, and from Python's or NumPy's."""
_LENT = threading.RLock()
"""Held while a source that the process has only once is lent to a model."""


def _new_lock() -> None:
    global _LENT
    _LENT = threading.RLock()


if hasattr(os, "register_at_fork"):  # a child must not wait for a thread that it does not have
    os.register_at_fork(after_in_child=_new_lock)


def inherit_draws(module: Any, changed: Any) -> None:
    """A changed copy of a model is taken to draw as the model does; where it does not, its passes tell."""
    if module in _DRAWS:
        _DRAWS[changed] = _DRAWS[module]


class Randomness:
    """The random numbers of one session: the same for the same seed.

    Args:
        module: what runs, by which it is remembered whether it draws.
        device: where it runs.
        seed: of all numbers.
    """

    def __init__(self, module: Any, device: torch.device, seed: int) -> None:
        self.module, self.device, self.seed = module, device, seed
        self.own = Drawing(seed)
        self._lent_states: tuple[Any, Any] | None = None

    def run(self, forward: Callable[[], T]) -> T:
        """What one forward pass gives; the host's sources are as before, also after an exception."""
        draws = self._known()
        if draws is None:
            return self._first(forward)
        torch_draws, others_draw = draws
        if others_draw:
            with self._lending():
                return self._drawing(forward) if torch_draws else forward()
        if torch_draws:
            return self._drawing(forward)
        before = self._state()
        try:
            made = forward()
        except Exception:
            if self._state() != before:
                self._again(forward, before)
            raise
        return made if self._state() == before else self._again(forward, before, made)

    def _drawing(self, forward: Callable[[], T]) -> T:
        with self.own:
            return forward()

    def _first(self, forward: Callable[[], T]) -> T:
        """The first pass of a model, in which it is found out whether it draws."""
        python, numpy = random.getstate(), _numpy_state()
        try:
            with _seeing() as drawn:
                made = self._drawing(forward)
        except Exception:
            others = bool(drawn) or _numpy_state() != numpy
            if others:
                self._put_back(python if drawn else None, numpy)
            if others or self.own.drew:
                raise
            failed = True
        else:
            failed = False
        if failed:  # perhaps for being watched; else it fails again, of itself
            self._remember(False, False)
            return self.run(forward)
        others = bool(drawn) or (_numpy_state() != numpy and self._uses_numpy(forward))
        self._remember(self.own.drew, others)
        if not others:
            return made
        self._put_back(python if drawn else None, numpy)
        self.own, self._lent_states = Drawing(self.seed), None  # from the beginning, as it will be next time
        return self.run(forward)

    @staticmethod
    def _put_back(python: Any, numpy: tuple[Any, ...]) -> None:
        if python is not None:
            random.setstate(python)
        _set_numpy_state(numpy)

    def _again(self, forward: Callable[[], T], before: bytes, made: T | None = None) -> T:
        """A pass during which PyTorch's source has changed: by this model, or by another thread?"""
        after = self._state()
        fresh = Drawing(self.seed)
        try:
            with fresh:
                again = forward()
        except Exception:
            if fresh.drew and self._state() == after:
                self._set_state(before)
            return made  # type: ignore[return-value]
        if not fresh.drew:
            return made  # type: ignore[return-value]
        if self._state() == after:  # nobody else has drawn since
            self._set_state(before)
        self._remember(True, False)
        self.own = fresh
        return again

    def _uses_numpy(self, forward: Callable[[], Any]) -> bool:
        """Whether it is this model that draws from NumPy's source, not another thread: one more pass."""
        with self._lending():
            before = _numpy_state()
            self._drawing(forward)
            return _numpy_state() != before

    @contextmanager
    def _lending(self) -> Iterator[None]:
        with _LENT:
            before, seed = (random.getstate(), np.random.get_state()), self.seed
            own = random.Random(seed).getstate(), np.random.RandomState(seed % 2**32).get_state()
            _set_sources(self._lent_states or own)
            try:
                yield
            finally:
                self._lent_states = random.getstate(), np.random.get_state()
                _set_sources(before)

    def _known(self) -> tuple[bool, bool] | None:
        try:
            return _DRAWS.get(self.module)
        except TypeError:  # a callable that can be neither hashed nor watched
            return None

    def _remember(self, torch_draws: bool, others_draw: bool) -> None:
        try:
            _DRAWS[self.module] = torch_draws, others_draw
        except TypeError:
            return

    def _state(self) -> bytes:
        if self.device.type == "cuda":
            return bytes(torch.cuda.get_rng_state(self.device).numpy()) + _cpu_state()
        if self.device.type == "mps":
            return bytes(torch.mps.get_rng_state().cpu().numpy()) + _cpu_state()
        return _cpu_state()

    def _set_state(self, state: bytes) -> None:
        cpu = torch.default_generator.get_state().numel()
        own, rest = state[-cpu:], state[:-cpu]
        torch.default_generator.set_state(_as_tensor(own))
        if rest and self.device.type == "cuda":
            torch.cuda.set_rng_state(_as_tensor(rest), self.device)
        elif rest:
            torch.mps.set_rng_state(_as_tensor(rest))


class Drawing(TorchDispatchMode):
    """Within it operations that draw take their numbers from our own generators; `drew` tells if any did."""

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seed, self.drew = seed, False
        self.generators: dict[torch.device, torch.Generator] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """PyTorch imports its compiler to skip it, which takes as long as importing PyTorch itself."""
        return False

    def generator(self, device: torch.device) -> torch.Generator:
        """The source of one device."""
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed % 2**63)
        return self.generators[device]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if _SEEDED not in func.tags or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        given = {a.name: args[i] for i, a in enumerate(func._schema.arguments) if i < len(args)}
        given = (
            {a.name: a.default_value for a in func._schema.arguments if a.has_default_value()}
            | given
            | kwargs
        )
        if any(not given.get(name, True) for name in _SWITCHES) or func.overloadpacket in _NEVER:
            return func(*args, **kwargs)
        tensor = next((a for a in args if isinstance(a, Tensor)), None)
        device = torch.device(kwargs.get("device") or (tensor.device if tensor is not None else "cpu"))
        generator = self.generator(device)
        self.drew = True
        if any(a.name == "generator" for a in func._schema.arguments):
            return func(*args, **{**kwargs, "generator": generator})
        if "generator" in func.overloadpacket.overloads() and func._overloadname == "default":
            return func.overloadpacket.generator(*args, **{**kwargs, "generator": generator})
        return self._lent(func, args, kwargs, generator)

    def _lent(self, func: Any, args: Any, kwargs: Any, generator: torch.Generator) -> Any:
        """An operation that takes no generator: the process's source is lent to it."""
        on_gpu = generator.device.type == "cuda"
        shared = (
            torch.cuda.default_generators[generator.device.index or 0] if on_gpu else torch.default_generator
        )
        with _LENT:
            before = shared.get_state()
            shared.set_state(generator.get_state())
            try:
                return func(*args, **kwargs)
            finally:
                generator.set_state(shared.get_state())
                shared.set_state(before)


_SWITCHES = ("dropout_p", "dropout", "train", "training")
"""Arguments without which an operation draws nothing."""
_NEVER = {
    getattr(torch.ops.aten, name)
    for name in ("_fused_sdp_choice", "_nested_tensor_softmax_with_shape", "_cudnn_init_dropout_state")
    if hasattr(torch.ops.aten, name)
}
"""Tagged as drawing, which they do not."""


def _cpu_state() -> bytes:
    return torch.default_generator.get_state().numpy().tobytes()


def _as_tensor(state: bytes) -> Tensor:
    return torch.frombuffer(bytearray(state), dtype=torch.uint8)


def _set_sources(states: tuple[Any, Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])


def _numpy_state() -> tuple[Any, ...]:
    """The state of NumPy's source, to be compared."""
    kind, keys, *rest = np.random.get_state()
    return kind, np.asarray(keys).tobytes(), *rest


def _set_numpy_state(state: tuple[Any, ...]) -> None:
    kind, keys, *rest = state
    np.random.set_state((kind, np.frombuffer(keys, np.uint32), *rest))


@contextmanager
def _seeing() -> Iterator[list[str]]:
    """Within it, whether this thread draws from Python's source: the list then names from where.

    What draws in our own files does not count: type checkers do, not models.
    """
    drawn: list[str] = []
    source = getattr(random, "_inst", None)

    def see(frame: Any, event: str, called: Any) -> None:
        where = frame.f_code.co_filename
        if event == "c_call" and getattr(called, "__self__", None) is source and "pellucid" not in where:
            drawn.append(where)

    profile = sys.getprofile()
    if profile is not None:  # somebody measures: then it is not looked for
        yield drawn
        return
    sys.setprofile(see)
    try:
        yield drawn
    finally:
        sys.setprofile(None)
