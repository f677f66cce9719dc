"""A model run with its operations replaced, whoever calls them: modules, functions, methods, in place or not.

PyTorch shows a function mode every operation that a model runs. An operation on what depends on the input is
given to a handler, found by its name, which may put another way back in its place. Operations in place are
run on a copy, and whoever holds the tensor, or a view of it, sees the copy from then on, so that nothing kept
for the way back is overwritten. Parameters are constants here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from pellucid.engine.attention import attend, attend_with_heads
from pellucid.engine.backward_hooks import observing_backward_hooks
from pellucid.engine.calls import Call, Handler, Tag
from pellucid.engine.checkpoints import as_written, run_unpacked, saved_elsewhere
from pellucid.engine.dependence import InputDependence
from pellucid.engine.eager import EAGER
from pellucid.engine.names import Known, recognised
from pellucid.engine.norms import transforming
from pellucid.engine.precision import HALF
from pellucid.errors import ModelError
from pellucid.model import Model

PLAIN = {int, float, bool, str, type(None)}
"""Kinds of arguments that hold no tensor; most arguments are such."""


class Operations(InputDependence, TorchFunctionMode):
    """Within it every operation on what depends on the input goes to its handler.

    A subclass gives `handlers` by name, and `other` for operations without one; what is written to an index,
    "setitem", goes as it is unless it has a handler of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.handlers: Mapping[str, Handler] = {}
        self._half = False  # whether the arguments at hand name half precision

    def other(self, call: Call) -> Any:
        """An operation without a handler: as it is."""
        return call.run()

    def refuses_complex(self) -> bool:
        """Whether no operation may be given complex numbers that depend on the input."""
        return False

    # How a model is run

    @contextmanager
    def over(self, model: Model, inputs: Tensor) -> Iterator[None]:
        """Within this block, in which the model is run on `inputs`, operations are replaced.

        Raises:
            ModelError: a part of the model is TorchScript, which lets no one look in.
        """
        names = dict[nn.Module, str]()
        if isinstance(model.module, nn.Module):
            for name, child in model.module.named_modules():
                if isinstance(child, torch.jit.ScriptModule):
                    raise ModelError(
                        f"The model's layer {name or type(child).__name__!r} is TorchScript, which lets no "
                        "one look in: explain the module that it was made of."
                    )
                names[child] = name
        with ExitStack() as stack:
            stack.enter_context(self._placing(names))
            stack.enter_context(EAGER)
            stack.enter_context(as_written())
            stack.enter_context(self._following(inputs))
            stack.enter_context(self)
            yield

    @contextmanager
    def _placing(self, names: Mapping[nn.Module, str]) -> Iterator[None]:
        """Knows which module runs; the modules are a session's own, so no other thread meets these hooks."""

        def enter(module: nn.Module, args: Any) -> None:
            self.places.append(names.get(module, self.places[-1]))

        def leave(module: nn.Module, args: Any, output: Any) -> Any:
            self.places.pop()
            return self.current(output)

        with ExitStack() as hooks:
            for module, name in names.items():
                hooks.enter_context(observing_backward_hooks(module, name))
                hooks.callback(module.register_forward_pre_hook(enter, prepend=True).remove)
                hooks.callback(module.register_forward_hook(leave, prepend=True, always_call=True).remove)
            yield

    def result(self, raw: Any) -> Any:
        """The model's raw output as operations in place have left it.

        Raises:
            ModelError: a part of it was computed from the input by what is no operation.
        """
        raw = self.current(raw)
        for value in tree_leaves(raw):
            if isinstance(value, Tensor) and value.requires_grad and value not in self.tags:
                self._constant(value)
        return raw

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by PyTorch with every function that a model calls."""
        kwargs = kwargs or {}
        known = recognised(func)
        if known.asks and args and isinstance(args[0], Tensor):
            return func(self.memory.latest(args[0]), *args[1:], **kwargs)
        found: list[Tensor] = []
        self._half = known.name in ("half", "bfloat16")
        given = tuple([value if type(value) in PLAIN else self._given(value, found) for value in args])
        options = {name: self._given(value, found) for name, value in kwargs.items()} if kwargs else {}
        if transforming():
            self._refuse_transform(known.name, found, given, options)
        if not found:  # on constants alone
            made = func(*given, **options)
            self._seen(made, depends=False)
            return made
        if self._half:
            given, options = self._widened(found, (given, options))
            if known.name in ("half", "bfloat16"):
                known, func = recognised(torch.clone), torch.clone
        if self.refuses_complex() and any(tensor.is_complex() for tensor in found):
            raise ModelError(
                f"The model{self._place} computes with complex numbers ({known.name}), which carry no "
                "relevance: use a gradient method."
            )
        if known.respell is None:
            call = Call(known.name, func, given, options, known.in_place, self.places[-1])
            made = self._replaced(call, known, args, kwargs)
        else:
            spelled = known.respell(*given, **options)
            named, place = dict(spelled.kwargs), self.places[-1]
            call = Call(spelled.name, spelled.function, spelled.args, named, False, place)
            made = spelled.results_of(self._replaced(call, known, args, kwargs))
        return made

    def _replaced(self, call: Call, known: Known, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What an operation gives by its handler; `args` and `kwargs` are as the model wrote them."""
        match call.name:
            case "scaled_dot_product_attention":
                with self:
                    return attend(*call.args, **call.kwargs)
            case "multi_head_attention_forward":
                with self:
                    return attend_with_heads(*call.args, **call.kwargs)
        written = args[0] if known.in_place else self._output_argument(call, known, kwargs)
        if written is not None and not isinstance(written, Tensor):
            raise ModelError(
                f"The model{self._place} changes several tensors by one operation ({call.name}), which "
                "cannot be followed: write it with one result, or use a gradient method."
            )
        handle = self.handlers.get(call.name, Call.run if call.name == "setitem" else self.other)
        # Under torch.utils.checkpoint, which would run it again on the way back, as it was.
        made = run_unpacked(lambda: handle(call)) if saved_elsewhere() else handle(call)
        self._seen(made)
        return made if written is None else self._write(written, made)

    def _refuse_transform(
        self, name: str, found: Sequence[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Refuses what runs on the input within a transform of torch.func, such as vmap."""
        if found or any(self._transformed(value) for value in tree_leaves((args, kwargs))):
            raise ModelError(
                f"The model{self._place} runs {name!r} on its input within a transform of torch.func (vmap, "
                "grad, jvp, ...), where operations cannot be replaced one by one: write it in plain "
                "operations on the whole batch, or use a gradient method."
            )

    @staticmethod
    def _output_argument(call: Call, known: Known, kwargs: Mapping[str, Any]) -> Any:
        """Where an argument says that the result shall go; the call is made one that only gives it."""
        if "out" in kwargs:
            del call.kwargs["out"]
            return kwargs["out"]
        at = known.position
        if at is None or not call.get(at, "inplace", False):
            return None
        if at < len(call.args):
            call.args = (*call.args[:at], False, *call.args[at + 1 :])
        else:
            call.kwargs["inplace"] = False
        return call.get(0, "input")

    def _write(self, written: Tensor, made: Tensor) -> Tensor:
        lost = not made.requires_grad and not torch.is_grad_enabled()
        if lost and self.memory.latest(written) in self.tags:
            raise ModelError(
                f"The model{self._place} changes in place, under torch.no_grad, what depends on the input: "
                "the change has no gradient that could be replaced. Let it be part of the graph, or use a "
                "method without gradients."
            )
        for tensor in self.memory.write(written, made, self._place):
            self._seen(tensor)
        return self.memory.latest(written)

    def _given(self, value: Any, found: list[Tensor]) -> Any:
        """An argument as it is now; tensors that depend on the input are `found`, others made constants."""
        if isinstance(value, Tensor):
            tensor = self.memory.latest(value)
            self._half |= tensor.dtype in HALF
            if tensor not in self.tags and tensor.requires_grad:
                tensor = self._source(tensor)
            if tensor in self.tags:
                found.append(tensor)
                return tensor
            return self._constant(tensor) if tensor.requires_grad else tensor
        kind = type(value)
        if kind is torch.dtype:
            self._half |= value in HALF
            return value
        if isinstance(value, dict):
            return {name: self._given(part, found) for name, part in value.items()}
        if isinstance(value, (list, tuple)) and kind is not torch.Size:
            parts = [part if type(part) in PLAIN else self._given(part, found) for part in value]
            return kind(*parts) if hasattr(value, "_fields") else kind(parts)
        return value

    def _widened(self, found: list[Tensor], given: Any) -> Any:
        """Arguments in float32 where they were in half precision, unless the model asks for autocast."""
        if torch.is_autocast_enabled(found[0].device.type):
            return given

        def widened(value: Any) -> Any:
            if isinstance(value, torch.dtype):
                return torch.float32 if value in HALF else value
            if not isinstance(value, Tensor) or value.dtype not in HALF:
                return value
            wide = value.float()
            if value in self.tags:
                self.tags[wide] = Tag(dict(self.tags[value].notes))
            return wide

        return tree_map(widened, given)
