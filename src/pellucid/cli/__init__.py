"""The command `pellucid`: it reads what is asked and tells what came out; the library does the work.

Exit codes: 0 all done, 1 some pictures failed, 2 the request itself was refused, 130 stopped by Ctrl-C.
"""

import ctypes
import importlib.metadata
import sys
import warnings
from typing import Annotated

import typer

from pellucid.cli.axioms import axioms
from pellucid.cli.catalogue import methods, models
from pellucid.cli.comparing import compare
from pellucid.cli.examining import doctor
from pellucid.cli.explaining import explain

app = typer.Typer(
    name="pellucid",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (explain, compare, axioms, methods, models, doctor):
    app.command()(command)


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
    keep_memory()
    warnings.simplefilter("ignore")  # libraries' hints to programmers; ours are printed with the results
    app()


def keep_memory() -> None:
    """Lets glibc keep the memory of activations for the next pass instead of returning it after each.

    Large blocks are otherwise mapped, zeroed page by page and unmapped every time: SmoothGrad on a CPU takes
    1.3 to 1.8 times as long. Only for our own process: a library must not decide this for its caller.
    """
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # glibc's malloc.h
    libc.mallopt(mmap_max, 0)
    libc.mallopt(trim_threshold, 2**31 - 1)
    libc.mallopt(top_pad, 2**28)
