"""`pellucid digits`: single pictures out of a set."""

from pathlib import Path
from typing import Annotated

import typer

from pellucid.choices import Split
from pellucid.cli import digits_options as own
from pellucid.cli import options
from pellucid.cli.screen import console, plain_errors, print_json

digits = typer.Typer(name="digits", no_args_is_help=True, help="Handwritten digits, one by one.")


@digits.callback()
def _digits() -> None:
    """Keeps `extract` a word of its own, though it is the only one."""


@digits.command()
def extract(
    index: Annotated[
        int, typer.Argument(metavar="INDEX", help="Which picture, from 0 on.", show_default=False)
    ],
    split: Annotated[
        Split, typer.Option(help="Of those that networks learn, or of those held out.")
    ] = "test",
    data: own.Data = None,
    download: own.Download = None,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="A .png file.", rich_help_panel="The result")
    ] = Path("digit.png"),
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Write one digit as a PNG of 28 by 28 pixels, and say its label.

    Example: pellucid digits extract 6 --out seven.png
    """
    with plain_errors(debug):
        from pellucid.digits.extract import extract as write_picture

        pictures = own.read_digits(data, download, quiet or json)
        file, label = write_picture(pictures, split, index, out)
        if json:
            found = {"file": str(file), "label": label, "split": split, "index": index}
            print_json({**found, "data": pictures.name})
        elif not quiet:
            console().print(f"{file}: {label} ({split} picture {index} of {pictures.name})")
