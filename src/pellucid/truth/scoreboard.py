"""The scoreboard: where the evidence of each method lies, and how often what the verdict says was right."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pellucid.caching import cached_property
from pellucid.truth.page import page
from pellucid.truth.rates import DIFFUSE, LOCAL, SHORTCUT, JudgedTrial, by_shortcut, judge_trial, rates_of
from pellucid.truth.rows import HalfBoard, TaskRow, method_rows, metric_rows
from pellucid.truth.trials import Session


class Scoreboard:
    """What sessions of trials show, the two halves of the tasks apart.

    Args:
        sessions: of tasks, see `run_session`.
        seed: of the judge's resampling.
    """

    def __init__(self, sessions: Sequence[Session], seed: int = 0) -> None:
        self.sessions = tuple(sessions)
        self.trials = [
            JudgedTrial(session, trial, judge_trial(trial, seed))
            for session in sessions
            for trial in session.trials
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
        judged = [one for one in self.trials if one.session.half == half]
        local = [one for one in judged if one.session.localised]
        rates = [*rates_of(LOCAL, local)]
        rates += rates_of(SHORTCUT, [one for one in local if by_shortcut(one)])
        rates += rates_of(DIFFUSE, [one for one in judged if not one.session.localised])
        tasks = []
        for session in self.sessions:
            if session.half != half:
                continue
            own = [one for one in judged if one.session is session]
            counted = rates_of(LOCAL if session.localised else DIFFUSE, own)
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
        failures = {title: why for one in judged for title, why in one.trial.failures.items()}
        return HalfBoard(half, tuple(rates), method_rows(local), metric_rows(local), tuple(tasks), failures)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON; what has no value is null."""
        found: dict[str, Any] = _plain({"halves": [asdict(half) for half in self.halves]})
        return found

    def to_markdown(self) -> str:
        """Everything as tables."""
        return "\n".join(line for half in self.halves for line in page(half)) + "\n"

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
