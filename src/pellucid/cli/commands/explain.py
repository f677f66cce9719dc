"""`pellucid explain`: one result per picture, target and method."""

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import completing, options
from pellucid.cli.drawing import DrawingOptions
from pellucid.cli.grouped import takes_groups
from pellucid.cli.own_model import ModelOptions
from pellucid.cli.screen import STOPPED, complain, plain_errors, print_json, waiting


@takes_groups
def explain(
    pictures: options.Pictures,
    method: options.Methods = None,
    choice: options.ChoiceFile = None,
    target: options.Targets = None,
    layer: options.Layer = None,
    output: options.OutputOption = None,
    model: options.ModelSpec = "efficientnet-lite0",
    loading: ModelOptions = ModelOptions(),
    out: options.Out = Path("pellucid-out"),
    save: Annotated[
        str,
        typer.Option(
            metavar="KINDS",
            autocompletion=completing.kinds(options.FORMATS),
            help=f"Any of {','.join(options.FORMATS)}; error: a PNG of the standard errors of sampled maps.",
            rich_help_panel="The result",
        ),
    ] = "png",
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Make nothing again that index.jsonl in the folder lists, asked for in the same way.",
            rich_help_panel="The result",
        ),
    ] = False,
    drawing: DrawingOptions = DrawingOptions(),
    video: options.Video = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    precision: options.PrecisionOption = "auto",
    batch_size: options.BatchSize = None,
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    """Explain pictures: one heatmap per picture, target and method.

    Files are named PICTURE.METHOD.png, with options and target where you gave them.

    A picture that cannot be read costs one line; the others are still explained. The folder's index.jsonl
    gets a line for each result once its files are written.

    Example: pellucid explain cats/ -m grad-cam -m saliency -t tabby -t "tiger cat^tabby"
    """
    with plain_errors(debug):
        from pellucid.cli.explaining import Files, Question, Run, check_errors, check_video
        from pellucid.cli.index import model_facts
        from pellucid.cli.loading import load_model
        from pellucid.cli.look import Look
        from pellucid.cli.reading import (
            check_folder,
            check_question,
            pictures_of,
            read_choice,
            read_kinds,
            read_requests,
            read_target,
            request_of,
        )
        from pellucid.engine.chunks import batch_limit
        from pellucid.engine.progress import showing
        from pellucid.explain import versions
        from pellucid.images import shared_ranges

        chosen = None if choice is None else read_choice(choice, method)
        requests = read_requests(method or ["grad-cam"], layer) if chosen is None else [request_of(chosen)]
        asked = list(dict.fromkeys(target or ["predicted"]))
        targets = [read_target(text) for text in asked]
        kinds = read_kinds(save, options.FORMATS)
        if "error" in kinds:
            check_errors(requests)
        look = Look.of(drawing)
        if video is not None:
            check_video(video, requests)
        check_folder(out)
        sources = pictures_of(pictures)
        with waiting(f"loading {model}", quiet):
            loaded = load_model(model, loading)
        check_question(loaded, requests, targets)
        if chosen is not None:
            chosen.check(loaded)

        limit = batch_limit(batch_size or "auto", loaded.device)
        questions = [
            Question(one, request, text if target else "")
            for text, one in zip(asked, targets, strict=True)
            for request in requests
        ]
        groups = [sources[start : start + limit] for start in range(0, len(sources), limit)]
        one_bar = len(groups) == 1  # then the engine shows how far it is; else the groups are counted here
        progress = False if quiet else None
        run = Run(
            loaded,
            questions,
            Files(out, kinds, look, video, sources, questions),
            {
                "output": output,
                "seed": seed,
                "batch_size": batch_size or "auto",
                "precision": precision,
                "progress": progress if one_bar else False,
            },
            {
                "versions": versions(),
                "model": model_facts(loaded, model, loading),
                "output": output,
                "seed": seed,
                "precision": precision,
                "kinds": kinds,
                "drawing": look.saving(),
            },
        )
        if loaded.range is None:
            run.ranges = shared_ranges(sources)
        if skip_existing:
            run.recall(sources)
        stopped = False
        try:
            with showing("pictures", len(sources), False if one_bar else progress) as bar:
                for group in groups:
                    run.explain(group)
                    bar.advance(len(group))
        except KeyboardInterrupt:
            stopped = True
        run.finish()
        if json:
            print_json(run.report(stopped))
        elif not quiet:
            run.show()
        if stopped:
            complain(f"Stopped after {len(run.results)} of {len(sources) * len(questions)} results.")
        if stopped or run.failures:
            raise typer.Exit(STOPPED if stopped else 1)
