"""The command `pellucid`: it reads what is asked and tells what came out; the library does the work.

Exit codes: 0 all done, 1 some pictures failed, 2 the request itself was refused, 130 stopped by Ctrl-C.
"""

import importlib.metadata
import os
import warnings
from typing import Annotated

import typer

from pellucid.allocator import keep_memory
from pellucid.cli.commands.audit import audit
from pellucid.cli.commands.axioms import axioms
from pellucid.cli.commands.bench import bench
from pellucid.cli.commands.choose import choose
from pellucid.cli.commands.cite import cite
from pellucid.cli.commands.compare import compare
from pellucid.cli.commands.diff import diff
from pellucid.cli.commands.digits import digits
from pellucid.cli.commands.doctor import doctor
from pellucid.cli.commands.evaluate import evaluate
from pellucid.cli.commands.explain import explain
from pellucid.cli.commands.lab import lab
from pellucid.cli.commands.lists import methods, metrics, models
from pellucid.cli.commands.run import run
from pellucid.cli.commands.show import show
from pellucid.cli.commands.train import train
from pellucid.cli.completing import answer_bash
from pellucid.cli.screen import complain
from pellucid.errors import PluginWarning

app = typer.Typer(
    name="pellucid",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    explain,
    compare,
    choose,
    evaluate,
    run,
    diff,
    audit,
    show,
    axioms,
    methods,
    metrics,
    models,
    cite,
    doctor,
    lab,
):
    app.command()(command)
for group in (bench, train, digits):
    app.add_typer(group)


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"pellucid {importlib.metadata.version('pellucid')}")
        raise typer.Exit
    return wanted


@app.callback()
def pellucid(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """See why an image classifier decided: `pellucid explain cat.jpg`."""


def main() -> None:
    """The entry point `pellucid`."""
    if os.environ.get("_PELLUCID_COMPLETE") == "complete_bash":
        answer_bash(app, os.environ)
        return
    keep_memory()
    warnings.simplefilter("ignore")  # libraries' hints to programmers; ours are printed with the results
    warnings.simplefilter("default", PluginWarning)
    warnings.showwarning = lambda message, *_, **__: complain(message)
    app()
