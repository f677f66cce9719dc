"""`pellucid doctor`: what a model is, which layers and methods suit it, and what they cost."""

from dataclasses import asdict
from typing import Annotated

import typer

from pellucid.cli import completing, options
from pellucid.cli.grouped import takes_groups
from pellucid.cli.own_model import ModelOptions
from pellucid.cli.screen import plain_errors, print_json, waiting


@takes_groups
def doctor(
    model: options.ModelSpec = "efficientnet-lite0",
    loading: ModelOptions = ModelOptions(),
    picture: Annotated[
        str | None,
        typer.Option(
            metavar="PICTURE",
            autocompletion=completing.pictures,
            help="What it is examined with.",
            show_default="sample:cat",
        ),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="List all layers, not only the outer ones.")
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Examine a model: its layers, which methods work and why not the others, memory and time.

    Every method is tried on one picture, and one is recommended.
    """
    with plain_errors(debug):
        from pellucid.cli.examining import show
        from pellucid.cli.loading import load_model
        from pellucid.doctor import examine

        with waiting(f"examining {model}"):
            loaded = load_model(model, loading)
            diagnosis = examine(loaded, picture)
        if json:
            print_json(asdict(diagnosis))
        else:
            show(diagnosis, layers)
