"""`pellucid run`: a data set of any size, explained into a folder of Parquet files."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pellucid.choices import Engine, MapKind
from pellucid.cli import options
from pellucid.cli.grouped import takes_groups
from pellucid.cli.own_model import ModelOptions
from pellucid.cli.own_source import SourceOptions
from pellucid.cli.screen import plain_errors, print_json, waiting

_RUN, _RESULT, _QUESTION = "How it is run", "The result", "The question"


@takes_groups
def run(
    source: Annotated[
        list[str],
        typer.Argument(
            help="Folders, globs, lists (.csv, .parquet, .jsonl), tars, COCO or VOC files, Hugging Face "
            "folders; paths or URLs.",
            show_default=False,
            metavar="SOURCE…",
        ),
    ],
    store: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The run's folder.", rich_help_panel=_RESULT, show_default=False),
    ],
    method: options.Methods = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC[:NAME=VALUE,…]",
            help="What judges each map, such as deletion:steps=100. May be repeated.",
            rich_help_panel=_QUESTION,
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            metavar="CLASS",
            help="Class to explain: an index, a name, A^B, `predicted`, or `label` for each picture's own. "
            "May be repeated.",
            rich_help_panel=_QUESTION,
            show_default="predicted",
        ),
    ] = None,
    layer: options.Layer = None,
    output: options.OutputOption = None,
    given: SourceOptions = SourceOptions(),
    model: options.ModelSpec = "efficientnet-lite0",
    loading: ModelOptions = ModelOptions(),
    engine: Annotated[
        Engine,
        typer.Option(help="This process, processes of this machine, or a Ray cluster.", rich_help_panel=_RUN),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Processes or Ray actors.",
            rich_help_panel=_RUN,
            show_default="one a core",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Of a Ray cluster; `auto` for the one on this machine.",
            rich_help_panel=_RUN,
            show_default="a new one on this machine",
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float, typer.Option(metavar="SHARE", help="Of a GPU, for each Ray actor.", rich_help_panel=_RUN)
    ] = 0.0,
    shard_size: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Pictures of a shard.", rich_help_panel=_RUN, show_default="up to 512"
        ),
    ] = None,
    maps: Annotated[
        MapKind,
        typer.Option(
            help="As the formula gives them, at the input's resolution, or numbers alone.",
            rich_help_panel=_RESULT,
        ),
    ] = "raw",
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Keep a small picture of each.", rich_help_panel=_RESULT)
    ] = False,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Try failed pictures again.", rich_help_panel=_RUN)
    ] = False,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Explain 32 of the pictures, and say what all would take: hours, bytes, dollars. Nothing is "
            "kept.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    price: Annotated[
        float | None,
        typer.Option(
            metavar="DOLLARS",
            help="An hour of one worker, for --estimate.",
            rich_help_panel=_RUN,
            show_default=False,
        ),
    ] = None,
    json_progress: Annotated[
        bool,
        typer.Option(
            "--json-progress",
            help="A line of JSON on standard error every five seconds, in place of the bar.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    batch_size: options.BatchSize = None,
    precision: options.PrecisionOption = "auto",
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    """Explain a data set of any size into a folder of Parquet files, and lose no picture.

    The same command goes on where it was stopped: by Ctrl-C, by a full disk, by a crash. Pictures that cannot
    be read have a row that says why.

    Example: pellucid run photos/ -m grad-cam --store runs/photos
    """
    with plain_errors(debug):
        from pellucid.cli.reading import read_requests, read_target
        from pellucid.cli.running import model_source, show_estimate, show_run, stop_text
        from pellucid.runner.run import plan_job
        from pellucid.runner.run import run as run_all

        requests = read_requests(method or ["grad-cam"], layer)
        with waiting(f"looking at {source[0]}", quiet):
            opened = given.opened(source)
        with waiting(f"loading {model}", quiet):
            loaded = model_source(model, loading)
        asked: dict[str, Any] = {
            "methods": [(request.method.name, request.given) for request in requests],
            "target": [read_target(one) for one in target or ["predicted"]],
            "metrics": metric or (),
            "output": output,
            "maps": maps,
            "thumbnails": thumbnails,
            "seed": seed,
            "batch_size": batch_size or "auto",
            "precision": precision,
        }
        if estimate:
            from pellucid.runner.estimate import estimate as estimate_run

            job, opened, _ = plan_job(loaded, opened, **asked)
            with waiting("explaining some pictures", quiet):
                found = estimate_run(job, opened, workers=workers or 1, price=price)
            print_json(found.to_dict()) if json else show_estimate(found)
            return
        if price is not None:
            from pellucid.errors import InvalidValue

            raise InvalidValue("--price is for --estimate, which says what a run costs.")
        with stop_text(quiet):
            done = run_all(
                loaded, opened, store=store, engine=engine, workers=workers, address=address,
                gpus_per_worker=gpus_per_worker, shard_size=shard_size or "auto", retry_errors=retry_errors,
                progress=False if quiet else None, json_progress=sys.stderr
                if json_progress else None, **asked,
            )  # fmt: skip
        failed = done.failed
        if json:
            print_json({
                "store": str(done.folder), "pictures": done.count, "rows": done.to_arrow(["row"]).num_rows,
                "failed": failed,
            })  # fmt: skip
        elif not quiet:
            show_run(done, failed)
        if failed:
            raise typer.Exit(1)
