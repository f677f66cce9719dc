"""`pellucid choose`: which method suits a model, from a handful of pictures."""

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.grouped import takes_groups
from pellucid.cli.own_model import ModelOptions
from pellucid.cli.screen import plain_errors, print_json, waiting


@takes_groups
def choose(
    pictures: options.Pictures,
    method: options.Methods = None,
    layer: options.Layer = None,
    model: options.ModelSpec = "efficientnet-lite0",
    loading: ModelOptions = ModelOptions(),
    out: Annotated[
        Path, typer.Option(metavar="FILE.json", help="The file to keep it in.", rich_help_panel="The result")
    ] = Path("choice.json"),
    json: options.Json = False,
    quiet: options.Quiet = False,
    batch_size: options.BatchSize = None,
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    """Find out which method suits a model: the cheapest whose maps interventions support as well as any.

    `pellucid explain -m auto --choice choice.json` then explains by it.

    Example: pellucid choose photos/ -m grad-cam -m layer-cam -m lrp
    """
    with plain_errors(debug):
        from pellucid.choose import choose as choose_method
        from pellucid.cli.examining import show_choice
        from pellucid.cli.loading import load_model
        from pellucid.cli.reading import check_question, pictures_of, read_requests
        from pellucid.compare import DEFAULT_METHODS

        requests = read_requests(method or list(DEFAULT_METHODS), layer)
        sources = pictures_of(pictures)
        with waiting(f"loading {model}", quiet):
            loaded = load_model(model, loading)
        check_question(loaded, requests, [])
        found = choose_method(
            loaded,
            sources,
            [(request.method.name, request.given) for request in requests],
            seed=seed,
            batch_size=batch_size or "auto",
            progress=False if quiet else None,
        )
        file = found.save(out)
        if json:
            print_json(found.to_dict())
        elif not quiet:
            show_choice(found, file)
