"""`pellucid axioms`: what methods promise of their maps, checked on a model and a picture."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from pellucid.axioms.report import HEADS, AxiomReport, Row
from pellucid.axioms.verify import axioms as check
from pellucid.axioms.verify import promising
from pellucid.cli import options
from pellucid.cli.own_model import ModelOptions, takes_model_options
from pellucid.cli.screen import console, plain_errors, print_json, waiting
from pellucid.cli.tables import Column, print_table


@takes_model_options
def axioms(
    picture: Annotated[
        str, typer.Argument(help="A file, or sample:cat.", show_default=False, metavar="PICTURE")
    ],
    method: options.Methods = None,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            metavar="CLASS",
            help="Class to explain: an index, a name, A^B for why A rather than B, or `predicted`.",
            rich_help_panel="The question",
        ),
    ] = "predicted",
    layer: options.Layer = None,
    output: options.OutputOption = None,
    model: options.ModelSpec = "efficientnet-lite0",
    loading: ModelOptions = ModelOptions(),
    json: options.Json = False,
    quiet: options.Quiet = False,
    batch_size: options.BatchSize = None,
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    """Check which axioms methods keep on a model and a picture, and which they promise.

    Completeness, sensitivity, dummy, implementation invariance, linearity and symmetry. By default, of all
    methods that promise one, each run about ten times: those of many passes with few samples.

    Example: pellucid axioms cat.jpg --model torchvision:resnet50 -m integrated-gradients -m grad-cam
    """
    with plain_errors(debug):
        asked = options.read_target(target)
        requests = options.read_requests(method, layer) if method else []
        with waiting(f"loading {model}", quiet):
            loaded = loading.load(model)
        options.check_question(loaded, requests, [asked])
        report = check(
            loaded,
            picture,
            [(request.method.name, request.given) for request in requests] or promising(),
            target=asked,
            output=output,
            seed=seed,
            batch_size=batch_size or "auto",
            progress=False if quiet else None,
        )
        if json:
            print_json(asdict(report))
        elif not quiet:
            _show(report)


def _show(report: AxiomReport) -> None:
    screen = console()
    screen.print(report.title, style="bold")
    columns = [Column("method"), *(Column(head, i, right=True) for i, head in enumerate(HEADS.values(), 1))]
    rows: list[list[str | Text]] = []
    for title, of_method in report.methods.items():
        spaced = title.replace(":", ": ", 1).replace(",", ", ")  # long ones wrap between options
        rows.append([spaced, *(Text(row.cell, style=_style(row)) for row in of_method)])
    print_table(screen, columns, rows)
    screen.print(report.legend, style="dim")
    for remark in report.remarks:
        screen.print(remark, style="yellow")


def _style(row: Row) -> str:
    if not row.promised:
        return "dim"
    return {True: "green", False: "red", None: ""}[row.held]
