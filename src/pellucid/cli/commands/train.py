"""`pellucid train`: a small network learns labelled pictures, and is written as a model file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli import digits_options as own
from pellucid.cli import options
from pellucid.cli.screen import STOPPED, complain, console, plain_errors, print_json

if TYPE_CHECKING:
    from pellucid.digits.training import Epoch

train = typer.Typer(
    name="train", no_args_is_help=True, help="Train a small network, and write it as a model file."
)


@train.callback()
def _train() -> None:
    """Keeps `digits` a word of its own, though it is the only one."""


@train.command()
def digits(
    arch: own.Arch = "cnn",
    data: own.Data = None,
    download: own.Download = None,
    epochs: own.Epochs = None,
    patience: Annotated[
        int, typer.Option(metavar="N", min=1, help="Epochs without a lower loss after which training ends.")
    ] = 3,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Pictures of a step.")] = 64,
    rate: Annotated[float, typer.Option(metavar="RATE", help="Adam's learning rate.")] = 1e-3,
    out: Annotated[
        Path, typer.Option(metavar="FILE.safetensors", help="The model file.", rich_help_panel="The result")
    ] = Path("digits.safetensors"),
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, whatever an interrupted training has left.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    """Train a network on handwritten digits, or on other pictures of 28 by 28 grey pixels.

    After each epoch what is needed to go on is kept beside the file: the same command goes on where it was
    interrupted, and ends with the weights of a training that never was.

    Example: pellucid train digits --arch residual --out residual.safetensors
    """
    with plain_errors(debug):
        from pellucid.cli.digits_options import read_digits
        from pellucid.digits.training import Plan
        from pellucid.digits.training import train as train_network
        from pellucid.files import by_suffix
        from pellucid.model_file import SUFFIX

        by_suffix(out, {SUFFIX: None})
        plan = Plan(arch, epochs, batch, rate, patience, seed)
        pictures = read_digits(data, download, quiet or json)
        checkpoint = out.with_name(f"{out.stem}.partial{SUFFIX}")
        if restart:
            checkpoint.unlink(missing_ok=True)
        screen = console()
        tell = not (quiet or json)
        if tell:
            screen.print(
                f"{arch} learns {pictures.name}: {len(pictures.train):,} pictures, and "
                f"{len(pictures.test):,} held out to see how well."
            )
            if checkpoint.is_file():
                screen.print(f"Going on from {checkpoint}.")

        def after(course: "Sequence[Epoch]") -> None:
            if tell:
                screen.print(own.epoch_line(course, plan.most, len(pictures.test)))

        try:
            trained = train_network(
                pictures, plan, checkpoint=checkpoint, progress=None if tell else False, after=after
            )
            file = trained.save(out)
        except KeyboardInterrupt:
            if checkpoint.is_file():
                complain(f"Stopped; {checkpoint} has what was learned: the same command goes on from there.")
            else:
                complain("Stopped in the first epoch; nothing was written.")
            raise typer.Exit(STOPPED) from None
        checkpoint.unlink(missing_ok=True)
        if json:
            record = trained.record
            print_json({"file": str(file), "architecture": record.architecture, **record.training})
        elif tell:
            if len(trained.course) < plan.most:
                screen.print(f"Ended early: the loss has not fallen for {plan.patience} epochs.")
            screen.print(f"{file}: {own.accuracy_words(trained.accuracy)}")
