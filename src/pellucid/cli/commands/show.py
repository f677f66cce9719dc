"""`pellucid show`: what a file shows and where it comes from."""

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.screen import console, plain_errors, print_json


def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What Pellucid saved.", show_default=False)],
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Print what a file shows: method, model, layer, class, scores, options, versions.

    Reads .png, .jpg, .webp, .pdf, .svg, .html, .npz and .safetensors that Pellucid saved.

    Example: pellucid show pellucid-out/cat.grad-cam.png
    """
    with plain_errors(debug):
        from pellucid.cli.showing import about, facts, read

        told = read(file)
        if json:
            print_json(told)
            return
        screen = console()
        for one in told.get("explanations", []):
            for name, value in facts(one):
                screen.print(f"{name:<12} {value}", soft_wrap=True)
            screen.print()
        for name, value in about(told):
            screen.print(f"{name:<12} {value}", soft_wrap=True)
