"""One method or metric, told whole: what its docstring says, its options, and a few facts."""

from collections.abc import Sequence
from typing import Any

from pellucid.cli.screen import console, print_indented
from pellucid.cli.tables import Column, print_table
from pellucid.formula import on_screen
from pellucid.options.types import Option


def show_definition(name: str, doc: str, options: Sequence[Option], facts: Sequence[str]) -> None:
    """For people."""
    screen = console()
    screen.print(name, style="bold")
    print_indented(screen, on_screen(doc))
    screen.print()
    if options:
        rows = [(option.name, option.kind, plain(option.default)) for option in options]
        print_table(screen, [Column("option"), Column("type", fold=1), Column("default")], rows)
        screen.print()
    for fact in facts:
        screen.print(fact)


def option_rows(options: Sequence[Option]) -> list[dict[str, Any]]:
    """For scripts."""
    return [{"name": option.name, "type": option.kind, "default": option.default} for option in options]


def plain(value: Any) -> str:
    """A value as the command line takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
