"""What the lesson measured of each method: costs, curves and verdicts over all pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.comparison import Comparison
from pellucid.entries import Entry
from pellucid.methods import get_method
from pellucid.metrics.floors import FLOORS


@dataclass(frozen=True)
class Standing:
    """One method over all pictures of a comparison.

    Attributes:
        title: the method, with its options.
        reads: the evidence that it needs.
        passes: forward and backward for one picture.
        seconds: for one picture.
        deletion: the mean score while its strongest pixels go, from 1 for the whole picture: low is good.
        insertion: the mean score while they come, likewise: high is good.
        q: the mean correlation of the falls that it predicts with those that came, where a decision has a
            place; None where none has.
        supported, undecided, rejected: verdicts on its maps.
        same: in how many verdicts its map was the same for another class.
    """

    title: str
    reads: str
    passes: tuple[int, int]
    seconds: float
    deletion: float | None
    insertion: float | None
    q: float | None
    supported: int
    undecided: int
    rejected: int
    same: int


def standings(comparison: Comparison) -> list[Standing]:
    """All methods, those first whose maps interventions bear out best.

    A curve is divided by the score of the whole picture, so that pictures count alike.
    """
    found = [_standing(entry, comparison) for entry in comparison.entries]
    return sorted(found, key=lambda one: (one.q is None, -(one.q or 0.0), -(one.insertion or 0.0)))


def floors(comparison: Comparison) -> dict[str, float]:
    """The mean q of maps that know nothing of the model, over the decisions that have a place."""
    judged = [verdict.floors for verdict in comparison.verdicts if verdict.localised]
    return {
        FLOORS.get(name, name): sum(one[name] for one in judged) / len(judged)
        for name in (judged[0] if judged else ())
    }


def _standing(entry: Entry, comparison: Comparison) -> Standing:
    explanation = entry.explanation
    cost = explanation.cost.share(len(explanation))
    curves = [one for one in comparison.curves if one.title == entry.title and float(one.deletion[0])]
    maps = [
        one
        for verdict in comparison.verdicts
        if verdict.localised
        for one in verdict.maps
        if one.title == entry.title
    ]
    return Standing(
        entry.title,
        get_method(explanation.method).reads,
        (cost.forward + cost.resumed, cost.backward),
        cost.seconds,
        _mean([float((one.deletion / one.deletion[0]).mean()) for one in curves]),
        _mean([float((one.insertion / one.insertion[-1]).mean()) for one in curves]),
        _mean([one.q for one in maps]),
        sum(one.state == "supported" for one in maps),
        sum(one.state == "undecided" for one in maps),
        sum(one.state == "not supported" for one in maps),
        sum(bool(one.same_for_every_class) for one in maps),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
