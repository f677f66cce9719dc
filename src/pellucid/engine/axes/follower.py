"""The mode that is shown every operation of a pass and follows the picture's axes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from pellucid.engine.axes.kinds import Axes, spatial
from pellucid.engine.axes.moving import flipped
from pellucid.engine.axes.operands import Operands
from pellucid.engine.axes.products import RECURRENT
from pellucid.engine.axes.rules import KNOWN_RULES, LIKE, MAKERS
from pellucid.engine.axes.slicing import DROPPED, getitem
from pellucid.engine.axes.trace import Trace, joined, mirrored
from pellucid.engine.axes.windows import POOLS
from pellucid.engine.memory import ByTensor
from pellucid.engine.names import recognised


class Follower(TorchFunctionMode):
    """A mode that follows the picture's axes; `attended` is called where attention weights mix values."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.traces: ByTensor[Trace] = ByTensor()
        self.bits = 0
        self.batch = len(inputs)
        self.attended: Callable[[], None] = _nothing
        self.traces[inputs] = Trace(("n", "-", "h", "w"))

    def watch_none(self) -> None:
        """From here on nobody is called where attention weights mix values."""
        self.attended = _nothing

    # Layers on the way

    def bit(self) -> int:
        """A new bit."""
        self.bits += 1
        return 1 << self.bits

    def group(self) -> int:
        """A bit for the picture itself, which a layer's calls take the place of on the way to the score."""
        bit = self.bit()
        for tensor in self.traces:
            trace = self.traces[tensor]
            self.traces[tensor] = trace._replace(paths=trace.paths | bit)
        return bit

    def passes(self, passed: Tensor, trace: Trace, group: int, call: int) -> None:
        """What goes on from a layer: of the bits of `group` it has that of this `call` alone."""
        paths = trace.paths & ~group | call
        self.traces[passed] = trace._replace(paths=paths, behind=trace.behind | call)

    def of(self, tensor: Tensor) -> Trace | None:
        """What is known of a tensor; None where it does not depend on the picture."""
        return self.traces.get(tensor)

    def hidden(self, given: Any, made: Any, recurrent: bool = False) -> None:
        """A part of the model that no mode sees into, such as TorchScript: what it gives is unknown.

        What a recurrence gives is known to be steps.
        """
        before = [self.traces[t] for t in _tensors(given) if t in self.traces]
        for tensor in _tensors(made):
            if before and (recurrent or tensor not in self.traces):
                axes = ("-",) * tensor.ndim if recurrent else None
                self.traces[tensor] = joined(before, axes, why=RECURRENT if recurrent else "")

    # Operations

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by PyTorch with every function that a model calls."""
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        self.see(func, args, kwargs, made)
        return made

    def see(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> None:
        """Takes note of an operation: what it was given, and what it gave."""
        known = recognised(func)
        if known.asks and known.name != "get data":
            return
        traces = self.traces
        values = args[:1] if known.name in LIKE and args else (args, kwargs) if kwargs else args
        given = [t for t in _tensors(values) if t in traces]
        if not given or known.name in MAKERS:
            return
        before = [traces[t] for t in given]
        name = known.name
        if name == "setitem":
            self._write(args[0], args[1], args[2], before)
            return
        if known.respell is not None:
            name, _, args, kwargs, results = known.respell(*args, **kwargs)
            made = made[0] if results > 1 else made
        attends, mixes = self._attention(name, args, kwargs, before)
        operands = Operands(self.batch, {id(t): traces[t].axes for t in given}, name)
        operands.mixed = {id(t) for t in given if traces[t].mixed}
        flips = {trace.flips for trace in before if trace.axes is not None and spatial(trace.axes)}
        for number, out in enumerate(_tensors(made)):
            axes, why = self._axes(name, operands, args, kwargs, out, number, before, len(flips) > 1)
            turned = next(iter(flips), (False, False))
            if name in ("flip", "fliplr", "flipud") and axes is not None:
                turned = flipped(operands, name, args, kwargs, turned)
            traces[out] = joined(before, axes, turned, name in POOLS, attends, why, operands.edges)
            traces[out] = mirrored(traces[out], before[0].flips)
            if mixes:
                traces[out] = traces[out]._replace(mixed=True)
            base = out._base if axes is None and args and out is args[0] else None
            if base is not None and base in traces:  # written in place into a part of another
                traces[base] = joined([traces[base], *before], None, why=why)
        if mixes:
            self.attended()

    def _axes(
        self,
        name: str,
        operands: Operands,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Tensor,
        number: int,
        before: Sequence[Trace],
        mixed: bool,
    ) -> tuple[Axes | None, str]:
        """The axes of what an operation gave, and how they were lost, if they were."""
        why = next((trace.why for trace in before if trace.why), "")
        if all(trace.axes is not None and not spatial(trace.axes) for trace in before):
            return ("-",) * out.ndim, why
        rule = KNOWN_RULES.get(name)
        if rule is None or mixed:
            return None, why
        axes = rule(operands, args, kwargs, out, number)
        if axes is not None and not spatial(axes):
            why = why or DROPPED.get(name, "")
        return axes, operands.why or why

    def _attention(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], before: Sequence[Trace]
    ) -> tuple[bool, bool]:
        """Whether an operation gives attention weights, and whether it mixes values by such."""
        if name in ("scaled_dot_product_attention", "multi_head_attention_forward"):
            return False, True
        if name in ("matmul", "einsum"):
            weights = args[int(name == "einsum")] if len(args) > int(name == "einsum") else None
            trace = self.of(weights) if isinstance(weights, Tensor) else None
            return False, trace is not None and trace.attends
        if name == "softmax":
            x = args[0] if args else kwargs.get("input")
            dim = args[1] if len(args) > 1 else kwargs.get("dim")
            return isinstance(x, Tensor) and x.ndim > 2 and dim in (-1, x.ndim - 1), False
        return before[0].attends, False

    def _write(self, written: Any, index: Any, value: Any, before: Sequence[Trace]) -> None:
        """What is written into a part of a tensor: its axes stay where the value has the part's own.

        Those of a tensor that did not depend on the picture, or that gets positions in another place or the
        other way round, are unknown.
        """
        if not isinstance(written, Tensor):
            return
        old, new = self.of(written), self.of(value) if isinstance(value, Tensor) else None
        fits = old is not None and (new is None or self._fits(written, index, value, old, new))
        axes, flips = (old.axes, old.flips) if old is not None and fits else (None, (False, False))
        self.traces[written] = joined(before, axes, flips, why=old.why if old is not None else "")

    def _fits(self, written: Tensor, index: Any, value: Tensor, old: Trace, new: Trace) -> bool:
        """Whether a value has the axes of the part that it is written into."""
        if new.axes is None or old.axes is None or not spatial(new.axes):
            return new.axes is not None
        part = getitem(Operands(self.batch, {id(written): old.axes}), (written, index), {}, value)
        if part is None or new.flips != old.flips or len(part) < len(new.axes):
            return False
        return part[len(part) - len(new.axes) :] == new.axes and not spatial(part[: len(part) - value.ndim])


def _nothing() -> None:
    return None


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
