"""`pellucid compare`: methods, targets and models side by side, in one grid and one page."""

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import completing, options
from pellucid.cli.drawing import DrawingOptions
from pellucid.cli.grouped import takes_groups
from pellucid.cli.own_model import ModelOptions
from pellucid.cli.screen import plain_errors, print_json, waiting


@takes_groups
def compare(
    pictures: options.Pictures,
    method: options.Methods = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every registered method.", rich_help_panel="The question")
    ] = False,
    target: options.Targets = None,
    layer: options.Layer = None,
    output: options.OutputOption = None,
    verdict: Annotated[
        bool,
        typer.Option(
            help="Judge the maps by hiding parts of the picture: which of them to trust.",
            rich_help_panel="The result",
        ),
    ] = True,
    budget: options.Budget = None,
    curves: Annotated[
        bool,
        typer.Option(
            "--curves",
            help="Deletion and insertion of every map in the report, 58 passes each.",
            rich_help_panel="The result",
        ),
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="SPEC",
            autocompletion=completing.models,
            help=options.MODEL_HELP + " May be repeated.",
            rich_help_panel="The model",
            show_default="efficientnet-lite0",
        ),
    ] = None,
    loading: ModelOptions = ModelOptions(),
    out: options.Out = Path("pellucid-out"),
    save: Annotated[
        str,
        typer.Option(
            metavar="KINDS",
            autocompletion=completing.kinds(options.GRIDS),
            help=f"Any of {','.join(options.GRIDS)}: compare.KIND, the page report.html.",
            rich_help_panel="The result",
        ),
    ] = "png,html",
    drawing: DrawingOptions = DrawingOptions(),
    json: options.Json = False,
    quiet: options.Quiet = False,
    precision: options.PrecisionOption = "auto",
    batch_size: options.BatchSize = None,
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    """Compare methods, targets and models in a grid, compare.png, and a page, report.html, or other files.

    A method that cannot explain a model is refused with its reason; the others are still compared.

    Example: pellucid compare cat.jpg -m grad-cam -m layer-cam --model torchvision:resnet50
    """
    with plain_errors(debug):
        from pellucid.cli.comparing import is_readable, report, show
        from pellucid.cli.loading import load_model
        from pellucid.cli.look import Look
        from pellucid.cli.reading import (
            check_folder,
            check_question,
            pictures_of,
            read_kinds,
            read_requests,
            read_target,
        )
        from pellucid.compare import DEFAULT_METHODS
        from pellucid.compare import compare as compare_all
        from pellucid.files import make_folder, mark_results
        from pellucid.methods import METHODS

        asked = list(METHODS) if every else method or list(DEFAULT_METHODS)
        requests = read_requests(asked, layer)
        targets = [read_target(text) for text in dict.fromkeys(target or ["predicted"])]
        look = Look.of(drawing)
        kinds = read_kinds(save, options.GRIDS)
        check_folder(out)
        sources = pictures_of(pictures)
        specs = list(dict.fromkeys(model or ["efficientnet-lite0"]))
        with waiting(f"loading {', '.join(specs)}", quiet):
            models = [load_model(spec, loading) for spec in specs]
        for one in models:
            check_question(one, requests, targets)
        readable = [source for source in sources if is_readable(source, models)]
        if not readable:
            raise typer.Exit(1)
        comparison = compare_all(
            models,
            readable,
            [(request.method.name, request.given) for request in requests],
            targets=targets,
            output=output,
            seed=seed,
            batch_size=batch_size or "auto",
            precision=precision,
            progress=False if quiet else None,
            verdict=verdict,
            budget=budget,
            curves=curves,
        )
        make_folder(out)
        with waiting("drawing", quiet):
            names = ["report.html" if kind == "html" else f"compare.{kind}" for kind in kinds]
            files = [comparison.save(out / name, **look.saving()) for name in names]
        mark_results(files)
        if json:
            print_json(report(comparison, [readable[i] for i in comparison.images], files))
        elif not quiet:
            show(comparison, files)
        asked_and_refused = bool(comparison.refusals) and not every
        if len(readable) < len(sources) or asked_and_refused:
            raise typer.Exit(1)
