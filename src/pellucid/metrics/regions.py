"""Regions of a picture, square patches or superpixels, and curves of scores while they are removed."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.metrics.pixels import order
from pellucid.metrics.removal import rank_of, removal_scores
from pellucid.probe import Probe


def patches(height: int, width: int, side: int) -> Int[Tensor, "H W"]:
    """A grid of square patches from the top left on, as labels in rows; those at the edges may be smaller.

    Example:
        >>> patches(2, 3, 2)
        tensor([[0, 0, 1],
                [0, 0, 1]])
    """
    _, columns = patch_counts((height, width), side)
    row = torch.arange(height, dtype=torch.long, device="cpu") // side
    column = torch.arange(width, dtype=torch.long, device="cpu") // side
    return row[:, None] * columns + column


def patch_counts(size: tuple[int, int], side: int) -> tuple[int, int]:
    """How many rows and columns of patches there are."""
    return -(-size[0] // side), -(-size[1] // side)


def region_sums(values: Float[Tensor, "H W"], labels: Int[Tensor, "H W"]) -> Float[Tensor, " R"]:
    """The sum of the values in each region.

    Example:
        >>> region_sums(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0, 0, 1]]))
        tensor([3., 4.])
    """
    sums = values.new_zeros(int(labels.max()) + 1)
    return sums.index_add_(0, labels.flatten(), values.flatten())


def region_order(sums: Float[Tensor, " R"], generator: torch.Generator) -> Int[Tensor, " R"]:
    """The numbers of the regions, those of the most evidence first; ties are in random order."""
    return order(sums[None], generator)


def region_scores(
    probe: Probe,
    labels: Int[Tensor, "H W"],
    order: Int[Tensor, " R"],
    count: int,
    end: Float[Tensor, "1 C H W"],
) -> Float[Tensor, " scores"]:
    """The scores of one image in which none, one, ... `count` regions in this order are as in `end`.

    Cost:
        count + 1 forward.
    """
    counts = torch.arange(count + 1, dtype=torch.long, device="cpu")
    return removal_scores(probe, rank_of(order)[labels], counts, probe.inputs, end)
