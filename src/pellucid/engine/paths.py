"""Integrals along a path: quadrature rules, and one that refines itself where the path is rough."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidValue

Quadrature = Literal["gauss-legendre", "trapezoid", "left", "right", "middle"]

FIRST = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where a refined rule begins."""
SPLIT = 4
"""The intervals that are halved at a time: as many gradients as run best together on a CPU."""
ROUNDING = 1e-6
"""Errors below this share of the scores are those of float32 and cannot be refined away."""


def rule(quadrature: Quadrature, steps: int) -> tuple[Float[Tensor, " S"], Float[Tensor, " S"]]:
    """The nodes in [0, 1] of a quadrature rule and their weights, which sum to 1; in float64.

    Example:
        >>> nodes, weights = rule("trapezoid", 3)
        >>> nodes.tolist(), weights.tolist()
        ([0.0, 0.5, 1.0], [0.25, 0.5, 0.25])

    Raises:
        InvalidValue: fewer than one step; fewer than two for the trapezoid, which takes both ends.
    """
    least = 2 if quadrature == "trapezoid" else 1
    if steps < least:
        raise InvalidValue(f"steps must be at least {least} for quadrature={quadrature!r}; got {steps}.")
    if quadrature == "gauss-legendre":
        roots, parts = np.polynomial.legendre.leggauss(steps)
        return torch.from_numpy((roots + 1) / 2), torch.from_numpy(parts / 2)
    if quadrature == "trapezoid":
        weights = torch.full((steps,), 1 / (steps - 1), dtype=torch.float64, device="cpu")
        weights[[0, -1]] /= 2
        return torch.linspace(0, 1, steps, dtype=torch.float64, device="cpu"), weights
    offset = {"left": 0.0, "middle": 0.5, "right": 1.0}[quadrature]
    nodes = (torch.arange(steps, dtype=torch.float64, device="cpu") + offset) / steps
    return nodes, torch.full((steps,), 1 / steps, dtype=torch.float64, device="cpu")


@dataclass(frozen=True)
class Node:
    """A point of a path: its score, dS/dt along the path, and the gradient dS/dx."""

    time: float
    score: float
    slope: float
    gradient: Tensor


@dataclass(frozen=True)
class Refined:
    """The mean gradient over a path, the change of the score along it, and the share of it that is missed.

    `error` is the larger of that share and of the root sum of squares of the intervals' shares.
    """

    gradient: Tensor
    change: float
    error: float
    steps: int


Evaluate = Callable[[Sequence[float]], list[Node]]


def refine(evaluate: Evaluate, *, tolerance: float, most: int) -> Refined:
    """The trapezoid rule over a path, refined until it is complete, or `most` nodes are spent.

    Within any interval the slope must integrate to the change of the score, which is known at both ends: so
    each interval's own error is known, and those with the largest are halved. No node is evaluated twice.
    It ends when the error of the whole is below `tolerance` of the score's change, and the root sum of
    squares of the intervals' errors too, so that errors that happen to cancel do not count as accuracy.

    Args:
        evaluate: the nodes at some times in [0, 1].
        tolerance: the error allowed, as a share of the score's change along the path.
        most: the most nodes.
    """
    nodes = evaluate(FIRST)
    change = nodes[-1].score - nodes[0].score
    scale = max(abs(change), ROUNDING / tolerance * max(abs(node.score) for node in nodes), ROUNDING**2)
    while True:
        missed = [
            (b.time - a.time) * (a.slope + b.slope) / 2 - (b.score - a.score) for a, b in pairwise(nodes)
        ]
        error = max(abs(sum(missed)), sum(e**2 for e in missed) ** 0.5) / scale
        if error <= tolerance or len(nodes) >= most:
            break
        worst = sorted(range(len(missed)), key=lambda i: -abs(missed[i]))[: min(SPLIT, most - len(nodes))]
        halves = [(nodes[i].time + nodes[i + 1].time) / 2 for i in worst]
        nodes = sorted([*nodes, *evaluate(halves)], key=lambda node: node.time)
    mean = torch.zeros_like(nodes[0].gradient)
    for a, b in pairwise(nodes):
        mean += (b.time - a.time) / 2 * (a.gradient + b.gradient)
    return Refined(mean, change, error, len(nodes))
