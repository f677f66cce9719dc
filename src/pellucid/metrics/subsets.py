"""Random subsets of the pixels: the evidence of each, and the score where it is replaced."""

from collections.abc import Callable, Hashable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.probe import Probe

Subset = Callable[[int], Bool[Tensor, "H W"]]
"""`subset(number)`: which pixels one subset holds, always the same ones."""
_DRAW = 1 << 43  # draws of their own, apart from those of methods


def random_pixels(probe: Probe, size: int, first: int = 0) -> Subset:
    """Subsets of `size` pixels, all as likely, numbered from `first` on: the same for every image and map."""
    height, width = probe.inputs.shape[-2:]

    def subset(number: int) -> Tensor:
        generator = probe.generator(_DRAW + first + number)
        chosen = torch.randperm(height * width, generator=generator, dtype=torch.long, device="cpu")[:size]
        inside = torch.zeros(height * width, dtype=torch.bool, device="cpu")
        inside[chosen] = True
        return inside.view(height, width)

    return subset


def evidence_of(values: Float[Tensor, "N H W"], subset: Subset, count: int) -> Float[Tensor, "N S"]:
    """The sum of each map's evidence in each of `count` subsets."""
    return torch.stack([values[:, subset(number)].sum(1) for number in range(count)], 1)


def scores_without(
    probe: Probe, subset: Subset, count: int, end: Float[Tensor, "1 C H W"], key: Hashable
) -> Float[Tensor, " S"]:
    """The scores of one image's input in which the pixels of each of `count` subsets are as in `end`.

    Args:
        probe: of one image.
        subset: the subsets.
        count: how many.
        end: what the pixels are replaced by.
        key: what the subsets and `end` depend on: maps that are judged alike share the scores.

    Cost:
        `count` forward.
    """

    def copies(first: int, stop: int) -> Tensor:
        inside = torch.stack([subset(number) for number in range(first, stop)]).to(end.device)
        return torch.where(inside[:, None], end, probe.inputs)

    return probe.score_perturbed(copies, 0, count, key=key)
