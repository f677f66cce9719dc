"""`pellucid axioms`: what methods promise of their maps, checked on a model and a picture."""

from dataclasses import asdict
from typing import Annotated

import typer

from pellucid.cli import completing, options
from pellucid.cli.grouped import takes_groups
from pellucid.cli.own_model import ModelOptions
from pellucid.cli.screen import plain_errors, print_json, waiting


@takes_groups
def axioms(
    picture: Annotated[
        str,
        typer.Argument(
            help="A file, or sample:cat.",
            show_default=False,
            metavar="PICTURE",
            autocompletion=completing.pictures,
        ),
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
        from pellucid.axioms.verify import axioms as check
        from pellucid.axioms.verify import promising
        from pellucid.cli.checking import show
        from pellucid.cli.loading import load_model
        from pellucid.cli.reading import check_question, read_requests, read_target

        asked = read_target(target)
        requests = read_requests(method, layer) if method else []
        with waiting(f"loading {model}", quiet):
            loaded = load_model(model, loading)
        check_question(loaded, requests, [asked])
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
            show(report)
