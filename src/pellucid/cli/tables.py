"""Tables that fit: columns are folded by importance, words stay whole; in a pipe plain and wide."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GAP = 2
INDENT = 2
NBSP = "\N{NO-BREAK SPACE}"
"""Between a number and its unit, which stay on one line."""


@dataclass(frozen=True)
class Column:
    """A column; of several that do not fit the one of the highest `fold` goes first, one of 0 never."""

    title: str
    fold: int = 0
    right: bool = False


Cells = Sequence[str | Text]
"""A row: words, with a style of their own where they are a `Text`."""


def print_table(
    screen: Console, columns: Sequence[Column], rows: Sequence[Cells], styles: Sequence[str | None] = ()
) -> None:
    """Prints rows of cells, as wide as the terminal; where that is narrow, folded columns lie below each row.

    A column that is empty in all rows is left out. Where standard output is no terminal nothing is wrapped
    or folded, so that each row is one line.
    """
    kept = [i for i in range(len(columns)) if any(map(str, (row[i] for row in rows)))]
    kept = kept or list(range(len(columns)))
    columns = [columns[i] for i in kept]
    cells = [[str(row[i]) for i in kept] for row in rows]
    own = [[cell.style if isinstance(cell := row[i], Text) else "" for i in kept] for row in rows]
    style_of = list(styles) + [None] * (len(rows) - len(styles))
    if not screen.is_terminal:
        whole = [[" ".join(cell.split("\n")) for cell in row] for row in cells]
        widths = _natural(columns, whole)
        for row in [[column.title for column in columns], *whole]:
            screen.print(_line(columns, row, widths), soft_wrap=True)
        return
    shown = fitting(columns, cells, screen.width)
    folded = [i for i in range(len(columns)) if i not in shown]
    some = [columns[i] for i in shown]
    widths = _narrowed(some, [[row[i] for i in shown] for row in cells], screen.width)
    for line in _wrapped(some, [column.title for column in some], widths):
        line.stylize("bold")
        screen.print(line, soft_wrap=True)
    screen.print("\N{BOX DRAWINGS LIGHT HORIZONTAL}" * min(screen.width, sum(widths) + GAP * (len(some) - 1)))
    for row, styled, style in zip(cells, own, style_of, strict=True):
        for line in _wrapped(some, [row[i] for i in shown], widths, [styled[i] or style for i in shown]):
            screen.print(line, soft_wrap=True)
        below = [f"{columns[i].title} {' '.join(row[i].split(chr(10)))}" for i in folded if row[i]]
        for text in _filled(", ".join(below), screen.width - INDENT):
            screen.print(Text(" " * INDENT + text, "dim"), soft_wrap=True)


def fitting(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The columns that stay side by side, each as wide as its longest word.

    Example:
        >>> columns = [Column("method"), Column("seconds", fold=1), Column("paper", fold=2)]
        >>> row = ["integrated-gradients", "0.25", "arXiv:1703.01365"]
        >>> [fitting(columns, [row], width) for width in (60, 40, 20)]
        [[0, 1, 2], [0, 1], [0]]
    """
    shown = list(range(len(columns)))
    least = [max(map(_longest_word, [columns[i].title, *(row[i] for row in rows)])) for i in shown]
    while sum(least[i] + GAP for i in shown) - GAP > width:
        foldable = [i for i in shown if columns[i].fold]
        if not foldable:
            break
        shown.remove(max(foldable, key=lambda i: columns[i].fold))
    return shown


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.replace("\n", " ").split(" ")), default=0)


def _natural(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    return [
        max(cell_len(line) for text in [column.title, *(row[i] for row in rows)] for line in text.split("\n"))
        for i, column in enumerate(columns)
    ]


def _narrowed(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Widths that fit together; the widest columns wrap first, none within a word."""
    widths = _natural(columns, rows)
    least = [
        max(map(_longest_word, [column.title, *(row[i] for row in rows)])) for i, column in enumerate(columns)
    ]
    while sum(widths) + GAP * (len(widths) - 1) > width:
        loose = [i for i in range(len(widths)) if widths[i] > least[i]]
        if not loose:
            break
        widths[max(loose, key=lambda i: widths[i])] -= 1
    return widths


def _wrapped(
    columns: Sequence[Column], row: Sequence[str], widths: Sequence[int], styles: Sequence[Any] = ()
) -> list[Text]:
    """The lines of one row."""
    parts = [
        [line for piece in text.split("\n") for line in _filled(piece, width) or [""]]
        for text, width in zip(row, widths, strict=True)
    ]
    height = max(map(len, parts))
    whole = [part + [""] * (height - len(part)) for part in parts]
    return [_line(columns, [part[i] for part in whole], widths, styles) for i in range(height)]


def _line(
    columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int], styles: Sequence[Any] = ()
) -> Text:
    line = Text()
    for i, (column, text, width) in enumerate(zip(columns, cells, widths, strict=True)):
        space = " " * max(0, width - cell_len(text))
        line.append(" " * GAP if i else "")
        line.append(space + text if column.right else text + space, styles[i] if styles else None)
    line.rstrip()
    return line


def _filled(text: str, width: int) -> list[str]:
    """Lines of whole words."""
    return textwrap.wrap(text, max(1, width), break_long_words=False, break_on_hyphens=False)
