"""Curves of what the model says while parts of a picture are removed, or shown, in the order of a map."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.metrics.measurement import Measurement
from pellucid.metrics.pixels import order, per_pixel
from pellucid.probe import Probe, of_each

_ORDER = 1 << 41  # a draw of its own, of how ties are broken


def rank_of(order: Int[Tensor, " P"]) -> Int[Tensor, " P"]:
    """At which place each pixel, or region, stands in an order."""
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), dtype=torch.long, device=order.device)
    return rank


def pixel_ranks(
    values: Float[Tensor, "H W"], generator: torch.Generator, least_first: bool = False
) -> Int[Tensor, "H W"]:
    """At which place each pixel is changed, those of the most evidence first, or of the least."""
    return rank_of(order(-values if least_first else values, generator)).view_as(values)


def removal_scores(
    probe: Probe,
    ranks: Int[Tensor, "H W"],
    counts: Int[Tensor, " S"],
    start: Float[Tensor, "1 C H W"],
    end: Float[Tensor, "1 C H W"],
) -> Float[Tensor, " S"]:
    """The scores of one image's input `start` in which the first `counts` pixels or regions are as in `end`.

    Args:
        probe: of one image.
        ranks: at which place each pixel is changed; pixels of a region share theirs.
        counts: how many are changed, for each of S inputs.
        start: what none is changed of.
        end: what they are changed to.

    Cost:
        S forward.
    """
    ranks = ranks.to(start.device)

    def copies(first: int, stop: int) -> Tensor:
        changed = ranks < counts[first:stop, None, None].to(start.device)
        return torch.where(changed[:, None], end, start)

    return probe.score_perturbed(copies, 0, len(counts))


def scores_without_each(
    probe: Probe, labels: Int[Tensor, "H W"], parts: int, end: Float[Tensor, "1 C H W"]
) -> Float[Tensor, " scores"]:
    """The score of one image, and that with each of its parts alone as in `end`.

    Args:
        probe: of one image.
        labels: the part that each pixel belongs to.
        parts: how many there are.
        end: what a part is changed to.

    Cost:
        parts + 1 forward.
    """
    labels, start = labels.to(end.device), probe.inputs

    def copies(first: int, stop: int) -> Tensor:
        number = torch.arange(first, stop, dtype=torch.long, device=end.device) - 1
        return torch.where((labels == number[:, None, None])[:, None], end, start)

    return probe.score_perturbed(copies, 0, parts + 1)


def removal_curve(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    steps: int,
    *,
    start: Float[Tensor, "N C H W"],
    end: Float[Tensor, "N C H W"],
    least_first: bool = False,
) -> Measurement:
    """The area under the scores of `start` while its pixels become those of `end`, most evidence first."""
    values = per_pixel(attribution)
    counts = equal_parts(values[0].numel(), steps)
    fractions = counts.double() / counts[-1]

    parts = torch.zeros(values.shape, dtype=torch.long, device="cpu")

    def one(probe: Probe, image: int) -> Tensor:
        some = slice(image, image + 1)
        ranks = pixel_ranks(values[image], tie_breaker(probe), least_first)
        parts[image] = part_labels(ranks, counts)
        return removal_scores(probe, ranks, counts, start[some], end[some])

    curves = torch.stack(of_each(probe, one))
    areas = torch.stack([area(curve, fractions) for curve in curves])
    return Measurement(areas, {"curve": curves, "fractions": fractions.expand_as(curves), "parts": parts})


def tie_breaker(probe: Probe) -> torch.Generator:
    """What shuffles ties: the same for every image and map."""
    return probe.generator(_ORDER)


def equal_parts(pixels: int, steps: int) -> Int[Tensor, " parts"]:
    """How many pixels are changed at each of `steps` equal parts, from none to all."""
    return (torch.arange(steps + 1, dtype=torch.long, device="cpu") * pixels) // steps


def part_labels(ranks: Int[Tensor, "H W"], counts: Int[Tensor, " parts"]) -> Int[Tensor, "H W"]:
    """Which part each pixel belongs to: part k holds the pixels of rank counts[k] to counts[k + 1].

    Example:
        >>> part_labels(torch.tensor([[0, 3], [2, 1]]), torch.tensor([0, 2, 4]))
        tensor([[0, 1],
                [1, 0]])
    """
    return torch.bucketize(ranks, counts[1:], right=True)


def area(curve: Float[Tensor, " S"], fractions: Float[Tensor, " S"]) -> Float[Tensor, ""]:
    """The area under a curve over fractions of the picture, by trapezoids."""
    return torch.trapezoid(curve, fractions)
