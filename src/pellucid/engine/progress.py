"""A progress bar with the time left, on anything that takes longer than a second."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Protocol, runtime_checkable

from pellucid.notebook import in_notebook

PATIENCE = 1.0
"""Seconds before a bar appears: shorter work is not worth one."""


@runtime_checkable
class Progress(Protocol):
    """Told how many samples were run; draws, or does nothing."""

    def advance(self, samples: int) -> None:
        """Counts `samples` more as done."""

    def at_least(self, samples: int) -> None:
        """Counts `samples` as still to be done, if less was known to be."""

    def left(self, samples: int) -> None:
        """Counts `samples` as still to be done, whatever was expected before."""


class Silent:
    """Draws nothing."""

    def advance(self, samples: int) -> None:
        """Counts nothing."""

    def at_least(self, samples: int) -> None:
        """Counts nothing."""

    def left(self, samples: int) -> None:
        """Counts nothing."""


class Bar:
    """A rich progress bar on standard error that appears after a second."""

    def __init__(self, title: str, total: int, note: Callable[[], str] = str) -> None:
        self.title, self.total, self.done, self.started = title, total, 0, time.monotonic()
        self.note = note
        self._draw: Callable[[int], None] | None = None
        self._stop: Callable[[], None] = lambda: None

    def advance(self, samples: int) -> None:
        """Counts `samples` more as done, and draws if a second has passed."""
        self.done += samples
        if self._draw is None and time.monotonic() - self.started > PATIENCE and self.done < self.total:
            self._appear()
        if self._draw is not None:
            self._draw(min(self.done, self.total))

    def at_least(self, samples: int) -> None:
        """Moves the end of the bar back, if it is nearer."""
        self.total = max(self.total, self.done + samples)

    def left(self, samples: int) -> None:
        """Moves the end of the bar."""
        self.total = self.done + samples

    def _appear(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich

        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        bar = Rich(*columns, console=Console(stderr=True), transient=True)
        bar.start()
        task = bar.add_task(self.title, total=self.total, note=self.note())
        self._draw = lambda done: bar.update(task, completed=done, total=self.total, note=self.note())
        self._stop = bar.stop

    def close(self) -> None:
        """Takes the bar away."""
        self._stop()


class NotebookBar(Bar):
    """A bar in the output of a notebook's cell, which it leaves empty behind it."""

    def _appear(self) -> None:
        display = sys.modules["IPython"].display
        shown = display.display(display.HTML(self._html()), display_id=True)
        last = 0.0

        def draw(done: int) -> None:
            nonlocal last
            if time.monotonic() - last > 0.2:  # each drawing is a message to the browser
                last = time.monotonic()
                shown.update(display.HTML(self._html()))

        self._draw = draw
        self._stop = lambda: shown.update(display.HTML(""))

    def _html(self) -> str:
        done = min(self.done, self.total)
        left = (time.monotonic() - self.started) / max(1, done) * (self.total - done)
        return (
            f'{escape(self.title)} <progress value="{done}" max="{self.total}"></progress> '
            f"{done}/{self.total}, about {left:.0f} s left {escape(self.note())}"
        )


@contextmanager
def showing(
    title: str, total: int, progress: bool | None, note: Callable[[], str] = str
) -> Iterator[Progress]:
    """A bar if `progress` is True, or None in a terminal or a notebook; otherwise silence.

    `note` gives what stands behind the bar.
    """
    notebook = in_notebook()
    if progress is False or (progress is None and not (notebook or sys.stderr.isatty())):
        yield Silent()
        return
    bar = (NotebookBar if notebook else Bar)(title, total, note)
    try:
        yield bar
    finally:
        bar.close()
