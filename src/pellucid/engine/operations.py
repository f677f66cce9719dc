"""A model run with its operations replaced, whoever calls them: modules, functions, methods, in place or not.

PyTorch shows a function mode every operation that a model runs. What depends on the input is said to carry;
an operation on what carries is given to a handler, found by its name, which may put another way back in its
place. Operations in place are run on a copy, and whoever holds the tensor sees the copy from then on, so
that nothing kept for the way back is overwritten. Parameters are constants here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from pellucid.engine.attention import attend, attend_with_heads
from pellucid.errors import ModelError
from pellucid.model import Model

SYNONYMS = {
    "__add__": "add", "__radd__": "add", "__iadd__": "add", "__sub__": "sub", "__isub__": "sub",
    "subtract": "sub", "__rsub__": "rsub", "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul",
    "multiply": "mul", "__truediv__": "div", "__itruediv__": "div", "divide": "div", "true_divide": "div",
    "__div__": "div", "__idiv__": "div", "__rtruediv__": "rdiv", "__rdiv__": "rdiv", "__matmul__": "matmul",
    "__rmatmul__": "rmatmul", "bmm": "matmul", "mm": "matmul", "mv": "matmul", "__neg__": "neg",
    "negative": "neg", "__pow__": "pow", "__ipow__": "pow", "__abs__": "abs", "absolute": "abs",
    "concat": "cat", "concatenate": "cat", "clip": "clamp", "special_expit": "sigmoid",
    "__getitem__": "getitem", "__setitem__": "setitem",
}  # fmt: skip
"""Names under which PyTorch shows the same operation."""


@dataclass
class Call:
    """One operation on tensors that carry.

    `name` is the operation's, whichever way it was called; `where` the module that called it.
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
        args = self.args
        if self.in_place:
            args = (args[0].clone(), *args[1:])
        return self.function(*args, **self.kwargs)

    def value(self) -> Any:
        """The same outside the graph."""
        with torch.no_grad():
            return self.run()


Handler = Callable[[Call], Any]


@dataclass
class Tag:
    """What is known of a tensor that carries; each kind of replacement adds to it."""

    notes: dict[str, Any] = field(default_factory=dict)


class Operations(TorchFunctionMode):
    """Within it every operation on what carries goes to its handler.

    A subclass gives `handlers` by name, and `other` for operations without one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tags: Any = WeakTensorKeyDictionary()  # what carries
        self.now: Any = WeakTensorKeyDictionary()  # a tensor -> what operations in place have made of it
        self.places: list[str] = [""]
        self.handlers: Mapping[str, Handler] = {}

    def other(self, call: Call) -> Any:
        """An operation without a handler: as it is."""
        return call.run()

    # How a model is run

    @contextmanager
    def over(self, model: Model, inputs: Tensor) -> Iterator[None]:
        """Within this block, in which the model is run on `inputs`, operations are replaced.

        Raises:
            ModelError: a part of the model is TorchScript, which lets no one look in.
        """
        with ExitStack() as hooks:
            if isinstance(model.module, nn.Module):
                for name, child in model.module.named_modules():
                    if isinstance(child, torch.jit.ScriptModule):
                        raise ModelError(
                            f"The model's layer {name or type(child).__name__!r} is TorchScript, which lets "
                            "no one look in: explain the module that it was made of."
                        )
                    enter, leave = self._entering(name), self._leaving
                    hooks.callback(child.register_forward_pre_hook(enter).remove)
                    hooks.callback(child.register_forward_hook(leave).remove)
            self.tags[inputs] = Tag()
            hooks.enter_context(self)
            yield

    def _entering(self, name: str) -> Callable[..., None]:
        return lambda module, args: self.places.append(name)

    def _leaving(self, module: nn.Module, args: Any, output: Any) -> None:
        self.places.pop()

    def carries(self, value: Any) -> bool:
        """Whether a value is a tensor that depends on the input."""
        return isinstance(value, Tensor) and value in self.tags

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by PyTorch with every function that a model calls."""
        asked = args
        found: list[Tensor] = []

        def current(value: Any) -> Any:
            return self._current(value, found) if isinstance(value, Tensor) else value

        args, kwargs = tree_map(current, (args, kwargs or {}))
        if not found:
            with torch.no_grad():  # on parameters alone, whose gradients nobody asks for
                return func(*args, **kwargs)
        name, in_place = named(func, args, kwargs)
        call = Call(name, func, args, kwargs, in_place, self.places[-1])
        match name:
            case "scaled_dot_product_attention":
                with self:
                    return attend(*args, **kwargs)
            case "multi_head_attention_forward":
                with self:
                    return attend_with_heads(*args, **kwargs)
            case "setitem":
                made = args[0].clone()
                made[args[1]] = args[2]
            case _:
                made = self.handlers.get(name, self.other)(call)
        tree_map(self._tagged, made)
        if in_place:
            self.now[asked[0]] = made
        return made

    def _current(self, tensor: Tensor, found: list[Tensor]) -> Tensor:
        """What operations in place have made of a tensor; it is `found` if it carries, else a constant."""
        while tensor in self.now:
            tensor = self.now[tensor]
        if tensor in self.tags:
            found.append(tensor)
            return tensor
        if tensor.requires_grad:
            if tensor.grad_fn is not None and self._follows(tensor.grad_fn):
                where = f" in layer {self.places[-1]!r}" if self.places[-1] else ""
                raise ModelError(
                    f"The model{where} computes something by {tensor.grad_fn.name()}, which is no "
                    "operation of PyTorch's own (a custom autograd function, compiled code): no rule can stand in "
                    "for its gradient: write it in plain operations, or use a gradient method."
                )
            return tensor.detach()
        return tensor

    def _follows(self, node: Any) -> bool:
        """Whether a node of the graph comes after something that carries."""
        known = {tensor.grad_fn for tensor in self.tags if tensor.grad_fn is not None}
        leaves = {id(tensor) for tensor in self.tags if tensor.is_leaf}
        seen, todo = set(), [node]
        while todo:
            node = todo.pop()
            if node in known or id(getattr(node, "variable", None)) in leaves:
                return True
            following = [n for n, _ in node.next_functions if n is not None and n not in seen]
            seen.update(following)
            todo += following
        return False

    def _tagged(self, made: Any) -> Any:
        if isinstance(made, Tensor) and made.requires_grad and made not in self.tags:
            self.tags[made] = Tag()
        return made


def named(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, bool]:
    """An operation's name, whichever way it was called, and whether it works in place.

    Example:
        >>> named(torch.Tensor.__iadd__, (), {}), named(torch.relu_, (), {})
        (('add', True), ('relu', True))
        >>> named(torch.nn.functional.relu, (), {"inplace": True})
        ('relu', True)
    """
    name = str(getattr(func, "__name__", type(func).__name__))
    if name == "__get__":
        return f"get {func.__self__.__name__}", False  # type: ignore[attr-defined]
    in_place = (name.startswith("__i") and name.endswith("__")) or name == "__setitem__"
    if name.endswith("_") and not name.endswith("__"):
        name, in_place = name[:-1], True
    elif (position := _in_place_argument(func)) is not None:
        in_place = bool(args[position] if position < len(args) else kwargs.get("inplace", False))
    return SYNONYMS.get(name, name), in_place


@cache
def _in_place_argument(func: Callable[..., Any]) -> int | None:
    """Where a function of torch.nn.functional is told to work in place."""
    taken = list(signature(func).parameters) if hasattr(func, "__code__") else []
    return taken.index("inplace") if "inplace" in taken else None
