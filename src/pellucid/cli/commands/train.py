"""`pellucid train`: a small network learns labelled pictures, and is written as a model file."""

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import digits_options as own
from pellucid.cli import options
from pellucid.cli.screen import plain_errors, print_json

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
        bool, typer.Option("--restart", help="Begin anew, whatever is there of an earlier training.")
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
        from pellucid.cli.learning import learn
        from pellucid.digits.training import Plan
        from pellucid.errors import InvalidValue
        from pellucid.files import by_suffix
        from pellucid.model_file import SUFFIX

        by_suffix(out, {SUFFIX: None})
        if out.exists() and not restart:
            raise InvalidValue(f"{out} is there already: name another file, --out, or replace it, --restart.")
        plan = Plan(arch, epochs, batch, rate, patience, seed)
        pictures = own.read_digits(data, download, quiet or json)
        trained = learn(pictures, plan, out, tell=not (quiet or json), restart=restart)
        if json:
            record = trained.record
            print_json({"file": str(out), "architecture": record.architecture, **record.training})
