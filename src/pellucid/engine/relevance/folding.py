"""Linear maps of a run: how their relevance is shared, and what is folded into them.

A batch norm, or a constant that is added, is one with the linear map whose result it reads; a batch norm that
has none before it, with the map that reads its own result. Weights are scaled when relevance comes back: no
parameter is changed, and nothing is kept but what an operation read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from pellucid.engine.calls import Call
from pellucid.engine.relevance.backward import custom_backward, pass_relevance
from pellucid.engine.relevance.run import Run
from pellucid.engine.rule_registry import Sharing
from pellucid.engine.rules import Norm, Pass
from pellucid.engine.sharing import Operands, Shared
from pellucid.errors import InvalidType

ScaleWeights = Callable[[Tensor, Tensor], Tensor]
"""`scale_weights(weight, scale)`: weights with a factor for each channel of the output."""


def scale_rows(weight: Tensor, scale: Tensor) -> Tensor:
    """The weights of a convolution or dense layer, whose rows make the outputs."""
    return weight * scale.view(-1, *[1] * (weight.ndim - 1))


def scale_by_group(weight: Tensor, scale: Tensor, *, groups: int) -> Tensor:
    """Weights whose columns have factors, group by group: a transposed convolution's outputs, else inputs."""
    parts: Tensor = weight.unflatten(0, (groups, -1))
    return (parts * scale.view(groups, 1, -1, *[1] * (weight.ndim - 2))).flatten(0, 1)


@dataclass(frozen=True)
class LinearMap:
    """One linear map of the run, as long as something may still be folded into it.

    `x` gets the relevance; `read` gives the operands when it comes back. `scale_weights` is None where a
    batch norm cannot be folded in. `merged`, if there are any, reads the operands of this map and what
    follows it as one.
    """

    x: Tensor
    read: Callable[[], Operands]
    rule: Callable[[], Sharing]
    scale_weights: ScaleWeights | None
    merged: list[Callable[[], Operands]] = field(default_factory=list)

    def operands(self) -> Operands:
        """What relevance is shared by."""
        return (self.merged[-1] if self.merged else self.read)()


@dataclass(frozen=True)
class Affine:
    """A batch norm with no linear map before it, scale * source + shift, and perhaps a ReLU behind.

    `merged` lists the layers that took it along, so that relevance only passes it.
    """

    source: Tensor
    scale: Tensor
    shift: Tensor
    rectified: bool = False
    merged: list[str] = field(default_factory=list)

    def rule(self) -> Sharing:
        """Its rule where it stands alone, or where what took it along answers for it."""
        return Pass() if self.merged else Norm()

    def into(self, on: Operands, groups: int) -> Operands:
        """The linear map that read its result, on its source instead: the border's zeros stay zeros."""
        x = self.source.detach()
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale, shift = self.scale.view(shape), self.shift.view(shape)
        open_ = (scale * x + shift > 0).to(x) if self.rectified else torch.ones_like(x)
        weight = scale_by_group(on.weight, self.scale, groups=groups)
        bias = on.apply(shift * open_, on.weight)
        bias = bias if on.bias is None else bias + on.bias
        return replace(on, a=x * open_, weight=weight, bias=bias)


def share(run: Run, make: Callable[[], Tensor], linear: LinearMap) -> Tensor:
    """A linear map's result, whose relevance goes back by its rule."""

    def backward(relevance: Tensor) -> tuple[Tensor]:
        on = replace(linear.operands(), axis=run.account.axis(relevance))
        if run.composite.choice("bias") == "ignored":
            on = replace(on, bias=None)
        rule = linear.rule()
        shared = rule(on, relevance)
        if not isinstance(shared, Shared):
            raise InvalidType(
                f"A rule must return what Operands.share gives; {rule!r} returned {type(shared).__name__}."
            )
        return (run.account.count(shared),)

    return custom_backward(make, backward, linear.x)


def share_in_proportion(
    run: Run,
    make: Callable[[], Tensor],
    x: Tensor,
    apply: Callable[[Tensor], Tensor],
    bias: Tensor | None = None,
    a: Tensor | None = None,
    rule: Callable[[], Sharing] = Norm,
) -> Tensor:
    """A linear map without weights of its own: R_i by what x, or `a` in its place, contributes."""
    a = x.detach() if a is None else a
    read = partial(Operands, lambda a, _: apply(a), a, a, bias)
    return share(run, make, LinearMap(x, read, rule, None))


def merge(run: Run, call: Call, x: Tensor, linear: LinearMap, read: Callable[[], Operands]) -> Tensor:
    """An operation that is one with the linear map that made x; `read` gives the operands of both.

    Where relevance is asked for in between, it passes this one, and that one takes all of it.
    """
    if run.note(x, "kept"):
        linear.merged.append(read)
        return run.noted(pass_relevance(call, x), linear=replace(linear, read=read), kept=True)
    both = replace(linear, read=read, merged=[])
    return run.noted(share(run, call.value, both), linear=both)
