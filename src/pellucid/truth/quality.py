"""How good a map is where the truth is known: how much of its evidence, and its strongest, lies there."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

GRID = 16
"""Cells along a side, in which maps of any grain are compared with the truth."""

GOOD = 0.5
"""A map whose hit is at least this is right."""

GROSSLY_WRONG = 0.25
"""A map whose hit is below this is far from right."""


@dataclass(frozen=True)
class Quality:
    """How M maps compare with the truth; each is (M,), from 0 to 1.

    Attributes:
        share: of the positive evidence that lies inside.
        hit: how much of the truth the k strongest cells hold, against the k best; k is the truth's area.
    """

    share: Float[Tensor, " M"]
    hit: Float[Tensor, " M"]

    @property
    def q(self) -> Float[Tensor, " M"]:
        """The mean of share and hit."""
        return (self.share + self.hit) / 2

    @property
    def good(self) -> Bool[Tensor, " M"]:
        """Whether at least half of what could be hit is hit."""
        return self.hit >= GOOD


def cells(maps: Float[Tensor, "*M H W"], grid: int = GRID) -> Float[Tensor, "*M grid grid"]:
    """The mean of a map in each cell of a grid.

    Example:
        >>> cells(torch.tensor([[1.0, 3.0], [5.0, 7.0]]), 1)
        tensor([[4.]])
    """
    lead, size = maps.shape[:-2], maps.shape[-2:]
    pooled = functional.adaptive_avg_pool2d(maps.reshape(-1, 1, *size), grid)
    return pooled.reshape(*lead, grid, grid)


def evidence(attribution: Float[Tensor, "*M C H W"], grid: int = GRID) -> Float[Tensor, "*M grid grid"]:
    """The evidence of attributions for the target in each cell: channels summed, negative sums left out."""
    return cells(attribution.sum(-3), grid).clamp(min=0)


def quality(found: Float[Tensor, "M G G"], truth: Bool[Tensor, "H W"], seed: int = 0) -> Quality:
    """Compares maps, as `evidence` gives them, with the pixels where the truth lies.

    share = sum_c e_c t_c / sum_c e_c, with e_c >= 0 the evidence in cell c and t_c the share of the cell
    that is true; 0 of a map without evidence. hit = the sum of t over the k cells of highest e, over the
    largest sum that k cells can have; k is the area of the truth in cells, rounded, at least 1. Cells of
    equal evidence come in an order drawn with `seed`.

    Example:
        >>> truth = torch.zeros(4, 4, dtype=torch.bool)
        >>> truth[:2, :2] = True
        >>> right, left = torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 0.0]])
        >>> found = quality(torch.stack([right, left]), truth)
        >>> found.share.tolist(), found.hit.tolist()
        ([0.75, 0.25], [1.0, 0.0])
    """
    rows = found.clamp(min=0).flatten(1).double()
    true = cells(truth.double(), found.shape[-1]).flatten()
    share = (rows @ true) / rows.sum(1).clamp(min=torch.finfo(torch.double).tiny)
    k = max(1, round(float(true.sum())))
    shuffle = torch.randperm(
        len(true), generator=torch.Generator("cpu").manual_seed(seed), dtype=torch.long, device="cpu"
    )
    order = rows[:, shuffle].argsort(dim=1, descending=True, stable=True)[:, :k]
    best = true.sort(descending=True).values[:k].sum()
    hit = true[shuffle][order].sum(1) / best
    return Quality(share.float(), hit.float())
