"""The scoreboard: where the evidence of each method lies, and how often what the verdict says was right."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pellucid.caching import cached_property
from pellucid.judge import ROUNDS
from pellucid.truth.intervals import Interval, mean_over_pictures
from pellucid.truth.quality import GOOD, GROSSLY_WRONG
from pellucid.truth.trials import Session, Trial, TriedMap, first
from pellucid.verdict.decide import Judged, judge_maps, not_localised
from pellucid.verdict.record import State

BETTER = 0.2
"""By how much more a map must be worth than a floor for a metric to be wrong that prefers the floor."""

FLOORS = ("floor", "decoy")
"""Origins of maps that know nothing of the network."""


@dataclass(frozen=True)
class Goal:
    """What a rate should be: at least or at most so much."""

    bound: float
    at_least: bool

    def met(self, found: Interval) -> bool | None:
        """Whether the rate itself is; None where there is none."""
        if not found.count:
            return None
        return found.value >= self.bound if self.at_least else found.value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


@dataclass(frozen=True)
class Said:
    """What the verdict says of one unit: whether it has a place, and of each map its state and q."""

    localised: bool
    states: tuple[State, ...]
    q: tuple[float, ...]


@dataclass(frozen=True)
class Told:
    """A trial and what the verdict says of it."""

    session: Session
    trial: Trial
    said: Said

    def maps(self, *origins: str) -> Iterator[tuple[TriedMap, State]]:
        """Its maps of some origins, with what is said of each."""
        for one, state in zip(self.trial.maps, self.said.states, strict=True):
            if one.origin in origins:
                yield one, state


def judge_trial(trial: Trial, seed: int = 0) -> Said:
    """What the verdict says of a trial: in rounds until every map of a method is decided, as `judge` has."""
    maps = [Judged(one.title, one.evidence, one.passes) for one in trial.maps]
    own = [one.origin == "method" for one in trial.maps]
    for number, blocks in enumerate(ROUNDS):
        done = first(trial.interventions, blocks)
        why = not_localised(done)
        draw = torch.Generator("cpu").manual_seed(seed)
        found, _ = judge_maps(done, maps, trial.levels, None, draw, localised=not why)
        states = tuple(one.state for one in found)
        undecided = any(mine and state == "undecided" for mine, state in zip(own, states, strict=True))
        if (why and number > 0) or (not why and not undecided):
            break
    return Said(not why, states, tuple(one.q for one in found))


Count = Callable[[Told], Iterable[bool]]


def _supported_right(told: Told) -> Iterable[bool]:
    return (one.hit >= GOOD for one, state in told.maps("method") if state == "supported")


def _right(told: Told) -> Iterable[bool]:
    return (one.hit >= GOOD for one, _ in told.maps("method"))


def _states(state: State, *origins: str, where: Callable[[TriedMap], bool]) -> Count:
    """How often a state is said of the maps of some origins for which something holds."""
    return lambda told: (found == state for one, found in told.maps(*origins) if where(one))


def _is_good(one: TriedMap) -> bool:
    return one.hit >= GOOD


def _is_wrong(one: TriedMap) -> bool:
    return one.hit < GOOD


def _points_at_carrier(told: Told) -> Iterable[bool]:
    """Whether some supported map points at what carries the decision."""
    return [any(one.points_at == told.trial.unit.carrier for one in _supported(told))]


def _points_elsewhere(told: Told) -> Iterable[bool]:
    """Whether some supported map points at another element."""
    return [any(one.points_at != told.trial.unit.carrier for one in _supported(told))]


def _supported(told: Told) -> list[TriedMap]:
    return [one for one, state in told.maps("method") if state == "supported"]


def _everything(_: TriedMap) -> bool:
    return True


LOCAL: Mapping[str, tuple[Count, Goal | None]] = {
    "maps of methods are right": (_right, None),
    "supported maps of methods are right": (_supported_right, Goal(0.95, True)),
    "right maps are supported": (_states("supported", "method", where=_is_good), None),
    "grossly wrong maps are supported": (
        _states("supported", "method", where=lambda one: one.hit < GROSSLY_WRONG),
        Goal(0.02, False),
    ),
    "wrong floors and decoys are supported": (
        _states("supported", *FLOORS, where=_is_wrong),
        Goal(0.01, False),
    ),
    "wrong maps for another class are supported": (
        _states("supported", "other class", where=_is_wrong),
        Goal(0.04, False),
    ),
    "wrong maps of a redrawn network are supported": (_states("supported", "redrawn", where=_is_wrong), None),
    "right maps are said not to be supported": (
        _states("not supported", "method", where=_is_good),
        Goal(0.03, False),
    ),
    "wrong maps of methods are said not to be supported": (
        _states("not supported", "method", where=_is_wrong),
        None,
    ),
    "wrong floors and decoys are said not to be supported": (
        _states("not supported", *FLOORS, where=_is_wrong),
        None,
    ),
    "wrong maps for another class are said not to be supported": (
        _states("not supported", "other class", where=_is_wrong),
        None,
    ),
    "maps of methods are undecided": (_states("undecided", "method", where=_everything), None),
    "decisions that have a place are said not to be localised": (
        lambda told: [not told.said.localised],
        Goal(0.03, False),
    ),
    "a supported map points at what carries the decision": (_points_at_carrier, None),
    "a supported map points at another element": (_points_elsewhere, None),
}
"""What is counted in localised tasks, and what it should be."""

SHORTCUT: Mapping[str, tuple[Count, Goal | None]] = {
    "a supported map points at the shortcut": (_points_at_carrier, Goal(0.95, True)),
    "a supported map points at another element than the shortcut": (_points_elsewhere, Goal(0.0, False)),
}
"""What is counted where a tag decides."""

DIFFUSE: Mapping[str, tuple[Count, Goal | None]] = {
    "diffuse decisions are said not to be localised": (
        lambda told: [not told.said.localised],
        Goal(0.9, True),
    ),
    "maps of diffuse decisions are supported": (_states("supported", "method", where=_everything), None),
}
"""What is counted in diffuse tasks."""


@dataclass(frozen=True)
class Rate:
    """How often something was so, and how often it should be."""

    what: str
    found: Interval
    goal: str = ""
    met: bool | None = None


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


class Scoreboard:
    """What sessions of trials show, the two halves of the tasks apart.

    Args:
        sessions: of tasks, see `run_session`.
        seed: of the judge's resampling.
    """

    def __init__(self, sessions: Sequence[Session], seed: int = 0) -> None:
        self.sessions = tuple(sessions)
        self.told = [
            Told(session, trial, judge_trial(trial, seed)) for session in sessions for trial in session.trials
        ]

    @cached_property
    def halves(self) -> tuple[HalfBoard, ...]:
        """Development first."""
        return tuple(
            self._half(half)
            for half in ("development", "held-out")
            if any(session.half == half for session in self.sessions)
        )

    def _half(self, half: str) -> HalfBoard:
        told = [one for one in self.told if one.session.half == half]
        local = [one for one in told if one.session.localised]
        rates = [*_rates(LOCAL, local)]
        rates += _rates(SHORTCUT, [one for one in local if _by_shortcut(one)])
        rates += _rates(DIFFUSE, [one for one in told if not one.session.localised])
        tasks = []
        for session in self.sessions:
            if session.half != half:
                continue
            own = [one for one in told if one.session is session]
            counted = _rates(LOCAL if session.localised else DIFFUSE, own)
            tasks.append(
                TaskRow(
                    session.task,
                    session.accuracy,
                    session.enough,
                    session.seen,
                    session.right,
                    session.decisions,
                    len(session.trials),
                    tuple(counted),
                )
            )
        failures = {title: why for one in told for title, why in one.trial.failures.items()}
        return HalfBoard(half, tuple(rates), _methods(local), _metrics(local), tuple(tasks), failures)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON; what has no value is null."""
        found: dict[str, Any] = _plain({"halves": [asdict(half) for half in self.halves]})
        return found

    def to_markdown(self) -> str:
        """Everything as tables."""
        return "\n".join(line for half in self.halves for line in _page(half)) + "\n"

    def write_json(self, path: Path) -> None:
        """Writes `to_dict` to a file."""
        path.write_text(json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def write_markdown(self, path: Path) -> None:
        """Writes `to_markdown` to a file."""
        path.write_text(self.to_markdown(), encoding="utf-8")


def _plain(value: Any) -> Any:
    """NaN as None, wherever in nested lists and dicts."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _by_shortcut(told: Told) -> bool:
    carrier = told.trial.unit.carrier
    return carrier is not None and told.trial.unit.scene.elements[carrier].role == "tag"


def _rates(counts: Mapping[str, tuple[Count, Goal | None]], told: Sequence[Told]) -> list[Rate]:
    found = []
    for what, (count, goal) in counts.items():
        interval = mean_over_pictures([list(map(float, count(one))) for one in told])
        if interval.count:
            found.append(
                Rate(what, interval, str(goal) if goal else "", goal.met(interval) if goal else None)
            )
    return found


def _methods(told: Sequence[Told]) -> tuple[MethodRow, ...]:
    """A row for each method, the best first."""
    titles = dict.fromkeys(one.title for each in told for one, _ in each.maps("method"))
    rows = []
    for title in titles:
        own = [[(one, state) for one, state in each.maps("method") if one.title == title] for each in told]

        def mean(
            value: Callable[[TriedMap, State], float],
            where: Callable[[State], bool] = bool,
            own: list[list[tuple[TriedMap, State]]] = own,
        ) -> Interval:
            groups = [[float(value(one, state)) for one, state in each if where(state)] for each in own]
            return mean_over_pictures(groups)

        rows.append(
            MethodRow(
                title,
                mean(lambda one, _: one.share),
                mean(lambda one, _: one.hit),
                mean(lambda one, _: one.hit >= GOOD),
                mean(lambda _, state: state == "supported"),
                mean(lambda one, _: one.hit >= GOOD, lambda state: state == "supported"),
                float(np.mean([one.passes for each in own for one, _ in each])),
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.hit.value))


def _metrics(told: Sequence[Told]) -> tuple[MetricRow, ...]:
    """A row for each metric, in the order asked."""
    titles = dict.fromkeys(name for each in told for one, _ in each.maps("method") for name in one.metrics)
    best = _best_method(told)
    rows = []
    for title in titles:
        rho, regret, preferred = [], [], []
        for each in told:
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
                    float(floor.metrics[title] > one.metrics[title])
                    for one in maps
                    for floor in wrong
                    if one.q > floor.q + BETTER
                ]
            )
        rows.append(MetricRow(title, *map(mean_over_pictures, (rho, regret, preferred))))
    return tuple(rows)


def _best_method(told: Sequence[Told]) -> str:
    """The method whose maps are best on average; it is known only in hindsight."""
    q: dict[str, list[float]] = {}
    for each in told:
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


_NOT_LOCALISED = (
    "decisions that have a place are said not to be localised",
    "diffuse decisions are said not to be localised",
)
_BY_TASK: Mapping[tuple[str, ...], str] = {
    ("maps of methods are right",): "right",
    ("supported maps of methods are right",): "right if supported",
    ("right maps are supported",): "supported if right",
    ("right maps are said not to be supported",): "not supported if right",
    _NOT_LOCALISED: "not localised",
}
"""The rates that are shown for each task, and what their columns are called."""


def _rate_of(task: TaskRow, names: tuple[str, ...]) -> str:
    return next((str(rate.found) for rate in task.rates if rate.what in names), "–")


def _accuracy(task: TaskRow) -> str:
    if task.accuracy is None:
        return "–"
    return f"{task.accuracy:.3f}" + ("" if task.enough else " (too low)")


def _page(half: HalfBoard) -> Iterator[str]:
    yield from (f"## {half.half.capitalize()} tasks", "")
    yield from _table(
        ("how often", "rate", "should be", "reached", "of"),
        [
            (rate.what, str(rate.found), rate.goal, _mark(rate.met), str(rate.found.count))
            for rate in half.rates
        ],
    )
    yield from ("", "### Methods", "")
    yield from _table(
        ("method", "share inside", "hit", "right", "supported", "right if supported", "passes"),
        [
            (
                row.title,
                *map(str, (row.share, row.hit, row.right, row.supported, row.supported_right)),
                f"{row.passes:.0f}",
            )
            for row in half.methods
        ],
    )
    if half.metrics:
        yield from ("", "### Metrics", "")
        yield from _table(
            ("metric", "rho with quality", "regret", "a floor is preferred to a better map"),
            [(row.title, str(row.rho), str(row.regret), str(row.floor_preferred)) for row in half.metrics],
        )
    yield from ("", "### Tasks", "")
    yield from _table(
        ("task", "accuracy", "scenes", "right", "decisions shown", *_BY_TASK.values()),
        [
            (
                task.task,
                _accuracy(task),
                *map(str, (task.seen, task.right, task.valid)),
                *(_rate_of(task, names) for names in _BY_TASK),
            )
            for task in half.tasks
        ],
    )
    if half.failures:
        yield ""
        yield from (f"- {title} cannot explain every network: {why}" for title, why in half.failures.items())
    yield ""


def _mark(met: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[met]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
