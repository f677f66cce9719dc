"""The rows of the scoreboard: how well each method shows the evidence, how well each metric judges."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.truth.intervals import Interval, mean_over_pictures, rate_over_pictures
from pellucid.truth.quality import GOOD
from pellucid.truth.rates import FLOORS, JudgedTrial, Rate
from pellucid.truth.trials import TriedMap
from pellucid.verdict.record import State

BETTER = 0.2
"""By how much more a map must be worth than a floor for a metric to be wrong that prefers the floor."""


@dataclass(frozen=True)
class MethodRow:
    """How well a method shows where the evidence lies, in localised tasks.

    Attributes:
        title: the method with its options.
        share: of its evidence that lies where the truth is.
        hit: how much of the truth its strongest cells hold.
        right: how often that is at least half.
        supported: how often the verdict supports its map.
        supported_right: how often it is right then.
        passes: forward and backward, for a picture.
    """

    title: str
    share: Interval
    hit: Interval
    right: Interval
    supported: Interval
    supported_right: Interval
    passes: float


@dataclass(frozen=True)
class MetricRow:
    """How well a metric judges, in localised tasks.

    Attributes:
        title: the metric with its options.
        rho: Spearman's correlation of its values with the quality of the maps of a picture.
        regret: the quality of the map it prefers less that of the one method that was best on average.
        floor_preferred: how often it prefers a floor or decoy to a map that is clearly better.
    """

    title: str
    rho: Interval
    regret: Interval
    floor_preferred: Interval


@dataclass(frozen=True)
class TaskRow:
    """What was tried of one task, and the rates that count there."""

    task: str
    accuracy: float | None
    enough: bool
    seen: int
    right: int
    decisions: int
    valid: int
    rates: tuple[Rate, ...]


@dataclass(frozen=True)
class HalfBoard:
    """All rates of one half of the tasks."""

    half: str
    rates: tuple[Rate, ...]
    methods: tuple[MethodRow, ...]
    metrics: tuple[MetricRow, ...]
    tasks: tuple[TaskRow, ...]
    failures: Mapping[str, str]


def method_rows(judged: Sequence[JudgedTrial]) -> tuple[MethodRow, ...]:
    """A row for each method, the best first."""
    titles = dict.fromkeys(one.title for each in judged for one, _ in each.maps("method"))
    rows = []
    for title in titles:
        own = [[(one, state) for one, state in each.maps("method") if one.title == title] for each in judged]

        def numbers(
            value: Callable[[TriedMap, State], Any],
            where: Callable[[State], bool] = bool,
            own: list[list[tuple[TriedMap, State]]] = own,
        ) -> list[list[Any]]:
            return [[value(one, state) for one, state in each if where(state)] for each in own]

        rows.append(
            MethodRow(
                title,
                mean_over_pictures(numbers(lambda one, _: one.share)),
                mean_over_pictures(numbers(lambda one, _: one.hit)),
                rate_over_pictures(numbers(lambda one, _: one.hit >= GOOD)),
                rate_over_pictures(numbers(lambda _, state: state == "supported")),
                rate_over_pictures(numbers(lambda one, _: one.hit >= GOOD, lambda s: s == "supported")),
                float(np.mean([one.passes for each in own for one, _ in each])),
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.hit.value))


def metric_rows(judged: Sequence[JudgedTrial]) -> tuple[MetricRow, ...]:
    """A row for each metric, in the order asked."""
    titles = dict.fromkeys(name for each in judged for one, _ in each.maps("method") for name in one.metrics)
    best = _best_method(judged)
    rows = []
    for title in titles:
        rho, regret, preferred = [], [], []
        for each in judged:
            maps = [one for one, _ in each.maps("method") if np.isfinite(one.metrics.get(title, np.nan))]
            wrong = [one for one, _ in each.maps(*FLOORS) if np.isfinite(one.metrics.get(title, np.nan))]
            quality = {one.title: one.q for one in maps}
            if len(maps) > 1:
                rho.append([spearman([one.metrics[title] for one in maps], [one.q for one in maps])])
            if best in quality:
                chosen = max(maps, key=lambda one, title=title: one.metrics[title])  # type: ignore[misc]
                regret.append([chosen.q - quality[best]])
            preferred.append(
                [
                    bool(floor.metrics[title] > one.metrics[title])
                    for one in maps
                    for floor in wrong
                    if one.q > floor.q + BETTER
                ]
            )
        found = mean_over_pictures(rho), mean_over_pictures(regret), rate_over_pictures(preferred)
        rows.append(MetricRow(title, *found))
    return tuple(rows)


def _best_method(judged: Sequence[JudgedTrial]) -> str:
    """The method whose maps are best on average; it is known only in hindsight."""
    q: dict[str, list[float]] = {}
    for each in judged:
        for one, _ in each.maps("method"):
            q.setdefault(one.title, []).append(one.q)
    most = max(map(len, q.values()), default=0)
    whole = {title: float(np.mean(values)) for title, values in q.items() if len(values) == most}
    return max(whole, key=lambda title: whole[title]) if whole else ""


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where one of the two is constant.

    Example:
        >>> spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0]), spearman([1.0, 1.0], [1.0, 2.0])
        (0.5, 0.0)
    """
    from scipy.stats import rankdata

    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (a, b)]
    scale = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return round(float((ranks[0] * ranks[1]).sum()) / scale, 12) if scale > 0 else 0.0
