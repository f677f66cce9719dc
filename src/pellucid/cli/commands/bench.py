"""`pellucid bench`: how well methods, metrics and the verdict do where the truth is known."""

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.screen import complain, console, plain_errors, print_json

bench = typer.Typer(
    name="bench",
    no_args_is_help=True,
    help="Measure methods, metrics and the verdict where the truth is known.",
)


@bench.callback()
def _bench() -> None:
    """Keeps `truth` a word of its own, though it is the only one."""


@bench.command()
def truth(
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help="Such as glyph-plain, or all of one half: development, held-out. May be repeated.",
            show_default="all",
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option("--pictures", "-n", metavar="N", min=1, help="Decisions of each task.")
    ] = 16,
    method: options.Methods = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="METRIC[:NAME=VALUE,…]",
            help="Such as deletion:steps=10. May be repeated.",
            show_default="intervention, deletion, insertion; none for photographs",
        ),
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out", metavar="FILE", help="Also write it: .json or .md. May be repeated.", show_default=False
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    """Where each method's evidence lies, and how often each sentence of the verdict was right.

    Small networks are trained on scenes whose every element can be rendered away, each in about a minute, and
    kept in the user's cache; objects are pasted into photographs for EfficientNet-Lite0. Where the evidence
    lies is shown by taking elements away. All rates come with 95 % intervals over pictures, those of the
    tasks on which thresholds were set apart from the others.

    Example: pellucid bench truth --task shortcut-plain --pictures 8
    """
    with plain_errors(debug):
        from pellucid.files import by_suffix, save_by_suffix
        from pellucid.truth.scoreboard import Scoreboard
        from pellucid.truth.tasks import chosen_tasks
        from pellucid.truth.trials import run_session

        for path in out or []:
            by_suffix(path, dict.fromkeys((".json", ".md")))
        sessions = []
        for task in chosen_tasks(tasks):
            shown = False if quiet or json else None
            found = run_session(task, pictures, methods=method, metrics=metric, seed=seed, progress=shown)
            sessions.append(found)
            if not quiet and not found.enough:
                complain(f"{found.task}: the network is right in only {found.accuracy:.0%} of new scenes.")
            if not quiet and len(found.trials) < pictures:
                complain(
                    f"{found.task}: of {found.seen} scenes only {len(found.trials)} decisions are valid."
                )
        board = Scoreboard(sessions, seed)
        for path in out or []:
            save_by_suffix(path, {".json": board.write_json, ".md": board.write_markdown})
        if json:
            print_json(board.to_dict())
        elif not quiet:
            console().print(board.to_markdown())
