"""`pellucid cite`: what to cite."""

from typing import Annotated

import typer

from pellucid.choices import Citation
from pellucid.cli import completing, options
from pellucid.cli.screen import plain_errors, print_json


def cite(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="METHOD…",
            help="Methods and metrics; none for Pellucid alone.",
            show_default=False,
            autocompletion=completing.method_names,
        ),
    ] = None,
    format: Annotated[Citation, typer.Option(help="Entries for LaTeX, or references in words.")] = "bibtex",
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Print what to cite: the papers of methods and metrics, and Pellucid.

    Example: pellucid cite grad-cam deletion > references.bib
    """
    with plain_errors(debug):
        from pellucid.cite import cite as cited

        found = cited(*(names or []), format=format)
        if json:
            print_json({"format": format, "references": found.split("\n\n")})
        else:
            typer.echo(found)
