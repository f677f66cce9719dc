"""Training as the commands do it: told epoch by epoch, resumed where it was interrupted."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pellucid.cli.digits_options import accuracy_words, epoch_line
from pellucid.cli.screen import STOPPED, complain, console
from pellucid.digits.data import Digits
from pellucid.digits.training import Plan, Trained, train
from pellucid.model_file import SUFFIX

if TYPE_CHECKING:
    from pellucid.digits.training import Epoch


def learn(digits: Digits, plan: Plan, file: Path, *, tell: bool, restart: bool = False) -> Trained:
    """Trains a network and writes its model file; what is needed to go on lies beside it meanwhile.

    Raises:
        Exit: it was stopped; a sentence says how to go on.
        PellucidError: see `pellucid.digits.training.train`.
    """
    checkpoint, screen = file.with_name(f"{file.stem}.partial{SUFFIX}"), console()
    if restart:
        checkpoint.unlink(missing_ok=True)
    if tell:
        lessons, tests = len(digits.train), len(digits.test)
        screen.print(
            f"{plan.architecture} learns {digits.name}: {lessons:,} pictures, and {tests:,} held out to see "
            "how well."
        )
        if checkpoint.is_file():
            screen.print(f"Going on from {checkpoint}.")

    def after(course: "Sequence[Epoch]") -> None:
        if tell:
            screen.print(epoch_line(course, plan.most, len(digits.test)))

    try:
        trained = train(digits, plan, checkpoint=checkpoint, progress=None if tell else False, after=after)
        trained.save(file)
    except KeyboardInterrupt:
        if checkpoint.is_file():
            complain(f"Stopped; {checkpoint} has what was learned: the same command goes on from there.")
        else:
            complain("Stopped in the first epoch; nothing was written.")
        raise typer.Exit(STOPPED) from None
    checkpoint.unlink(missing_ok=True)
    if tell:
        if len(trained.course) < plan.most:
            screen.print(f"Ended early: the loss has not fallen for {plan.patience} epochs.")
        screen.print(f"{file}: {accuracy_words(trained.accuracy)}")
    return trained
