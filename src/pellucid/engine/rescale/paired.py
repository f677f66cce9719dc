"""A model run on images and, operation by operation, on their references.

Every tensor that depends on the input has with it the reference's own, on which each operation is run once
more outside the graph. So an operation knows what it was given and what it gave for both, wherever the
samples lie.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.utils._pytree import tree_leaves, tree_map

from pellucid.engine.calls import Call, Tag
from pellucid.engine.operations import Operations
from pellucid.engine.tables import Table
from pellucid.model import Model


class _SurrogateGradient(Function):
    """A value whose gradient goes to another tensor."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Callable[[], Tensor], surrogate: Tensor) -> Tensor:
        """The value."""
        return value()

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> tuple[None, Any]:
        """To the other."""
        return None, gradients[0]


def with_surrogate_gradient(value: Tensor, surrogate: Tensor) -> Tensor:
    """A value of its own, out of any graph, whose gradient is that of another tensor of its shape."""
    return _SurrogateGradient.apply(lambda: value, surrogate)  # type: ignore[no-any-return]


class PairedRun(Operations):
    """A run in which each operation knows what it gives for `references` too, one of each image.

    A subclass gives the `table` of handlers. A handler must `pair` what it makes with what the references
    have in its place. `estimated` names the operations whose multipliers are an integral in nodes, with
    their places.
    """

    table: ClassVar[Table[Any]]

    def __init__(self, references: Tensor) -> None:
        super().__init__()
        self.references = references
        self.estimated: dict[str, None] = {}
        self.handlers = self.table.bound(self)

    def other(self, call: Call) -> Any:
        """An operation that the table does not have."""
        return self.table.other(self, call)

    @contextmanager
    def over(self, model: Model, inputs: Tensor) -> Iterator[None]:
        """See `Operations.over`; the inputs are paired with the references."""
        references = torch.empty_like(inputs).copy_(self.references)
        with super().over(model, inputs):
            self.pair(inputs, references)
            yield

    def pair(self, made: Any, references: Any) -> Any:
        """Keeps what stands beside each tensor of a structure for the references.

        So what is detached, as a mask may be, is known for the references too; but not what a custom autograd
        function makes inside, which runs without gradients.
        """
        for tensor, reference in zip(tree_leaves(made), tree_leaves(references), strict=True):
            if isinstance(tensor, Tensor) and (tensor.requires_grad or torch.is_grad_enabled()):
                self.tags[tensor] = Tag({"reference": reference})
        return made

    def reference(self, value: Any) -> Any:
        """What the references have in the place of a value: their own tensor, or the same constant."""
        return self.tags[value].notes["reference"] if self.depends_on_input(value) else value

    def of_references(self, call: Call) -> Any:
        """What an operation gives for the references."""
        args, kwargs = tree_map(self.reference, (call.args, call.kwargs))
        return replace(call, args=args, kwargs=kwargs).value()

    def between(self, call: Call, t: float) -> Call:
        """An operation at a point of the line from the references (t = 0) to the images."""

        def point(value: Any) -> Any:
            if not (self.depends_on_input(value) and value.is_floating_point()):
                return value
            return with_surrogate_gradient(torch.lerp(self.reference(value), value.detach(), t), value)

        args, kwargs = tree_map(point, (call.args, call.kwargs))
        return replace(call, args=args, kwargs=kwargs)

    def carriers(self, call: Call) -> list[Tensor]:
        """The operands that depend on the input and have a gradient, each as often as it is one."""
        return [
            x for x in tree_leaves((call.args, call.kwargs)) if self.depends_on_input(x) and x.requires_grad
        ]

    def surrogate(self, call: Call, surrogate: Tensor) -> Tensor:
        """An operation's own value, with the gradient of another tensor."""
        made: Tensor = self.pair(with_surrogate_gradient(call.value(), surrogate), self.of_references(call))
        return made

    def _write(self, written: Any, made: Any) -> Tensor:
        """What is written to a tensor is seen in its views, those of its reference included."""
        if not isinstance(written, Tensor):
            return super()._write(written, made)
        old = self.memory.latest(written)
        whole = old._base if old._is_view() and old._base is not None else old
        seen = {id(t): t for t in (whole, old, *self.tags) if t is whole or t._base is whole}.values()
        latest = super()._write(written, made)
        if latest is not made:
            part, start = self.reference(old), self.reference(whole)
            place = part.size(), part.stride(), part.storage_offset()
            fresh = start.as_strided_scatter(self.reference(made), *place)
            moved = fresh.storage_offset() - start.storage_offset()
            for tensor in seen:
                view = self.reference(tensor)
                place = view.size(), view.stride(), view.storage_offset() + moved
                self.pair(self.memory.latest(tensor), fresh.as_strided(*place))
        return latest
