"""`pellucid evaluate`: methods by metrics over pictures, in a table with intervals."""

from pathlib import Path
from typing import Annotated

import typer

from pellucid.choices import Output
from pellucid.cli import completing, options
from pellucid.cli.grouped import takes_groups
from pellucid.cli.own_model import ModelOptions
from pellucid.cli.screen import plain_errors, print_json, waiting

TABLES = ("md", "csv", "json", "parquet")
"""What `evaluate` writes."""


@takes_groups
def evaluate(
    pictures: options.Pictures,
    method: options.Methods = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC[:NAME=VALUE,…]",
            help="Such as deletion:steps=100; `pellucid metrics` lists all. May be repeated.",
            rich_help_panel="The question",
            show_default="intervention, deletion, insertion, sparseness",
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="COCO.json|FOLDER",
            help="Where the objects are: a COCO file, or a folder of VOC files or of masks, named as the "
            "pictures; for metrics of localisation.",
            rich_help_panel="The question",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            metavar="CLASS",
            help="Class to explain, of every picture.",
            rich_help_panel="The question",
            show_default="predicted",
        ),
    ] = None,
    layer: options.Layer = None,
    output: Annotated[
        Output | None,
        typer.Option(
            help="Number that metrics read.",
            rich_help_panel="The question",
            show_default="each metric's own",
        ),
    ] = None,
    model: options.ModelSpec = "efficientnet-lite0",
    loading: ModelOptions = ModelOptions(),
    out: options.Out = Path("pellucid-out"),
    save: Annotated[
        str,
        typer.Option(
            metavar="KINDS",
            autocompletion=completing.kinds(TABLES),
            help=f"Any of {','.join(TABLES)}: evaluation.KIND.",
            rich_help_panel="The result",
        ),
    ] = "md,csv",
    json: options.Json = False,
    quiet: options.Quiet = False,
    batch_size: options.BatchSize = None,
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    """Judge methods by metrics over pictures: a table with 95 % intervals, evaluation.md, and its numbers.

    Results are kept picture by picture in the folder: the same request goes on where it stopped.

    Example: pellucid evaluate photos/ -m grad-cam -m rise:samples=500 --metric deletion --metric intervention
    """
    with plain_errors(debug):
        from pellucid.cli.evaluating import show
        from pellucid.cli.loading import load_model
        from pellucid.cli.reading import (
            check_folder,
            check_question,
            pictures_of,
            read_kinds,
            read_requests,
            read_target,
        )
        from pellucid.compare import DEFAULT_METHODS
        from pellucid.evaluate import DEFAULT_METRICS
        from pellucid.evaluate import evaluate as evaluate_all
        from pellucid.files import make_folder, mark_results

        requests = read_requests(method or list(DEFAULT_METHODS), layer)
        wanted = read_target(target or "predicted")
        kinds = read_kinds(save, TABLES)
        check_folder(out)
        sources = pictures_of(pictures)
        with waiting(f"loading {model}", quiet):
            loaded = load_model(model, loading)
        check_question(loaded, requests, [wanted])
        make_folder(out)
        found = evaluate_all(
            loaded,
            sources,
            [(request.method.name, request.given) for request in requests],
            metric or list(DEFAULT_METRICS),
            boxes=boxes,
            target=wanted,
            output=output,
            seed=seed,
            batch_size=batch_size or "auto",
            progress=False if quiet else None,
            store=out / "evaluation.jsonl",
        )
        files = [found.save(out / f"evaluation.{kind}") for kind in kinds]
        mark_results(files)
        if json:
            print_json(found.to_dict())
        elif not quiet:
            show(found, files)
        if found.missing:
            raise typer.Exit(1)
