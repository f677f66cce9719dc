"""Pictures, text, lines and colour bars put in their places, before anything draws them.

A `Block` is a rectangle of such items. Sheets are built of blocks under and beside each other, once,
whether they become pixels (`paint`) or a figure of real text for print (`canvas.figure`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw

from pellucid.render.heat import colours
from pellucid.render.text import face, legible, loaded, number, typeface, wrap

INK, QUIET, RULE = "#1a1a1a", "#5f6368", "#c8ccd0"
Length = int | float
Anchor = Literal["l", "m", "r"]

CRISP = 64
"""Pictures whose longer side has at most so many pixels are shown enlarged, each pixel a square."""


@dataclass(frozen=True)
class Photo:
    """A picture in a rectangle; its own pixels may be more than the rectangle's."""

    x: Length
    y: Length
    width: Length
    height: Length
    image: Image.Image


@dataclass(frozen=True)
class Words:
    """One line of text from `x` on, to `x`, or centred there; `y` is the top of its letters' box.

    `face` is the file of its letters; DejaVu Sans where it is empty.
    """

    x: Length
    y: Length
    text: str
    size: Length
    bold: bool = False
    colour: str = INK
    anchor: Anchor = "l"
    face: str = ""


@dataclass(frozen=True)
class Rule:
    """A thin level line."""

    x: Length
    y: Length
    width: Length


@dataclass(frozen=True)
class Scale:
    """What a map's colours mean: the evidence in the first and in the last one."""

    low: Length
    high: Length
    cmap: str
    signed: bool


@dataclass(frozen=True)
class Bar:
    """The colours of a scale."""

    x: Length
    y: Length
    width: Length
    height: Length
    scale: Scale


Item = Photo | Words | Rule | Bar


@dataclass(frozen=True)
class Block:
    """A rectangle and what is in it."""

    width: Length
    height: Length
    items: tuple[Item, ...] = ()

    def at(self, x: Length, y: Length) -> tuple[Item, ...]:
        """Its items, moved."""
        return tuple(replace(item, x=item.x + x, y=item.y + y) for item in self.items)


def stacked(blocks: Sequence[Block], gap: Length = 0, margin: Length = 0) -> Block:
    """Blocks under each other, with a margin around them."""
    items: list[Item] = []
    y = margin
    for block in blocks:
        items += block.at(margin, y)
        y += block.height + gap
    width = max(block.width for block in blocks)
    return Block(width + 2 * margin, y - gap + margin, tuple(items))


def photo(image: Image.Image, width: Length, height: Length) -> Block:
    """A picture of this size."""
    return Block(width, height, (Photo(0, 0, width, height, image),))


def words(
    text: str, width: Length, size: Length, *, bold: bool = False, colour: str = INK, centred: bool = False
) -> Block:
    """Text wrapped to a width."""
    step = size * 1.3
    x = width / 2 if centred else 0
    anchor: Anchor = "m" if centred else "l"
    text = legible(text)
    path = face(text, bold)
    lines = wrap(text, width, loaded(path, size))
    return Block(
        width,
        step * len(lines),
        tuple(
            Words(x, step * i + size * 0.08, line, size, bold, colour, anchor, path)
            for i, line in enumerate(lines)
        ),
    )


def color_bar(scale: Scale, width: Length, size: Length, small: Length | None = None) -> Block:
    """The colours of a map; in letters of `small` the evidence at both ends, and a signed map's zero.

    Where there is no room for both ends they have two digits, or only the last colour says what it means;
    where not even that has room, the colours stand alone.
    """
    small = size * 0.8 if small is None else small
    height = max(2.0, size / 2)
    y = height + small * 0.25
    font = typeface(small, False)
    digit = font.getlength("0")

    def room(low: str, high: str) -> float:
        return width - font.getlength(low) - font.getlength(high)

    ends = [(number(scale.low, digits), number(scale.high, digits)) for digits in (3, 2)]
    alone = [("", number(scale.high, digits)) for digits in (3, 2, 1)]
    fits = (both for both in ends + alone if room(*both) >= (digit if both[0] else 0))
    low, high = next(fits, ("", ""))
    labels = [Words(0, y, low, small, colour=QUIET)] if low else []
    labels += [Words(width, y, high, small, colour=QUIET, anchor="r")] if high else []
    side = width / 2 - max(font.getlength(low), font.getlength(high))
    if scale.signed and low and side > 1.5 * digit:
        labels.insert(1, Words(width / 2, y, "0", small, colour=QUIET, anchor="m"))
    return Block(width, height + small * 1.5, (Bar(0, 0, width, height, scale), *labels))


def paint(block: Block) -> Image.Image:
    """The block as pixels, one to its unit of length: crisp, whatever lies between them is rounded."""
    width, height = max(1, math.ceil(block.width - 1e-6)), max(1, math.ceil(block.height - 1e-6))
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    for item in block.items:
        x, y = round(item.x), round(item.y)
        match item:
            case Photo():
                size = max(1, round(item.width)), max(1, round(item.height))
                image = item.image.convert("RGB")
                sheet.paste(image if image.size == size else image.resize(size), (x, y))
            case Words():
                font = loaded(item.face or face("", item.bold), item.size)
                pen.text((item.x, item.y), item.text, fill=item.colour, font=font, anchor=f"{item.anchor}a")
            case Rule():
                pen.line((x, y, x + round(item.width) - 1, y), fill=RULE)
            case Bar():
                w, h = max(1, round(item.width)), max(1, round(item.height))
                sheet.paste(ramp(item.scale, w, h), (x, y))
                pen.rectangle((x, y, x + w - 1, y + h - 1), outline=RULE)
    return sheet


def ramp(scale: Scale, width: int, height: int) -> Image.Image:
    """The colours of a scale from its first to its last, as a picture."""
    steps = torch.linspace(-1 if scale.signed else 0, 1, width, dtype=torch.float32, device="cpu")
    painted = colours(steps.expand(height, width), scale.cmap, signed=scale.signed)
    return Image.fromarray(np.ascontiguousarray(painted.numpy()))


def shown_size(size: tuple[int, int], cell: Length) -> tuple[int, int]:
    """The width and height at which a picture of this size fills a cell.

    The longer side becomes `cell` long; of a picture of few pixels the largest whole multiple of its own,
    so that each pixel is a square of the same size.

    >>> shown_size((600, 300), 280), shown_size((28, 28), 280), shown_size((64, 32), 280)
    ((280, 140), (280, 280), (256, 128))
    """
    longer = max(size)
    ratio = cell / longer
    if longer <= CRISP and ratio >= 1:
        ratio = float(int(ratio))
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def fitted(image: Image.Image, cell: Length) -> Image.Image:
    """The picture at its `shown_size`; one of few pixels keeps its edges."""
    size = shown_size(image.size, cell)
    crisp = max(image.size) <= CRISP and size[0] >= image.width
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST if crisp else Image.Resampling.LANCZOS)
