"""Interventions: parts of one picture hidden, and by how much the score falls; they judge any number of maps.

A map that shows where the evidence is predicts each fall as the sum of its evidence in what is hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.metrics.grid import Grid
from pellucid.metrics.hiding import REPLACEMENTS, Hider, draw_boxes
from pellucid.probe import Probe

BLOCK = 60
"""Interventions drawn together, a number that the replacements divide; more blocks begin with the same."""
SMALL = 1 / 16
"""The share of the picture up to which what is hidden is a small part."""
_DRAW = 1 << 42  # a draw of its own, apart from those of methods


@dataclass(frozen=True)
class Interventions:
    """What was hidden in one picture, and what became of its score.

    Attributes:
        grid: the cells.
        hidden: (K, R, S), which cells.
        replacement: (K,), behind which of `hiding.REPLACEMENTS`.
        drop: (K,) float64, the picture's score less that with them hidden.
        score: the picture's own.
        span: its score less that with everything hidden, the mean over replacements.
    """

    grid: Grid
    hidden: Bool[Tensor, "K R S"]
    replacement: Int[Tensor, " K"]
    drop: Float[Tensor, " K"]
    score: float
    span: float

    def __len__(self) -> int:
        return len(self.drop)

    @property
    def area(self) -> Float[Tensor, " K"]:
        """The share of the cells that is hidden."""
        return self.hidden.flatten(1).double().mean(1)

    def predicted(self, maps: Float[Tensor, "M cells"]) -> Float[Tensor, "M K"]:
        """The drops that maps predict: the positive evidence in what is hidden."""
        return maps.clamp(min=0) @ self.hidden.flatten(1).double().T

    @property
    def causes(self) -> Float[Tensor, "K P"]:
        """What moves a drop whatever is hidden: the replacement, the area, and its logarithm."""
        kinds = torch.nn.functional.one_hot(self.replacement, len(REPLACEMENTS)).double()
        return torch.cat([kinds, self.area[:, None], self.area.log()[:, None]], 1)

    @property
    def centres(self) -> Float[Tensor, "K P"]:
        """The replacement alone."""
        return torch.nn.functional.one_hot(self.replacement, len(REPLACEMENTS)).double()


def cell_evidence(grid: Grid, attribution: Float[Tensor, "N D H W"]) -> Float[Tensor, "N cells"]:
    """The evidence of maps in the cells of a grid: channels and pixels summed."""
    return grid.sums(attribution.detach().double().sum(1).cpu())


def intervene(
    probe: Probe, whole: float, blocks: int, others: Sequence[tuple[Probe, float]] = ()
) -> list[Interventions]:
    """Hides parts of one picture, `BLOCK` times for each of some blocks.

    Args:
        probe: of one image.
        whole: its score with nothing hidden.
        blocks: how many.
        others: the same about other targets: they are answered by the same passes, for probes of one family
            (`Probe.about`).

    Returns:
        The interventions by the score of the probe, and of each other.

    Cost:
        BLOCK forward for each block, and one for each replacement: all share them that ask about the picture.
    """
    height, width = probe.inputs.shape[-2:]
    grid = Grid.over((height, width))
    hidden = torch.cat([draw_boxes(grid, BLOCK, probe.generator(_DRAW + 1 + b)) for b in range(blocks)])
    kinds = torch.arange(len(hidden), dtype=torch.long, device="cpu") % len(REPLACEMENTS)
    names = [REPLACEMENTS[kind] for kind in kinds.tolist()]
    everything = torch.ones(len(REPLACEMENTS), grid.rows, grid.columns, dtype=torch.bool, device="cpu")

    ends = Hider(probe.inputs, grid, everything, REPLACEMENTS, probe.generator(_DRAW))
    copies = Hider(probe.inputs, grid, hidden, names, probe.generator(_DRAW))
    found = []
    for asked, score in ((probe, whole), *others):
        empty = asked.score_perturbed(ends, 0, len(REPLACEMENTS), key="everything hidden")
        scores = torch.cat(
            [
                asked.score_perturbed(copies, b * BLOCK, (b + 1) * BLOCK, key="interventions")
                for b in range(blocks)
            ]
        )
        found.append(Interventions(grid, hidden, kinds, score - scores, score, score - float(empty.mean())))
    return found


def partial_correlation(
    predicted: Float[Tensor, "M K"],
    drop: Float[Tensor, " K"],
    causes: Float[Tensor, "K P"],
    weights: Float[Tensor, "B K"] | None = None,
) -> Float[Tensor, "B M"]:
    """Pearson's correlation of predicted and actual drops less what `causes` explain of both.

    Every sum is over interventions, each counted `weights` times: once, or as often as it was drawn anew. A
    prediction that the causes explain altogether correlates with nothing: 0.

    Args:
        predicted: by M maps.
        drop: what came.
        causes: P columns, one constant among them or summing to one.
        weights: B sets; one of ones by default.
    """
    count = predicted.shape[1]
    weights = predicted.new_ones(1, count) if weights is None else weights
    rows = torch.cat([predicted, drop[None]])  # (M + 1, K)
    # Scaled, so that what is 0 but for rounding can be told.
    rows = rows - rows.mean(1, keepdim=True)
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-300)
    gram = torch.einsum("kp,bk,kq->bpq", causes, weights, causes)
    cross = torch.einsum("kp,bk,mk->bpm", causes, weights, rows)
    explained = torch.linalg.pinv(gram, hermitian=True) @ cross
    with_drop = torch.einsum("mk,bk,k->bm", rows, weights, rows[-1]) - torch.einsum(
        "bpm,bp->bm", cross, explained[..., -1]
    )
    alone = torch.einsum("mk,bk->bm", rows**2, weights) - (cross * explained).sum(1)
    left = alone > 1e-9 * torch.einsum("mk,bk->bm", rows**2, weights).clamp_min(1e-300)
    norm = (alone[:, :-1] * alone[:, -1:]).clamp_min(1e-300).sqrt()
    found = (with_drop[:, :-1] / norm).clamp(-1, 1)
    return torch.where(left[:, :-1] & left[:, -1:], found, torch.zeros_like(found))


def resampled(count: int, times: int, generator: torch.Generator) -> Float[Tensor, "times count"]:
    """How often each of `count` interventions is drawn, when as many are drawn anew, `times` over."""
    drawn = torch.randint(count, (times, count), generator=generator, dtype=torch.long, device="cpu")
    weights = torch.zeros(times, count, dtype=torch.float64, device="cpu")
    return weights.scatter_add_(1, drawn, torch.ones_like(weights))
