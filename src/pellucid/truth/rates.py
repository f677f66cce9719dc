"""How often each sentence of the verdict was right, and how often it should be."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from pellucid.judge import ROUNDS
from pellucid.truth.intervals import Interval, rate_over_pictures
from pellucid.truth.quality import GOOD, GROSSLY_WRONG
from pellucid.truth.trials import Session, Trial, TriedMap, first
from pellucid.verdict.decide import JudgedMap, judge_maps, not_localised
from pellucid.verdict.record import State

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
class TrialVerdict:
    """What the verdict says of one unit: whether it has a place, and of each map its state and q."""

    localised: bool
    states: tuple[State, ...]
    q: tuple[float, ...]


@dataclass(frozen=True)
class JudgedTrial:
    """A trial and what the verdict says of it."""

    session: Session
    trial: Trial
    verdict: TrialVerdict

    def maps(self, *origins: str) -> Iterator[tuple[TriedMap, State]]:
        """Its maps of some origins, with what is said of each."""
        for one, state in zip(self.trial.maps, self.verdict.states, strict=True):
            if one.origin in origins:
                yield one, state


def judge_trial(trial: Trial, seed: int = 0) -> TrialVerdict:
    """What the verdict says of a trial: in rounds until every map of a method is decided, as `judge` has."""
    maps = [JudgedMap(one.title, one.evidence, one.passes) for one in trial.maps]
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
    return TrialVerdict(not why, states, tuple(one.q for one in found))


Count = Callable[[JudgedTrial], Iterable[bool]]


def _supported_right(judged: JudgedTrial) -> Iterable[bool]:
    return (one.hit >= GOOD for one, state in judged.maps("method") if state == "supported")


def _right(judged: JudgedTrial) -> Iterable[bool]:
    return (one.hit >= GOOD for one, _ in judged.maps("method"))


def _states(state: State, *origins: str, where: Callable[[TriedMap], bool]) -> Count:
    """How often a state is said of the maps of some origins for which something holds."""
    return lambda judged: (found == state for one, found in judged.maps(*origins) if where(one))


def _is_good(one: TriedMap) -> bool:
    return one.hit >= GOOD


def _is_wrong(one: TriedMap) -> bool:
    return one.hit < GOOD


def _points_at_carrier(judged: JudgedTrial) -> Iterable[bool]:
    """Whether some supported map points at what carries the decision."""
    return [any(one.points_at == judged.trial.unit.carrier for one in _supported(judged))]


def _points_elsewhere(judged: JudgedTrial) -> Iterable[bool]:
    """Whether some supported map points at another element."""
    return [any(one.points_at != judged.trial.unit.carrier for one in _supported(judged))]


def _supported(judged: JudgedTrial) -> list[TriedMap]:
    return [one for one, state in judged.maps("method") if state == "supported"]


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
        lambda judged: [not judged.verdict.localised],
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
        lambda judged: [not judged.verdict.localised],
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


def by_shortcut(judged: JudgedTrial) -> bool:
    """Whether a tag, not the object itself, carries the decision."""
    carrier = judged.trial.unit.carrier
    return carrier is not None and judged.trial.unit.scene.elements[carrier].role == "tag"


def rates_of(counts: Mapping[str, tuple[Count, Goal | None]], judged: Sequence[JudgedTrial]) -> list[Rate]:
    """What is counted, over trials; what occurs in none of them is left out."""
    found = []
    for what, (count, goal) in counts.items():
        interval = rate_over_pictures([list(count(one)) for one in judged])
        if interval.count:
            found.append(
                Rate(what, interval, str(goal) if goal else "", goal.met(interval) if goal else None)
            )
    return found
