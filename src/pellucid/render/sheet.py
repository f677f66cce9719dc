"""Pictures in labelled grids, set pixel by pixel: crisp at any size, text wrapped, nothing overlapping."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from pellucid.errors import InvalidValue
from pellucid.render.heat import colours

Title = str | tuple[str, ...]

_INK, _QUIET, _RULE = "#1a1a1a", "#5f6368", "#c8ccd0"


@dataclass(frozen=True)
class Cell:
    """One picture of a grid; `limit` adds a colour bar from -limit to limit for signed maps."""

    image: Image.Image
    caption: str = ""
    limit: float | None = None
    cmap: str | None = None


def number(value: float) -> str:
    """A number for people: three digits, and a real minus sign.

    >>> number(-0.0312), number(12.0)
    ('−0.0312', '12')
    """
    return f"{value:.3g}".replace("-", "−")


def grid(
    cells: Sequence[Sequence[Cell | None]],
    *,
    rows: Sequence[Title] = (),
    columns: Sequence[Title] = (),
    title: str = "",
    caption: str = "",
    cell: int = 280,
) -> Image.Image:
    """Cells in rows and columns with titles; every size follows from `cell`.

    Args:
        cells: rows of cells; None leaves a place empty, rows may be short.
        rows: a title per row, left of it. Of a tuple, the first line is set bold.
        columns: a title per column, above it. Tuples are levels, outermost first: neighbours that agree in
            a level share one heading, so methods x targets x models x pictures fit one grid.
        title: above everything, bold.
        caption: below everything, small.
        cell: largest width and height of a picture, in pixels; at least 32.

    Raises:
        InvalidValue: no cells, titles that do not match them in number, or `cell` too small.
    """
    count = max(map(len, cells), default=0)
    if not count:
        raise InvalidValue("cells must hold at least one picture; got none.")
    if cell < 32:
        raise InvalidValue(f"cell must be at least 32 pixels, for text to be readable; got {cell}.")
    for name, titles, wanted in (("rows", rows, len(cells)), ("columns", columns, count)):
        if titles and len(titles) != wanted:
            raise InvalidValue(f"{name} must have {wanted} titles, one for each; got {len(titles)}.")

    gap, size = max(2, cell // 18), max(7, cell // 17)
    lines = [_levels(row) for row in rows]
    left = _row_title_width(lines, size, cell) + gap if rows else 0
    width = left + count * cell + (count - 1) * gap
    blocks: list[Image.Image] = []
    if title:
        blocks.append(_text(title, width, round(size * 1.3), bold=True))
    if columns:
        blocks.append(_headings([_levels(column) for column in columns], left, cell, gap, size))
    for index, row in enumerate(cells):
        blocks.append(_row(row, lines[index] if rows else (), left, width, cell, gap, size))
    if caption:
        blocks.append(_text(caption, width, round(size * 0.9), colour=_QUIET))
    return _stacked(blocks, width, gap)


def _row(
    row: Sequence[Cell | None], title: tuple[str, ...], left: int, width: int, cell: int, gap: int, size: int
) -> Image.Image:
    pictures = [None if c is None else fitted(c.image, cell) for c in row]
    tallest = max((p.height for p in pictures if p is not None), default=0)
    below = [None if c is None else _below(c, cell, size) for c in row]
    foot = max((b.height for b in below if b is not None), default=0)
    heading = _row_title(title, left - gap, size) if title else Image.new("RGB", (1, 1), "white")
    sheet = Image.new("RGB", (width, max(tallest + foot, heading.height)), "white")
    sheet.paste(heading, (0, max(0, (tallest - heading.height) // 2)))
    for index, (picture, text) in enumerate(zip(pictures, below, strict=True)):
        if picture is not None and text is not None:
            x = left + index * (cell + gap)
            sheet.paste(picture, (x + (cell - picture.width) // 2, tallest - picture.height))
            sheet.paste(text, (x, tallest))
    return sheet


def _below(cell: Cell, width: int, size: int) -> Image.Image:
    """The colour bar and the caption of one cell."""
    blocks = []
    small = round(size * 0.85)
    if cell.limit is not None:
        blocks.append(color_bar(cell.limit, width, size, cell.cmap))
    if cell.caption:
        blocks.append(_text(cell.caption, width, small, colour=_QUIET, centred=True))
    if not blocks:
        return Image.new("RGB", (width, 1), "white")
    space = max(2, size // 3)
    sheet = _stacked(blocks, width, space, margin=0)
    padded = Image.new("RGB", (width, sheet.height + space), "white")
    padded.paste(sheet, (0, space))
    return padded


def color_bar(
    limit: float, width: int, size: int, cmap: str | None = None, *, signed: bool = True
) -> Image.Image:
    """The colours of a map with its numbers below: from -limit over 0 to limit, or unsigned from 0."""
    bar = max(4, size // 2)
    ramp = colours(
        torch.linspace(-1 if signed else 0, 1, width, dtype=torch.float32, device="cpu").expand(bar, width),
        cmap,
        signed=signed,
    )
    small = round(size * 0.8)
    font = typeface(small, False)
    sheet = Image.new("RGB", (width, bar + round(small * 1.5)), "white")
    sheet.paste(Image.fromarray(np.ascontiguousarray(ramp.numpy())), (0, 0))
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((0, 0, width - 1, bar - 1), outline=_RULE)
    zero = (width // 2, "ma") if signed else (0, "la")
    labels = [(*zero, "0"), (width, "ra", number(limit))] + signed * [(0, "la", number(-limit))]
    for x, anchor, text in labels:
        pen.text((x, bar + small * 0.25), text, fill=_QUIET, font=font, anchor=anchor)
    return sheet


def _headings(columns: list[tuple[str, ...]], left: int, cell: int, gap: int, size: int) -> Image.Image:
    """Headings over columns, level by level; equal neighbours of equal parents share one."""
    depth = max(map(len, columns))
    padded = [column + ("",) * (depth - len(column)) for column in columns]
    width = left + len(columns) * cell + (len(columns) - 1) * gap
    levels = []
    for level in range(depth):
        texts, start = [], 0
        for path, group in groupby(padded, key=lambda column: column[: level + 1]):
            span = len(list(group))
            x, room = left + start * (cell + gap), span * cell + (span - 1) * gap
            block = _text(path[-1], room, size, bold=level < depth - 1 or depth == 1, centred=True)
            texts.append((x, room, block))
            start += span
        height = max(block.height for *_, block in texts)
        ruled = level < depth - 1
        sheet = Image.new("RGB", (width, height + (size // 3 if ruled else 0)), "white")
        for x, room, block in texts:
            sheet.paste(block, (x, height - block.height))
            if ruled:
                ImageDraw.Draw(sheet).line((x, sheet.height - 1, x + room - 1, sheet.height - 1), fill=_RULE)
        levels.append(sheet)
    return _stacked(levels, width, max(2, size // 4), margin=0)


def _levels(title: Title) -> tuple[str, ...]:
    return (title,) if isinstance(title, str) else title


def _row_title_width(titles: list[tuple[str, ...]], size: int, cell: int) -> int:
    """As wide as the widest line, once titles are wrapped to three fifths of a cell."""
    font = typeface(size, True)
    lines = [part for title in titles for line in title for part in wrap(line, cell * 3 // 5, font)]
    return math.ceil(max(map(font.getlength, lines), default=0))


def _row_title(lines: tuple[str, ...], width: int, size: int) -> Image.Image:
    small = round(size * 0.85)
    blocks = [
        _text(line, width, size if first else small, bold=first, colour=_INK if first else _QUIET)
        for first, line in ((index == 0, line) for index, line in enumerate(lines))
    ]
    return _stacked(blocks, width, 2, margin=0)


def fitted(image: Image.Image, cell: int) -> Image.Image:
    """The picture with its longer side `cell` pixels long."""
    ratio = cell / max(image.size)
    size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    # A picture of few pixels keeps its edges when enlarged a lot: they are what the model saw.
    method = Image.Resampling.NEAREST if ratio > 8 else Image.Resampling.LANCZOS
    return image.convert("RGB").resize(size, method)  # one that has the size already is copied


def under_each_other(sheets: Sequence[Image.Image]) -> Image.Image:
    """Sheets of one width as one."""
    return _stacked(sheets, sheets[0].width, 0, margin=0)


def _stacked(blocks: Sequence[Image.Image], width: int, gap: int, margin: int | None = None) -> Image.Image:
    """Blocks under each other on white, with a margin around them (the gap, unless said)."""
    edge = gap if margin is None else margin
    height = sum(block.height for block in blocks) + gap * (len(blocks) - 1)
    sheet = Image.new("RGB", (width + 2 * edge, height + 2 * edge), "white")
    y = edge
    for block in blocks:
        sheet.paste(block, (edge, y))
        y += block.height + gap
    return sheet


def _text(
    text: str, width: int, size: int, *, bold: bool = False, colour: str = _INK, centred: bool = False
) -> Image.Image:
    font = typeface(size, bold)
    lines = wrap(text, width, font)
    step = round(size * 1.3)
    block = Image.new("RGB", (width, step * len(lines)), "white")
    pen = ImageDraw.Draw(block)
    for index, line in enumerate(lines):
        x, anchor = (width / 2, "ma") if centred else (0, "la")
        pen.text((x, index * step + size * 0.08), line, fill=colour, font=font, anchor=anchor)
    return block


def wrap(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """Lines no wider than `width`, broken at spaces; a word too wide alone, after a hyphen or the like."""
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in paragraph.split():
            if line and font.getlength(f"{line} {word}") <= width:
                line = f"{line} {word}"
                continue
            if line:
                lines.append(line)
            line = word
            while font.getlength(line) > width and len(line) > 1:
                fits = max(n for n in range(1, len(line)) if n == 1 or font.getlength(line[:n]) <= width)
                fits = max((n for n in range(2, fits + 1) if line[n - 1] in "-_/,:+"), default=fits)
                lines.append(line[:fits])
                line = line[fits:]
        lines.append(line)
    return lines


@cache
def typeface(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib brings it: the same letters on every machine."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}", size)
