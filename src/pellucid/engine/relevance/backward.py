"""Values made outside the graph, and what becomes of their relevance on the way back."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from pellucid.engine.calls import Call
from pellucid.engine.sharing import STABILISER, stabilised


class _CustomBackward(torch.autograd.Function):
    """A value made outside the graph, with a backward function of our own."""

    @staticmethod
    def forward(
        ctx: Any, make: Callable[[], Tensor], backward: Callable[[Tensor], Any], *inputs: Tensor
    ) -> Tensor:
        made = make()
        kind = made.device.type
        enabled, lower = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        ctx.run_back, ctx.precision = backward, torch.autocast(kind, lower, enabled=enabled)
        return made

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> tuple[Tensor | None, ...]:
        with ctx.precision:  # operations that run once more run as they did
            return None, None, *ctx.run_back(relevance[0])


def custom_backward(make: Callable[[], Tensor], backward: Callable[[Tensor], Any], *inputs: Tensor) -> Tensor:
    """What `make` gives; `backward` turns its relevance into that of each of the inputs."""
    made: Tensor = _CustomBackward.apply(make, backward, *inputs)
    return made


def pass_relevance(call: Call, x: Tensor) -> Tensor:
    """The operation's result; x answers for all of it: R_x = R."""
    size = x.shape  # nothing else of x is kept
    return custom_backward(call.value, lambda relevance: (relevance.sum_to_size(size),), x)


def first_arguments(call: Call, *names: str) -> tuple[Any, ...]:
    """The first arguments of an operation, by their names."""
    return tuple(call.get(position, name) for position, name in enumerate(names))


def gradients(
    call: Call,
    inputs: Sequence[Tensor],
    weights: Tensor | Callable[[Tensor], Tensor],
    part: int = 0,
) -> tuple[Tensor, ...]:
    """J^T weights for each of the inputs, J the operation's own Jacobian; the operation is run once more.

    `weights` may be a function of the result; `part` says which, of an operation that gives several.
    """
    leaves = {id(x): x.detach().requires_grad_() for x in inputs}
    args, kwargs = tree_map(lambda value: leaves.get(id(value), value), (call.args, call.kwargs))
    with torch.enable_grad():
        made: Tensor = tree_flatten(replace(call, args=args, kwargs=kwargs).run())[0][part]
    weights = weights(made.detach()) if callable(weights) else weights
    given = list(leaves.values())
    slopes = torch.autograd.grad(made, given, weights, allow_unused=True)
    return tuple(
        torch.zeros_like(leaf) if slope is None else slope for slope, leaf in zip(slopes, given, strict=True)
    )


def first_order(call: Call, inputs: Sequence[Tensor], relevance: Tensor, part: int = 0) -> list[Tensor]:
    """The first-order expansion x J^T (R / y) for each input x of y, or of one part of what is given."""
    slopes = gradients(call, inputs, lambda y: relevance / stabilised(y, STABILISER), part)
    return [x.detach() * slope for x, slope in zip(inputs, slopes, strict=True)]
