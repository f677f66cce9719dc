"""What `pellucid run` is told and tells."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import typer

from pellucid.cli.loading import load_model
from pellucid.cli.own_model import ModelOptions
from pellucid.cli.screen import STOPPED, complain, console
from pellucid.runner.estimate import Estimate
from pellucid.runner.loading import ModelSource
from pellucid.runner.results import Run

REASONS = 5
"""Reasons of failures that are shown."""


def model_source(spec: str, given: ModelOptions) -> ModelSource:
    """What loads the model as the options say, here and in other processes."""
    options = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(given).items()
        if value not in (None, False)
    }
    return ModelSource(partial(load_model, spec, given), spec, options)


@contextmanager
def stop_text(quiet: bool) -> Iterator[None]:
    """A run that was stopped says what is done and how to go on."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        text = (
            str(stopped) or "Stopped at once; finished shards are kept. The same command goes on from there."
        )
        if not quiet:
            complain(text)
        raise typer.Exit(STOPPED) from None


def show_run(run: Run, failed: Mapping[str, int]) -> None:
    """What came of a run, for people."""
    screen = console()
    screen.print(repr(run), style="bold")
    for reason, times in list(failed.items())[:REASONS]:
        screen.print(f"{times} failed: {reason}", style="yellow")
    if len(failed) > REASONS:
        screen.print(f"… and {len(failed) - REASONS} more reasons: column `error`.", style="yellow")
    if failed:
        screen.print("--retry-errors tries them again.", style="dim")
    screen.print(str(run.folder), soft_wrap=True)
    screen.print(
        f'In Python: pellucid.open_run("{run.folder}").to_pandas(), .sql("…"), .explanation(id, method).',
        style="dim", soft_wrap=True,
    )  # fmt: skip


def show_estimate(found: Estimate) -> None:
    """What a run would take, for people."""
    screen = console()
    screen.print(
        f"{found.pictures:,} pictures, {found.workers} worker{'s' * (found.workers > 1)}", style="bold"
    )
    screen.print(f"time      {_hours(found.hours)}")
    if found.dollars is not None:
        screen.print(f"price     {found.dollars:,.2f} dollars")
    screen.print(f"store     {_size(found.gigabytes * 1e9)}")
    screen.print(
        f"Measured on {found.tried} of them: {found.seconds:.3g} s and {found.bytes:,.0f} bytes a picture, "
        f"on {found.device}, {found.cores} cores.",
        style="dim",
    )
    if found.failed:
        screen.print(f"{found.failed} of the {found.tried} failed.", style="yellow")


def _size(count: float) -> str:
    """Bytes for people.

    >>> _size(999.0), _size(2.5e6), _size(1.5e12)
    ('999 bytes', '2.5 MB', '1.5 TB')
    """
    if count < 1000:
        return f"{count:.0f} bytes"
    names = ("kB", "MB", "GB", "TB", "PB")
    power = min(len(names), int(math.log10(count)) // 3)
    return f"{count / 1000**power:.3g} {names[power - 1]}"


def _hours(hours: float) -> str:
    """A time for people.

    >>> _hours(0.01), _hours(2.5), _hours(100.0)
    ('36 s', '2.5 hours', '4.2 days')
    """
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
