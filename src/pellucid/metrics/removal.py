"""Curves of what the model says while pixels are removed, or shown, in the order of a map."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.probe import Probe

_ORDER = 1 << 41  # a draw of its own, of how ties are broken


def rank_of(order: Int[Tensor, " P"]) -> Int[Tensor, " P"]:
    """At which place each pixel stands in an order."""
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), dtype=torch.long, device=order.device)
    return rank


def removal_scores(
    probe: Probe,
    order: Int[Tensor, " P"],
    counts: Int[Tensor, " S"],
    start: Float[Tensor, "1 C H W"],
    end: Float[Tensor, "1 C H W"],
) -> Float[Tensor, " S"]:
    """The scores of one image's input `start` in which the first `counts` pixels are as in `end`.

    Args:
        probe: of one image.
        order: the numbers of the pixels, first to be changed first.
        counts: how many are changed, for each of S inputs.
        start: what none is changed of.
        end: what they are changed to.

    Cost:
        S forward.
    """
    height, width = start.shape[-2:]
    rank = rank_of(order).view(height, width).to(start.device)

    def copies(first: int, stop: int) -> Tensor:
        changed = rank < counts[first:stop, None, None].to(start.device)
        return torch.where(changed[:, None], end, start)

    return probe.score_perturbed(copies, 0, len(counts))


def tie_breaker(probe: Probe) -> torch.Generator:
    """What shuffles ties: the same for every image and map."""
    return probe.generator(_ORDER)


def equal_parts(pixels: int, steps: int) -> Int[Tensor, " parts"]:
    """How many pixels are changed at each of `steps` equal parts, from none to all."""
    return (torch.arange(steps + 1, dtype=torch.long, device="cpu") * pixels) // steps


def area(curve: Float[Tensor, " S"], fractions: Float[Tensor, " S"]) -> Float[Tensor, ""]:
    """The area under a curve over fractions of the picture, by trapezoids."""
    return torch.trapezoid(curve, fractions)
