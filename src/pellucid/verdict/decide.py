"""From interventions to what may be said of each map: numbers in, states out; no model is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.interventions import SMALL, Interventions, partial_correlation, resampled
from pellucid.verdict.record import MapVerdict, State

SUPPORTED = 0.75
"""q from which on a map is supported: the documentation's page on verdicts tells how often that was right."""
STRONGEST = 0.7
"""q of a map's strongest cells from which on they are where the evidence is: see `strongest_cells`."""
REJECTED = 0.5
"""q, of the map and of its strongest cells, below which a map is not supported."""
DIFFUSE = 0.6
"""The correlation of drop and hidden area above which a decision has no place."""
SMALL_DROP = 0.25
"""The share of the largest drop that some small part must cause for a decision to have a place."""
SAME = 0.99
"""The correlation of a method's maps for two classes from which on they are the same."""
_RESAMPLES = 400
_TOP = 16


@dataclass(frozen=True)
class JudgedMap:
    """A map to be judged: its evidence by cell, what it cost, and the same method's for another class."""

    title: str
    evidence: Float[Tensor, " cells"]
    passes: int
    contrast: Float[Tensor, " cells"] | None = None


def not_localised(done: Interventions) -> str:
    """Why a decision has no place that a map could show; empty if it has one.

    Where hiding lowers the score by as much as it hides, or no small part lowers it, any map that is
    everywhere predicts the drops. What a small part does is measured by the most that hiding does: to hide
    everything may do less, where something else speaks against the class.
    """
    most = max(done.span, float(done.drop.max()))
    if most <= 1e-6 * max(1.0, abs(done.score)):
        return (
            "hiding the picture, whole or in part, does not lower the score, so there is no evidence for "
            "this class whose place could be shown"
        )
    if done.drop.std() <= 1e-9 * max(1.0, abs(done.score)):
        return "no part of the picture changes the score"
    area = done.area
    both = torch.stack([area, done.drop])
    follows = float(torch.corrcoef(both)[0, 1]) if area.std() > 0 else 1.0
    if follows > DIFFUSE:
        return (
            f"the score falls with the area that is hidden, wherever it is (correlation {follows:.2f}), so "
            "the evidence is spread over the picture"
        )
    small = done.drop[area <= SMALL]
    share = float(small.max()) / most if len(small) else 0.0
    if share < SMALL_DROP:
        return (
            "no part of up to a sixteenth of the picture lowers the score by more than "
            f"{max(0.0, share):.0%} of the most that hiding does, so the model decides by much of it at once"
        )
    return ""


def judge_maps(
    done: Interventions,
    maps: Sequence[JudgedMap],
    floors: Mapping[str, Float[Tensor, " cells"]],
    other_class: Interventions | None,
    generator: torch.Generator,
    *,
    localised: bool,
) -> tuple[tuple[MapVerdict, ...], dict[str, float]]:
    """What is said of each map, and q of each floor.

    Args:
        done: the interventions, by the explained score.
        maps: M maps.
        floors: evidence of maps that know nothing of the model, by name.
        other_class: the same interventions by the score of the strongest other class.
        generator: of the resampling.
        localised: whether the decision has a place; if not, no map is judged.
    """
    rows = torch.stack([*(one.evidence for one in maps), *floors.values()])
    predicted = done.predicted(rows)
    drawn = resampled(len(done), _RESAMPLES, generator)
    q = partial_correlation(predicted, done.drop, done.causes)[0]
    many = partial_correlation(predicted, done.drop, done.causes, drawn)
    r = partial_correlation(predicted, done.drop, done.centres)[0]
    strongest = partial_correlation(
        done.predicted(strongest_cells(rows[: len(maps)])), done.drop, done.causes
    )[0]
    ends = torch.quantile(many, torch.tensor([0.025, 0.975], dtype=torch.float64, device="cpu"), dim=0)
    count = len(maps)
    names = list(floors)
    nearest = int(q[count:].argmax())
    beyond = torch.quantile(many[:, :count] - many[:, count + nearest, None], 0.025, dim=0)
    rival = None
    if other_class is not None:
        rival = partial_correlation(predicted[:count], other_class.drop, other_class.causes)[0]
    said = []
    for i, one in enumerate(maps):
        low, high = (float(end) for end in ends[:, i])
        positive = one.evidence.clamp(min=0)
        empty = bool(positive.max() - positive.min() <= 1e-9 * positive.max().clamp_min(1e-300))
        beats = bool(beyond[i] > 0) and not empty
        same = None
        if one.contrast is not None:
            same = bool(_correlation(one.evidence, one.contrast) > SAME)
        said.append(
            MapVerdict(
                one.title,
                _state(float(q[i]), low, high, float(strongest[i]), empty=empty)
                if localised
                else "not judged",
                float(q[i]),
                low,
                high,
                float(r[i]),
                float(strongest[i]),
                names[nearest],
                beats,
                None if rival is None else float(rival[i]),
                same,
                empty,
                one.passes,
                predicted[i],
            )
        )
    return tuple(said), {name: float(value) for name, value in zip(names, q[count:], strict=True)}


def strongest_cells(rows: Float[Tensor, "M cells"]) -> Float[Tensor, "M cells"]:
    """Maps that mark their strongest sixteenth of the cells with 1, whatever the evidence in them.

    Cells as strong as the last share what is left. A map may predict most drops by much faint evidence all
    around while its strongest places are elsewhere; this one cannot.

    Example:
        >>> strongest_cells(torch.arange(32, dtype=torch.float64)[None])[0].nonzero().flatten().tolist()
        [30, 31]
        >>> strongest_cells(torch.tensor([[3.0, 1, 1, 1, 0] + [0] * 27], dtype=torch.float64))[0, :5]
        tensor([1.0000, 0.3333, 0.3333, 0.3333, 0.0000], dtype=torch.float64)
    """
    positive = rows.clamp(min=0)
    count = max(1, round(rows.shape[1] * SMALL))
    last = positive.topk(count, dim=1).values[:, -1:]
    above, tied = positive > last, (positive == last) & (positive > 0)
    left = (count - above.sum(1, keepdim=True)) / tied.sum(1, keepdim=True).clamp_min(1)
    return above.to(rows) + tied.to(rows) * left


def _state(q: float, low: float, high: float, strongest: float, *, empty: bool) -> State:
    """What may be said of a map: where its interval reaches over to the other side, nothing yet.

    Nor is anything said where the map as a whole and its strongest cells say different things.

    That a floor does as well takes nothing away: where what is looked at stands out by its colour, a map of
    colours is right about it too. It is said beside.
    """
    if empty or (q < REJECTED and high < SUPPORTED and strongest < REJECTED):
        return "not supported"
    if q >= SUPPORTED and low > REJECTED and strongest >= STRONGEST:
        return "supported"
    return "undecided"


def _correlation(a: Float[Tensor, " cells"], b: Float[Tensor, " cells"]) -> float:
    """Pearson's correlation of two maps by cell; 0 where one of them is constant."""
    both = torch.stack([a, b])
    if (both.std(1) == 0).any():
        return 0.0
    return float(torch.corrcoef(both)[0, 1])


def top_overlap(rows: Float[Tensor, "M cells"]) -> float:
    """The mean share of their 16 cells of most evidence that two maps have in common.

    Example:
        >>> one = torch.arange(32, dtype=torch.float64)
        >>> top_overlap(torch.stack([one, one.roll(8)]))
        0.5
    """
    if len(rows) < 2:
        return 1.0
    top = rows.topk(min(_TOP, rows.shape[1]), dim=1).indices
    marked = torch.zeros_like(rows).scatter_(1, top, 1.0)
    shared = marked @ marked.T / top.shape[1]
    pairs = torch.triu_indices(len(rows), len(rows), 1, dtype=torch.long, device="cpu")
    return float(shared[pairs[0], pairs[1]].mean())
