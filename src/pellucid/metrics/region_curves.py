"""Scores while square regions are perturbed in the order of a map: what AOPC and its kin are made of."""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.regions import patch_counts, patches, region_order, region_scores, region_sums
from pellucid.metrics.removal import tie_breaker
from pellucid.probe import Probe, of_each


def perturbed_count(size: tuple[int, int], patch: int, regions: int) -> int:
    """How many regions are perturbed: as many as asked for, or all.

    Example:
        >>> perturbed_count((4, 4), 2, 100)
        4
    """
    return min(regions, math.prod(patch_counts(size, patch)))


def perturbed_regions(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    order: Literal["morf", "lerf", "random"],
    patch: int,
    regions: int,
    replacement: Any,
) -> Float[Tensor, "N S"]:
    """The scores of each image with none, one, ... of its regions replaced, in this order.

    Cost:
        As many forward as `perturbed_count`, and one.
    """
    values, end = per_pixel(attribution), probe.baseline(replacement)
    height, width = values.shape[1:]
    labels = patches(height, width, patch)
    count = perturbed_count((height, width), patch, regions)

    def one(probe: Probe, image: int) -> Tensor:
        sums = region_sums(values[image], labels)
        sign = {"morf": 1, "lerf": -1, "random": 0}[order]
        ranked = region_order(sign * sums, tie_breaker(probe))
        return region_scores(probe, labels, ranked, count, end[image : image + 1])

    return torch.stack(of_each(probe, one))
