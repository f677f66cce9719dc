"""Multipliers as the mean of an operation's gradient on the line from the reference to the image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from pellucid.engine.calls import Call
from pellucid.engine.paths import rule
from pellucid.engine.rescale.paired import PairedRun, with_surrogate_gradient
from pellucid.engine.tables import Table

NODES = 16
"""Of the integral for operations whose multipliers have no closed form."""

UNKNOWN = Table[PairedRun]()


@UNKNOWN.otherwise
def unknown(run: PairedRun, call: Call) -> Any:
    """Its own gradient if its value in the middle is the mean of those at the ends, else an integral."""
    made = call.run()
    if not any(isinstance(y, Tensor) for y in tree_leaves(made)):
        return made
    start = run.of_references(call)
    if _straight(made, start, run.between(call, 0.5).value()):
        return run.pair(made, start)
    run.estimated[f"{call.name} in layer {call.where!r}" if call.where else call.name] = None
    nodes, weights = rule("gauss-legendre", NODES)
    return integral(run, call, nodes.tolist(), weights.tolist())


def integral(run: PairedRun, call: Call, nodes: Sequence[float], weights: Sequence[float]) -> Any:
    """sum_k weight_k J(x' + t_k (x - x')), J the operation's Jacobian and t_k the nodes, as its gradient."""
    runs = [run.between(call, t).run() for t in nodes]

    def mean(y: Any, *parts: Any) -> Any:
        if not _differentiable(parts[0]):
            return y
        return with_surrogate_gradient(y, sum(w * part for w, part in zip(weights, parts, strict=True)))

    return run.pair(tree_map(mean, call.value(), *runs), run.of_references(call))


def _straight(made: Any, start: Any, middle: Any) -> bool:
    return all(
        bool(((y + y0) / 2 - half).abs().max() <= torch.finfo(y.dtype).eps ** 0.75 * y.abs().max())
        for y, y0, half in zip(*map(tree_leaves, (made, start, middle)), strict=True)
        if _differentiable(y)
    )


def _differentiable(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.requires_grad
