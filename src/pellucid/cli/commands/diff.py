"""`pellucid diff`: where decisions and evidence of two runs moved."""

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import completing, options
from pellucid.cli.screen import console, plain_errors, print_json, waiting

_RESULT, _QUESTION = "The result", "The question"


def diff(
    run_a: Annotated[
        Path, typer.Argument(metavar="RUN_A", help="The first run's folder.", show_default=False)
    ],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="The second run's.", show_default=False)],
    method: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--method",
            metavar="METHOD",
            autocompletion=completing.method_names,
            help="Which, by its name, where a run has several.",
            rich_help_panel=_QUESTION,
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            metavar="CLASS",
            help="Which, as it was asked, where a run has several.",
            rich_help_panel=_QUESTION,
            show_default=False,
        ),
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="A run of the first model trained with another seed: how far maps move anyway.",
            rich_help_panel=_QUESTION,
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(metavar="N", min=0, help="Pictures shown with both maps.", rich_help_panel=_RESULT)
    ] = 20,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Where the result goes: .html, .json, .md, or .parquet with the numbers of every picture.",
            rich_help_panel=_RESULT,
        ),
    ] = Path("diff.html"),
    json: options.Json = False,
    quiet: options.Quiet = False,
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    """Compare two runs on the same pictures: where decisions or evidence moved most, with intervals.

    Two models, or one before and after training. A page shows the pictures that moved most with both maps.

    Example: pellucid diff runs/before runs/after
    """
    with plain_errors(debug):
        from pellucid.audit.differences import WRITTEN
        from pellucid.audit.differences import diff as compare_runs
        from pellucid.files import by_suffix

        by_suffix(out, dict.fromkeys(WRITTEN))
        with waiting("comparing", quiet):
            found = compare_runs(
                run_a, run_b, method=method, target=target, control=control, top=top, seed=seed
            )
            file = found.save(out)
        if json:
            print_json(found.to_dict())
        elif not quiet:
            screen = console()
            for sentence in found.sentences:
                screen.print(sentence, soft_wrap=True)
            screen.print(str(file), soft_wrap=True)
