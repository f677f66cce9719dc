"""Ways back: a value made outside the graph, and what becomes of its relevance."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.engine.operations import Call
from pellucid.engine.rules import Operands, Rule, epsilon, passing


class _Carried(torch.autograd.Function):
    """A value made outside the graph, with a way back of our own."""

    @staticmethod
    def forward(
        ctx: Any, make: Callable[[], Tensor], back: Callable[[Tensor], Any], *carriers: Tensor
    ) -> Tensor:
        made = make()
        kind = made.device.type
        enabled, lower = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        ctx.back, ctx.precision = back, torch.autocast(kind, lower, enabled=enabled)
        return made

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> tuple[Tensor | None, ...]:
        with ctx.precision:  # operations that run once more run as they did
            return None, None, *ctx.back(relevance[0])


def carried(make: Callable[[], Tensor], back: Callable[[Tensor], Any], *carriers: Tensor) -> Tensor:
    """What `make` gives; `back` turns its relevance into those of the carriers."""
    made: Tensor = _Carried.apply(make, back, *carriers)
    return made


def leading(call: Call, *names: str) -> tuple[Any, ...]:
    """The first arguments of an operation, by their names."""
    return tuple(call.get(position, name) for position, name in enumerate(names))


def whole(call: Call, x: Tensor) -> Tensor:
    """The operation's result; x answers for all of it."""
    size = x.shape  # nothing else of x is kept
    return carried(call.value, lambda relevance: (relevance.sum_to_size(size),), x)


Scaled = Callable[[Tensor, Tensor], Tensor]
"""`scaled(weight, scale)`: weights each of whose outputs has its own factor."""


def by_row(weight: Tensor, scale: Tensor) -> Tensor:
    """The weights of a convolution or dense layer, whose rows make the outputs."""
    return weight * scale.view(-1, *[1] * (weight.ndim - 1))


def by_group(weight: Tensor, scale: Tensor, *, groups: int) -> Tensor:
    """Weights whose columns have factors, group by group: a transposed convolution's outputs, else inputs."""
    parts: Tensor = weight.unflatten(0, (groups, -1))
    return (parts * scale.view(groups, 1, -1, *[1] * (weight.ndim - 2))).flatten(0, 1)


@dataclass(frozen=True)
class Linear:
    """One linear operation of the run, as long as a batch norm may still be folded into it.

    `read` gives its operands when relevance comes back, so that nothing is kept but what it read; `merged`,
    if there are any, those of it and what follows it as one.
    """

    carrier: Tensor
    read: Callable[[], Operands]
    rule: Callable[[], Rule]
    scaled: Scaled | None  # its weights, with a factor for each channel of its output along axis 1
    merged: list[Callable[[], Operands]] = field(default_factory=list)

    def operands(self) -> Operands:
        """What relevance is shared by."""
        return (self.merged[-1] if self.merged else self.read)()


@dataclass(frozen=True)
class Affine:
    """A batch norm with no linear operation before it, scale * source + shift, and perhaps a ReLU behind.

    `merged` lists the layers that took it along, so that relevance only passes it.
    """

    source: Tensor
    scale: Tensor
    shift: Tensor
    rectified: bool = False
    merged: list[str] = field(default_factory=list)

    def rule(self) -> Rule:
        """Its rule where it stands alone, or where what took it along answers for it."""
        return passing if self.merged else epsilon

    def into(self, on: Operands, groups: int) -> Operands:
        """The linear operation that read its result, on its source instead: the border's zeros stay zeros."""
        x = self.source.detach()
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale, shift = self.scale.view(shape), self.shift.view(shape)
        open_ = (scale * x + shift > 0).to(x) if self.rectified else torch.ones_like(x)
        weight = by_group(on.weight, self.scale, groups=groups)
        bias = on.apply(shift * open_, on.weight)
        bias = bias if on.bias is None else bias + on.bias
        return replace(on, a=x * open_, weight=weight, bias=bias)
