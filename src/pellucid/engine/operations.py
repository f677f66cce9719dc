"""A model run with its operations replaced, whoever calls them: modules, functions, methods, in place or not.

PyTorch shows a function mode every operation that a model runs. An operation on what depends on the input is
given to a handler, found by its name, which may put another way back in its place. Operations in place are
run on a copy, and whoever holds the tensor, or a view of it, sees the copy from then on, so that nothing kept
for the way back is overwritten. Parameters are constants here.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from pellucid.engine.attention import attend, attend_with_heads
from pellucid.engine.backward_hooks import FUNCTION, looking_on
from pellucid.engine.checkpoints import as_written, run_unpacked, saved_elsewhere
from pellucid.engine.memory import ByTensor, Memory
from pellucid.engine.names import Known, recognised
from pellucid.engine.norms import transforming
from pellucid.errors import ModelError
from pellucid.model import Model
from pellucid.structures import as_plain

PLAIN = {int, float, bool, str, type(None)}
"""Kinds of arguments that hold no tensor; most arguments are such."""


@dataclass
class Call:
    """One operation on tensors that depend on the input.

    `name` is the operation's, whichever way it was called; `where` the module that called it; `in_place` says
    that `function` changes its first argument.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    in_place: bool
    where: str

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, by its place or its name."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)

    def run(self) -> Any:
        """What the model's own operation gives, in the graph as it stands."""
        if not self.in_place:
            return self.function(*self.args, **self.kwargs)
        copy = self.args[0].clone()
        made = self.function(copy, *self.args[1:], **self.kwargs)
        return copy if made is None else made  # x[i] = y gives nothing

    def value(self) -> Any:
        """The same outside the graph."""
        with torch.no_grad():
            return self.run()


HALF = (torch.float16, torch.bfloat16)
"""Precisions in which nothing is replaced: relevance of a network in half precision is had in float32."""

Handler = Callable[[Call], Any]


@dataclass
class Tag:
    """What is known of a tensor that depends on the input; each kind of replacement adds to it."""

    notes: dict[str, Any] = field(default_factory=dict)


class Operations(TorchFunctionMode):
    """Within it every operation on what depends on the input goes to its handler.

    A subclass gives `handlers` by name, and `other` for operations without one; what is written to an index,
    "setitem", goes as it is unless it has a handler of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tags: ByTensor[Tag] = ByTensor()  # what depends on the input
        self.memory = Memory()
        self.now = self.memory.now  # a tensor -> what operations in place have made of it
        self.places: list[str] = [""]
        self.handlers: Mapping[str, Handler] = {}
        self._constants: ByTensor[Tensor] = ByTensor()
        self._root: Any = None
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
            stack.enter_context(_EAGER)
            self.tags[inputs] = Tag()
            self._root = inputs if inputs.grad_fn is None else inputs.grad_fn
            stack.enter_context(as_written())
            stack.callback(self._constants.clear)
            stack.callback(self.memory.clear)
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
                hooks.enter_context(looking_on(module, name))
                hooks.callback(module.register_forward_pre_hook(enter, prepend=True).remove)
                hooks.callback(module.register_forward_hook(leave, prepend=True, always_call=True).remove)
            yield

    def current(self, value: Any) -> Any:
        """What operations in place have made of a tensor, or of all in a structure of them."""
        if isinstance(value, Tensor):
            return self.memory.latest(value)
        return tree_map_only(Tensor, self.memory.latest, value) if self.now else value

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

    def plain(self, raw: Any) -> Any:
        """An output whose tensors are plain ones, of which as much is known as before."""

        def without_class(tensor: Tensor) -> Tensor:
            made: Tensor = as_plain(tensor)
            if made is tensor:
                return tensor
            source = self._source(tensor)
            if type(source) is Tensor:
                return source
            if source in self.tags:
                self.tags[made] = self.tags[source]
            return made

        return tree_map_only(Tensor, without_class, raw)

    def depends_on_input(self, value: Any) -> bool:
        """Whether a value is a tensor that depends on the input."""
        return value in self.tags

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
        written = args[0] if known.in_place else self._told_to_write(call, known, kwargs)
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

    def _transformed(self, value: Any) -> bool:
        """Whether a value is a transform's own tensor that depends on the input."""
        if not isinstance(value, Tensor):
            return False
        while torch._C._functorch.is_functorch_wrapped_tensor(value):
            value = torch._C._functorch.get_unwrapped(value)
        return value.grad_fn is not None and self._follows(value.grad_fn)

    @staticmethod
    def _told_to_write(call: Call, known: Known, kwargs: Mapping[str, Any]) -> Any:
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

    def _source(self, tensor: Tensor) -> Tensor:
        """What a tensor is another name of: `as_subclass` makes one without a word to modes."""
        node = tensor.grad_fn
        if node is None or node.name() != "AliasBackward0":
            return tensor
        nodes: list[Any] = [node]
        while node is not None and node.name() == "AliasBackward0":
            node = node.next_functions[0][0]
            nodes.append(node)
        known = (t for t in self.tags if any(t.grad_fn is n for n in nodes) and t.shape == tensor.shape)
        return next(known, tensor)

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

    def _constant(self, tensor: Tensor) -> Tensor:
        """A tensor without its graph, the same one each time."""
        if tensor not in self._constants:
            if tensor.grad_fn is not None and self._follows(tensor.grad_fn):
                if tensor.grad_fn.name() == FUNCTION:
                    raise ModelError(
                        "There is a backward hook on all modules (torch.nn.modules.module."
                        "register_module_full_backward_hook or ..._pre_hook), through which no operation can "
                        "be followed: remove it, or use a gradient method."
                    )
                raise ModelError(
                    f"The model{self._place} computes something by {tensor.grad_fn.name()}, which is no "
                    "operation of PyTorch's own (a custom autograd function, compiled code): no rule can "
                    "stand in for its gradient: write it in plain operations, or use a gradient method."
                )
            self._constants[tensor] = tensor.detach()
        return self._constants[tensor]

    def _follows(self, node: Any) -> bool:
        """Whether a node of the graph comes after the input."""
        seen, todo = {node}, [node]
        while todo:
            node = todo.pop()
            if node is self._root or getattr(node, "variable", None) is self._root:
                return True
            following = {n for n, _ in node.next_functions if n is not None} - seen
            seen |= following
            todo += following
        return False

    @property
    def _place(self) -> str:
        return f" in layer {self.places[-1]!r}" if self.places[-1] else ""

    def _seen(self, made: Any, depends: bool = True) -> None:
        """Keeps in mind what an operation gave, a tensor or several: which are views, and which carry."""
        if isinstance(made, Tensor):
            self.memory.watch(made)
            # A custom autograd function computes without a graph; what it gives is not to pass for ours.
            if depends and made.requires_grad and torch.is_grad_enabled() and made not in self.tags:
                self.tags[made] = Tag()
        elif isinstance(made, (list, tuple)):
            for part in made:
                self._seen(part, depends)


class _Eager:
    """While anybody is within it, functions compiled by torch.compile run as they were written.

    PyTorch has one such switch per process: the first to come sets it, the last to go puts it back. Compiled
    modules need no switch, as a shadow has none.
    """

    def __init__(self) -> None:
        self.lock, self.within = threading.Lock(), 0
        self.stance: Any = None

    def __enter__(self) -> None:
        with self.lock:
            if self.stance is None and "torch._dynamo" in sys.modules:
                self.stance = torch.compiler.set_stance("force_eager")
                self.stance.__enter__()
            self.within += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.within -= 1
            if not self.within and self.stance is not None:
                self.stance.__exit__(None, None, None)
                self.stance = None

    def forget(self) -> None:
        """In a forked child, whose parent's other threads are not there."""
        self.lock, self.within = threading.Lock(), 0
        if self.stance is not None:
            self.stance.__exit__(None, None, None)
            self.stance = None


_EAGER = _Eager()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_EAGER.forget)
