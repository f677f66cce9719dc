"""`pellucid audit`: what a model looks at across a data set, and whether that is a shortcut."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pellucid.cli import completing, options
from pellucid.cli.grouped import takes_groups
from pellucid.cli.own_model import ModelOptions
from pellucid.cli.screen import plain_errors, print_json, waiting

KINDS = ("html", "json", "parquet")
"""What `audit` writes."""
_QUESTION, _RUN, _RESULT = "The question", "How it is run", "The result"


@takes_groups
def audit(
    source: Annotated[
        list[str],
        typer.Argument(
            help="The folder of a run, or sources that are explained first: folders, globs, lists, tars, "
            "COCO or VOC files; paths or URLs.",
            show_default=False,
            metavar="STORE|SOURCE…",
        ),
    ],
    method: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--method",
            metavar="METHOD[:NAME=VALUE,…]",
            autocompletion=completing.method_names,
            help="Whose maps are read; of a run, one of its methods.",
            rich_help_panel=_QUESTION,
            show_default="the run's first; else grad-cam",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS[,CLASS…]",
            help="Classes that are audited, by name or number.",
            rich_help_panel=_QUESTION,
            show_default="all",
        ),
    ] = None,
    grid: Annotated[
        int, typer.Option(metavar="N", min=2, help="Cells along a side.", rich_help_panel=_QUESTION)
    ] = 16,
    per_class: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Most pictures of a class, drawn by --seed.", rich_help_panel=_RUN
        ),
    ] = 400,
    proofs: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Regions that are proven, about 1,200 passes each; 0 needs no model.",
            rich_help_panel=_RUN,
        ),
    ] = 32,
    pictures: Annotated[
        int,
        typer.Option(
            metavar="N", min=2, help="Pictures with which a region is proven.", rich_help_panel=_RUN
        ),
    ] = 24,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="SPEC",
            help=options.MODEL_HELP,
            rich_help_panel="The model",
            autocompletion=completing.models,
            show_default="the run's; else efficientnet-lite0",
        ),
    ] = None,
    loading: ModelOptions = ModelOptions(),
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where the run of sources that are explained first is kept; it goes on there.",
            rich_help_panel=_RESULT,
            show_default="not kept",
        ),
    ] = None,
    out: options.Out = Path("pellucid-out"),
    save: Annotated[
        str,
        typer.Option(
            metavar="KINDS",
            autocompletion=completing.kinds(KINDS),
            help=f"Any of {','.join(KINDS)}: audit.KIND.",
            rich_help_panel=_RESULT,
        ),
    ] = "html,json",
    fail_on: Annotated[
        Literal["shortcut"] | None,
        typer.Option(
            "--fail-on",
            help="Exit with 1 if a shortcut is proven.",
            rich_help_panel=_RESULT,
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    batch_size: options.BatchSize = None,
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    """Find shortcuts: where the evidence of a class lies across a data set, proven by intervention.

    Regions in which a class's evidence agrees are hidden, and put into pictures of other classes: that says
    whether the model uses them, with an interval.

    Example: pellucid audit runs/photos --fail-on shortcut
    """
    with plain_errors(debug):
        from pellucid.audit.verb import audit as audit_run
        from pellucid.cli.auditing import asked_model, show
        from pellucid.cli.reading import check_folder, read_kinds
        from pellucid.files import make_folder, mark_results

        kinds = read_kinds(save, KINDS)
        check_folder(out)
        given = source[0] if len(source) == 1 else source
        with waiting("loading the model", quiet):
            asked = asked_model(given, model, loading, proofs)
        make_folder(out)
        found = audit_run(
            given, asked, method=method,
            classes=None if classes is None else [one.strip() for one in classes.split(",")],
            grid=grid, per_class=per_class, proofs=proofs, pictures=pictures, store=store, seed=seed,
            batch_size=batch_size or "auto", progress=False if quiet else None,
        )  # fmt: skip
        files = [found.save(out / f"audit.{kind}") for kind in kinds]
        mark_results(files)
        if json:
            print_json(found.to_dict())
        elif not quiet:
            show(found, files)
        if fail_on == "shortcut" and found.shortcuts:
            raise typer.Exit(1)
