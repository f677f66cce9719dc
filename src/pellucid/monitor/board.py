"""Looks as pictures: all watched pictures side by side under their evidence; a film of the steps."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from pellucid.images import Batch
from pellucid.monitor.looks import History, Look, Seen
from pellucid.prediction import Prediction
from pellucid.render import drawing
from pellucid.render.blocks import Length
from pellucid.render.panel import Panel
from pellucid.render.style import Style
from pellucid.render.text import cut, legible, number, typeface
from pellucid.render.video import rate_of, thinned
from pellucid.render.words import percent, remark

SHOWN = 12
"""Pictures on a sheet and in a film; the history has all."""
SIDE = 224
"""The longer side of a picture, in pixels."""
_ACROSS = 4
_MARGIN, _TOP = 18, 62
_LINE = 17  # from one line of words to the next
_CURVE = 34  # height of a curve of scores
_FINE = 4  # lines are drawn so many times larger and made smaller again
_INK, _QUIET, _RULE, _WRONG = "#1a1a1a", "#5f6368", "#c8ccd0", "#b3470c"


@dataclass(frozen=True)
class About:
    """What is the same of all looks.

    Attributes:
        model, method, output: what is explained, how, and which number.
        names: of the pictures.
        panels: a panel of each shown picture, fitted to `SIDE`, with an empty map.
        size: (H, W) of the model's input.
    """

    model: str
    method: str
    output: str
    names: tuple[str, ...]
    panels: tuple[Panel, ...]
    size: tuple[int, int]

    @classmethod
    def of(cls, batch: Batch, names: Sequence[str], model: str, method: str, output: str) -> "About":
        """Of pictures as the model reads them."""
        size = batch.inputs.shape[-2], batch.inputs.shape[-1]
        empty = torch.zeros(1, 1, dtype=torch.float32, device="cpu")
        written: dict[str, Any] = {"method": method, "model": model, "output": output}
        panels = [
            drawing.fitted_to(Panel.of_map(empty, size, picture.rgb, box, name=name, **written), SIDE)
            for name, picture, box in zip(names[:SHOWN], batch.pictures, batch.boxes, strict=False)
        ]
        return cls(model, method, output, tuple(names), tuple(panels), size)

    def panel(self, look: Look, index: int) -> Panel | None:
        """One picture's map as everything is drawn from it; None where it has none."""
        seen, map = look.pictures[index], look.maps[index]
        if seen.score is None or not bool(map.isfinite().all()):
            return None
        bare = self.panels[index]
        return Panel.of_map(
            map,
            self.size,
            bare.rgb,
            bare.box,
            per_pixel=look.per_pixel,
            method=self.method,
            model=self.model,
            output=self.output,
            name=bare.name,
            label=seen.label or "",
            score=seen.score,
            prediction=[Prediction(seen.prediction or 0, seen.predicted or "", seen.probability or 0.0)],
            fitted=True,
        )

    def overlay(self, look: Look, index: int, *, signed: bool | None = None) -> Image.Image:
        """The evidence over the picture; the bare picture where there is none."""
        panel = self.panel(look, index)
        return self.panels[index].rgb if panel is None else drawing.overlay(panel, Style(signed=signed))


class Board:
    """Every shown picture with its evidence and, below, what is explained, its score, and what is predicted.

    Args:
        about: what is the same of all looks.
        looks: all of them, for the curves of scores and the number of steps.
        signed: of each picture, whether evidence against is shown; None follows from each map.
    """

    def __init__(self, about: About, looks: Sequence[Look], signed: Sequence[bool] | None = None) -> None:
        self.about, self.looks, self.signed = about, looks, signed
        count = len(about.panels)
        self.across = min(_ACROSS, max(1, count))
        self.rows = math.ceil(count / self.across)
        self.tall = max((panel.rgb.height for panel in about.panels), default=SIDE)
        self.foot = 6 + 4 * _LINE + _CURVE + 8
        width = _MARGIN + self.across * (SIDE + _MARGIN)
        self.size = width + width % 2, (_TOP + self.rows * (self.tall + self.foot) + 8) // 2 * 2
        self.curves = [Curve.of(looks, i) for i in range(count)]

    def draw(self, look: Look) -> Image.Image:
        """The board at one of the looks."""
        drawn = Image.new("RGB", self.size, "white")
        pen = ImageDraw.Draw(drawn)
        self._heading(pen, look)
        for i, panel in enumerate(self.about.panels):
            left = _MARGIN + i % self.across * (SIDE + _MARGIN)
            top = _TOP + i // self.across * (self.tall + self.foot)
            image = self.about.overlay(look, i, signed=None if self.signed is None else self.signed[i])
            aside, above = (SIDE - panel.rgb.width) // 2, self.tall - panel.rgb.height
            drawn.paste(image, (left + aside, top + above))
            self._words(pen, look, i, left, top + self.tall + 6)
            below = top + self.tall + 6 + 4 * _LINE
            self.curves[i].draw(drawn, (left, below, SIDE, _CURVE), look.step)
        return drawn

    def _heading(self, pen: ImageDraw.ImageDraw, look: Look) -> None:
        about, right = self.about, self.size[0] - _MARGIN
        last = self.looks[-1].step if self.looks else look.step
        count = f"step {look.step}" + (f" of {last}" if last > look.step else "")
        title = legible(about.model)
        more = len(about.names) - len(about.panels)
        curves = f"curves: {about.output} by step" if len(self.looks) > 1 else ""
        facts = about.method, curves, f"and {more} more pictures" if more else ""
        line = legible(" · ".join(filter(None, facts)))
        large, small = typeface(20, True, title), typeface(12, False, line)
        wide = typeface(20, True).getlength(count)
        pen.text((_MARGIN, 12), cut(title, right - wide - 2 * _MARGIN, large), fill=_INK, font=large)
        pen.text((right, 12), count, fill=_INK, font=typeface(20, True), anchor="ra")
        pen.text((_MARGIN, 38), cut(line, float(right - _MARGIN), small), fill=_QUIET, font=small)

    def _words(self, pen: ImageDraw.ImageDraw, look: Look, index: int, left: int, top: int) -> None:
        for line, (text, colour, bold) in enumerate(self._lines(look, index)):
            text = legible(text)
            font = typeface(12, bold, text)
            pen.text((left, top + line * _LINE), cut(text, float(SIDE), font), fill=colour, font=font)

    def _lines(self, look: Look, index: int) -> list[tuple[str, str, bool]]:
        """What is said below one picture: text, colour, whether bold."""
        seen = look.pictures[index]
        if seen.error is not None:
            return [(seen.name, _INK, True), (seen.error, _WRONG, False)]
        explained = f"{seen.label}: " if seen.label else ""
        return [
            (seen.name, _INK, True),
            (f"explained: {explained}{self.about.output} {number(seen.score or 0.0)}", _INK, False),
            _predicted(seen),
            (_moved(seen, self.about.panel(look, index)), _QUIET, False),
        ]


def _predicted(seen: Seen) -> tuple[str, str, bool]:
    if seen.predicted is None:
        return "", _QUIET, False
    told = f"predicted: {seen.predicted} {percent(seen.probability or 0.0)}"
    return told, _QUIET if seen.right else _WRONG, False


def _moved(seen: Seen, panel: Panel | None) -> str:
    if panel is not None and (said := remark(panel)):
        return said
    return "" if seen.agreement is None else f"agreement with the last look: {signed(seen.agreement)}"


def signed(value: float) -> str:
    """An agreement with two decimals and a real minus sign.

    >>> signed(-0.158), signed(0.9)
    ('−0.16', '0.90')
    """
    return f"{value:.2f}".replace("-", "−")


@dataclass(frozen=True)
class Curve:
    """The score of one picture by step."""

    steps: tuple[int, ...]
    scores: tuple[float, ...]

    @classmethod
    def of(cls, looks: Sequence[Look], index: int) -> "Curve":
        """Of the looks that have a score of it."""
        known = [(look.step, score) for look in looks if (score := look.pictures[index].score) is not None]
        return cls(tuple(step for step, _ in known), tuple(score for _, score in known))

    def points(self, width: Length, height: Length) -> list[tuple[float, float]]:
        """Where the scores lie in a rectangle, the lowest at its bottom.

        Example:
            >>> Curve((0, 100, 200), (1.0, 5.0, 3.0)).points(10, 4)
            [(0.0, 4.0), (5.0, 0.0), (10.0, 2.0)]
        """
        if not self.steps:
            return []
        low, high, first, last = min(self.scores), max(self.scores), self.steps[0], self.steps[-1]
        return [
            (
                width * (step - first) / ((last - first) or 1),
                height * (1 - (score - low) / (high - low)) if high > low else height / 2,
            )
            for step, score in zip(self.steps, self.scores, strict=True)
        ]

    def draw(self, drawn: Image.Image, place: tuple[int, int, int, int], step: int) -> None:
        """The curve in a rectangle (left, top, width, height): pale behind `step`, where there is a dot."""
        left, top, width, height = place
        if len(self.steps) < 2:
            return
        edge = 5
        points = [
            (_FINE * (x + edge), _FINE * (y + edge))
            for x, y in self.points(width - 2 * edge, height - 2 * edge)
        ]
        layer = Image.new("RGBA", (_FINE * width, _FINE * height), (255, 255, 255, 0))
        fine = ImageDraw.Draw(layer)
        done = sum(one <= step for one in self.steps)
        fine.line(points, fill=_RULE, width=_FINE, joint="curve")
        fine.line(points[:done], fill=_INK, width=round(1.6 * _FINE), joint="curve")
        if done:
            (x, y), r = points[done - 1], _FINE * 3
            fine.ellipse((x - r, y - r, x + r, y + r), fill=_INK)
        small = layer.resize((width, height), Image.Resampling.BOX)
        drawn.paste(small, (left, top), mask=small.getchannel("A"))


class Film:
    """The frames of a history, drawn when asked for; a longer one is thinned out evenly."""

    def __init__(self, about: About, history: History, most: int) -> None:
        self.looks = history.looks
        self.steps = thinned(len(self.looks), most)
        self.last = len(self.looks) - 1
        self.rate = rate_of(len(self.steps))
        signed = [any(_has_negative(about, look, i) for look in self.looks) for i in range(len(about.panels))]
        self.board = Board(about, self.looks, signed)
        self.size = self.board.size

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Image.Image]:
        return (self.frame(step) for step in self.steps)

    def frame(self, step: int) -> Image.Image:
        """The frame of one look, counted from 0."""
        return self.board.draw(self.looks[step])


def _has_negative(about: About, look: Look, index: int) -> bool:
    panel = about.panel(look, index)
    return panel is not None and panel.has_negative


def reduced(maps: Tensor, most: int) -> Tensor:
    """Maps (N, h, w), or with channels (N, C, h, w), with channels summed and at most so many cells a side.

    Example:
        >>> reduced(torch.tensor([[[1.0, 3.0], [5.0, 7.0]]]), 1)
        tensor([[[4.]]])
    """
    maps = maps.detach().float().cpu()
    maps = maps.sum(1) if maps.ndim == 4 else maps
    height, width = maps.shape[-2:]
    if max(height, width) <= most:
        return maps.clone()
    ratio = most / max(height, width)
    size = max(1, round(height * ratio)), max(1, round(width * ratio))
    return torch.nn.functional.adaptive_avg_pool2d(maps[:, None], size)[:, 0]
