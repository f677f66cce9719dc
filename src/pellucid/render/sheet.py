"""Pictures in labelled grids: every size follows from that of a cell, text is wrapped, nothing overlaps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from PIL import Image

from pellucid.errors import InvalidValue
from pellucid.render.blocks import (
    INK,
    QUIET,
    Block,
    Item,
    Length,
    Rule,
    Scale,
    color_bar,
    fitted,
    photo,
    stacked,
    words,
)
from pellucid.render.text import legible, typeface, wrap

Title = str | tuple[str, ...]
_CROWDED = 3  # letters' heights: a picture narrower than that has no room for words below it


@dataclass(frozen=True)
class Cell:
    """One picture of a grid, its scale and its caption; one that is `ready` is shown pixel by pixel."""

    image: Image.Image
    caption: str = ""
    scale: Scale | None = None
    ready: bool = False


@dataclass(frozen=True)
class Metrics:
    """The sizes of a grid, in one unit of length: a pixel on a screen, a point in print.

    Attributes:
        cell: the longest width or height of a picture.
        size: of letters; in print all have this one size.
        gap: between pictures.
        density: pixels to the unit.
        in_print: whether it is for print.
    """

    cell: Length
    size: Length
    gap: Length
    density: Length = 1.0
    in_print: bool = False

    @classmethod
    def screen(cls, cell: int) -> "Metrics":
        """For pixels.

        Raises:
            InvalidValue: `cell` is too small for text to be read.
        """
        if cell < 32:
            raise InvalidValue(f"cell must be at least 32 pixels, for text to be readable; got {cell}.")
        return cls(cell, max(7, cell // 17), max(2, cell // 18))

    def sized(self, factor: Length) -> Length:
        """The size of larger or smaller letters: of all the same in print."""
        return self.size if self.in_print else round(self.size * factor)

    @property
    def letters(self) -> int | None:
        """How high letters on a picture are, in pixels; None follows from the picture."""
        return max(7, round(self.size * self.density * 0.8)) if self.in_print else None

    @property
    def side(self) -> Length:
        """The longest side of a picture in pixels."""
        return self.cell * self.density


def grid(
    cells: Sequence[Sequence[Cell | None]],
    *,
    rows: Sequence[Title] = (),
    columns: Sequence[Title] = (),
    title: str = "",
    caption: str = "",
    metrics: Metrics,
    width: Length | None = None,
) -> Block:
    """Cells in rows and columns with titles.

    Args:
        cells: rows of cells; None leaves a place empty, rows may be short.
        rows: a title per row, left of it. Of a tuple, the first line is set bold.
        columns: a title per column, above it. Tuples are levels, outermost first: neighbours that agree in
            a level share one heading, so methods x targets x models x pictures fit one grid.
        title: above everything, bold.
        caption: below everything, small.
        metrics: all sizes.
        width: of a column; None is that of the widest picture.

    Raises:
        InvalidValue: no cells, or titles that do not match them in number.
    """
    count = max(map(len, cells), default=0)
    if not count:
        raise InvalidValue("cells must hold at least one picture; got none.")
    for name, titles, wanted in (("rows", rows, len(cells)), ("columns", columns, count)):
        if titles and len(titles) != wanted:
            raise InvalidValue(f"{name} must have {wanted} titles, one for each; got {len(titles)}.")

    pictures = [[None if cell is None else _picture(cell, metrics) for cell in row] for row in cells]
    gap = metrics.gap
    if width is None:
        widest = max((p.width for row in pictures for p in row if p is not None), default=metrics.cell)
        width = max(widest, min(metrics.cell, _CROWDED * metrics.size))
    lines = [_levels(row) for row in rows]
    left = row_title_width(lines, metrics) + gap if rows else 0
    whole = left + count * width + (count - 1) * gap
    blocks: list[Block] = []
    if title:
        blocks.append(words(title, whole, metrics.sized(1.3), bold=True))
    if columns:
        blocks.append(_headings([_levels(column) for column in columns], left, width, metrics))
    for index, (row, drawn) in enumerate(zip(cells, pictures, strict=True)):
        heading = _row_title(lines[index], left - gap, metrics) if rows else Block(1, 1)
        blocks.append(_row(row, drawn, heading, left, width, metrics))
    if caption:
        blocks.append(words(caption, whole, metrics.sized(0.9), colour=QUIET))
    return stacked(blocks, gap, 0 if metrics.in_print else gap)


def _picture(cell: Cell, metrics: Metrics) -> Block:
    image = cell.image if cell.ready else fitted(cell.image, metrics.side)
    return photo(image, image.width / metrics.density, image.height / metrics.density)


def _row(
    row: Sequence[Cell | None],
    pictures: Sequence[Block | None],
    heading: Block,
    left: Length,
    width: Length,
    metrics: Metrics,
) -> Block:
    tallest = max((p.height for p in pictures if p is not None), default=0)
    items: list[Item] = list(heading.at(0, max(0, (tallest - heading.height) // 2)))
    foot = 1.0
    for index, (cell, picture) in enumerate(zip(row, pictures, strict=True)):
        if cell is None or picture is None:
            continue
        x = left + index * (width + metrics.gap)
        items += picture.at(x + max(0.0, (width - picture.width) / 2), tallest - picture.height)
        below = _below(cell, width, metrics)
        items += below.at(x, tallest)
        foot = max(foot, below.height)
    whole = left + len(row) * (width + metrics.gap) - metrics.gap
    return Block(whole, max(tallest + foot, heading.height), tuple(items))


def _below(cell: Cell, width: Length, metrics: Metrics) -> Block:
    """The colour bar and the caption of one cell."""
    blocks = []
    if cell.scale is not None:
        blocks.append(color_bar(cell.scale, width, metrics.size, metrics.sized(0.8)))
    if cell.caption:
        blocks.append(words(cell.caption, width, metrics.sized(0.85), colour=QUIET, centred=True))
    if not blocks:
        return Block(width, 1)
    space = max(2, metrics.size // 3)
    held = stacked(blocks, space)
    return Block(width, held.height + space, held.at(0, space))


def _headings(columns: list[tuple[str, ...]], left: Length, cell: Length, metrics: Metrics) -> Block:
    """Headings over columns, level by level; equal neighbours of equal parents share one."""
    depth, gap, size = max(map(len, columns)), metrics.gap, metrics.size
    padded = [column + ("",) * (depth - len(column)) for column in columns]
    width = left + len(columns) * cell + (len(columns) - 1) * gap
    levels = []
    for level in range(depth):
        texts, start = [], 0
        for path, group in groupby(padded, key=lambda column: column[: level + 1]):
            span = len(list(group))
            x, room = left + start * (cell + gap), span * cell + (span - 1) * gap
            block = words(path[-1], room, size, bold=level < depth - 1 or depth == 1, centred=True)
            texts.append((x, room, block))
            start += span
        height = max(block.height for *_, block in texts)
        ruled = level < depth - 1
        items: list[Item] = []
        for x, room, block in texts:
            items += block.at(x, height - block.height)
            if ruled:
                items.append(Rule(x, height + size // 3 - 1, room))
        levels.append(Block(width, height + (size // 3 if ruled else 0), tuple(items)))
    return stacked(levels, max(2, size // 4))


def _levels(title: Title) -> tuple[str, ...]:
    return (title,) if isinstance(title, str) else title


def row_title_width(titles: Sequence[Title], metrics: Metrics) -> Length:
    """The widest line of titles wrapped to three fifths of a cell, in print to a dozen letters."""
    most = 6.5 * metrics.size if metrics.in_print else metrics.cell * 3 // 5
    longest = 0.0
    for line in (legible(line) for title in titles for line in _levels(title)):
        font = typeface(metrics.size, True, line)
        longest = max(longest, *map(font.getlength, wrap(line, most, font)))
    return math.ceil(longest)


def _row_title(lines: tuple[str, ...], width: Length, metrics: Metrics) -> Block:
    blocks = [
        words(
            line,
            width,
            metrics.size if first else metrics.sized(0.85),
            bold=first,
            colour=INK if first else QUIET,
        )
        for first, line in ((index == 0, line) for index, line in enumerate(lines))
    ]
    return stacked(blocks, 2)
