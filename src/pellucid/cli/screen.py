"""What the commands print: tables on standard output, errors in one line on standard error."""

import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from pellucid.engine.cost import Cost
from pellucid.errors import PellucidError

REFUSED, STOPPED = 2, 130


def console(*, stderr: bool = False) -> Console:
    """Standard output, or error; where it is no terminal without colours, and no line is wrapped."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    made.soft_wrap = not made.is_terminal
    return made


def print_indented(screen: Console, text: str) -> None:
    """Lines that a narrow terminal wraps below their own beginning; elsewhere nothing is cut."""
    for line in text.splitlines():
        told = Text(line.lstrip() if screen.is_terminal else line)
        screen.print(Padding(told, (0, 0, 0, len(line) - len(told))) if screen.is_terminal else told)


def complain(message: object) -> None:
    """One line on standard error."""
    line = " ".join(str(message).split())
    console(stderr=True).print(f"pellucid: {line}")


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def passes(cost: Cost) -> str:
    """A cost for people.

    >>> passes(Cost(51, 1, 2.345))
    '51 forward and 1 backward passes, 2.3 s'
    """
    return f"{cost}, {cost.seconds:.1f} s"


def certainty_columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of what is known of any row: samples drawn, relative error, local R², completeness."""
    from pellucid.render.words import percent

    columns: list[tuple[str, str, Callable[[Any], str]]] = [
        ("samples", "samples", str),
        ("error", "relative_error", lambda share: f"±{percent(share)}".replace(" ", "")),
        ("R²", "r2", "{:.2f}".format),
        ("delta", "relative_delta", lambda share: percent(share).replace(" ", "")),
        ("pixels hold", "pixel_share", lambda share: percent(share).replace(" ", "")),
    ]
    shown = [column for column in columns if any(row[column[1]] is not None for row in rows)]
    cells = [[word(row[name]) if row[name] is not None else "" for _, name, word in shown] for row in rows]
    return [title for title, *_ in shown], cells


def waiting(text: str, quiet: bool = False) -> AbstractContextManager[object]:
    """A spinner on standard error while something of unknown length goes on, where that is a terminal."""
    return nullcontext() if quiet else Console(stderr=True).status(text)


@contextmanager
def plain_errors(debug: bool) -> Iterator[None]:
    """Whatever goes wrong inside is told in one line, unless `debug` asks for the traceback.

    A request that was refused exits with 2; Ctrl-C with 130.
    """
    try:
        yield
    except (typer.Exit, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        complain("Stopped.")
        raise typer.Exit(STOPPED) from None
    except Exception as error:
        if debug:
            traceback.print_exception(error)
        elif isinstance(error, PellucidError):
            complain(error)
        else:
            complain(f"{type(error).__name__}: {error} (--debug shows where)")
        raise typer.Exit(REFUSED) from None
