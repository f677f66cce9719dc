"""How far a run is: a bar for people, lines of JSON for schedulers."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from pellucid.engine.progress import showing

EVERY = 5.0
"""Seconds between two lines of JSON."""


@dataclass
class Counts:
    """What a run has done since it began.

    Attributes:
        total: pictures of the run.
        before: those that an earlier call had done.
        done: all that are done.
        failed: rows that failed, of those that were done now.
    """

    total: int
    before: int = 0
    done: int = 0
    failed: int = 0
    started: float = field(default_factory=time.monotonic)
    first: int = 0

    def add(self, pictures: int, failed: int) -> None:
        """Counts what was done; the first time also when that was, as workers take long to begin."""
        if not self.first:
            self.first, self.started = pictures, time.monotonic()
        self.done += pictures
        self.failed += failed

    @property
    def rate(self) -> float:
        """Pictures a second, since the first ones were there."""
        return (self.done - self.before - self.first) / max(1e-9, time.monotonic() - self.started)

    @property
    def left(self) -> float | None:
        """Seconds that are left, if it goes on like this; None where nobody can tell."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None

    def record(self) -> dict[str, float | int | None]:
        """A line for a scheduler."""
        return {
            "done": self.done,
            "total": self.total,
            "failed_rows": self.failed,
            "pictures_per_second": round(self.rate, 3),
            "seconds_left": None if self.left is None else round(self.left, 1),
        }


@contextmanager
def counting(
    counts: Counts, progress: bool | None, lines: TextIO | None
) -> Iterator[Callable[[int, int], None]]:
    """Gives what is to be called with pictures and failed rows; it draws, or writes lines.

    Args:
        counts: counted up.
        progress: True for a bar, False for none, None for one where standard error is a terminal.
        lines: where lines of JSON go, one every five seconds and one at the end.
    """
    last = time.monotonic()
    bar = progress if lines is None else False
    with showing("explaining", counts.total - counts.before, bar, note=lambda: _note(counts)) as shown:

        def told(pictures: int, failed: int) -> None:
            nonlocal last
            counts.add(pictures, failed)
            shown.advance(pictures)
            if lines is not None and time.monotonic() - last > EVERY:
                last = time.monotonic()
                _write(lines, counts)

        try:
            yield told
        finally:
            if lines is not None:
                _write(lines, counts)


def _note(counts: Counts) -> str:
    failed = f", {counts.failed} failed" if counts.failed else ""
    return f"{counts.rate:.1f} pictures/s{failed}"


def _write(lines: TextIO, counts: Counts) -> None:
    print(json.dumps(counts.record()), file=lines, flush=True)
