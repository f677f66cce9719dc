"""The scores of an optimisation by its steps: which there are, their axes, and a small chart of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from pellucid.render.text import number, typeface

COLOURS = {"insertion": "#1f6f8b", "deletion": "#c2570c", "loss": "#5f6368"}
_INK, _QUIET, _RULE = "#1a1a1a", "#5f6368", "#e2e4e7"
_FINE = 4  # lines are drawn as many times as large, and made smaller: that smooths them


@dataclass(frozen=True)
class Curves:
    """Scores (T,) by name, and the ticks of their axes, which end with the first and the last tick."""

    lines: dict[str, Float[Tensor, "T"]]
    ticks: list[float]
    step_ticks: list[int]

    @property
    def last(self) -> int:
        """The last step; the first is 0."""
        return max(map(len, self.lines.values())) - 1

    def height(self, value: float) -> float:
        """Where a score lies between the lowest tick, 0, and the highest, 1."""
        return (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])

    def points(
        self, name: str, width: int, height: int, until: int | None = None
    ) -> list[tuple[float, float]]:
        """One line's points up to a step, in a frame of this size with y downwards; none where not finite."""
        values = self.lines[name].tolist()[: None if until is None else until + 1]
        across = width / max(1, self.last)
        return [
            (step * across, height * (1 - self.height(value)))
            for step, value in enumerate(values)
            if abs(value) < float("inf")
        ]


def curves(trace: Mapping[str, Tensor], output: str) -> Curves | None:
    """Insertion and deletion of one image, or, where a method keeps neither, its loss; None without any.

    Probabilities are shown from 0 to 1, other numbers from their lowest to their highest.

    Args:
        trace: the course of one image: scores (T,) by name, others being left out.
        output: which number was explained.
    """
    scores: list[str] = [name for name in ("insertion", "deletion") if name in trace]
    names = scores or [name for name in ("loss",) if name in trace]
    if not names:
        return None
    lines = {name: trace[name].detach().double().cpu() for name in names}
    known = torch.cat([line[line.isfinite()] for line in lines.values()])
    bounded = output == "probability" and bool(scores)
    low, high = (0.0, 1.0) if bounded or not len(known) else (float(known.min()), float(known.max()))
    last = max(map(len, lines.values())) - 1
    return Curves(
        lines, _ticks(low, high), [int(step) for step in _ticks(0.0, float(last), whole=True) if step <= last]
    )


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Round numbers, at least two, from `low` or below to `high` or above."""
    from matplotlib.ticker import MaxNLocator

    if not high > low:
        low, high = low - 0.5 * (not whole), low + 0.5 + 0.5 * whole
    ticks = MaxNLocator(nbins=5, integer=whole, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in ticks]


class Chart:
    """A chart of curves in a picture of `size` pixels: drawn once, but for the lines, which grow.

    Args:
        curves: what to draw.
        size: width and height in pixels.
        text: height of the letters in pixels.
    """

    def __init__(self, curves: Curves, size: tuple[int, int], text: int = 13) -> None:
        self.curves, self.text = curves, text
        self.font = typeface(text, False)
        margin = round(max(self.font.getlength(number(tick)) for tick in curves.ticks)) + 8
        self.left, self.top = margin, round(2.6 * text)
        self.width, self.height = size[0] - margin - text, size[1] - self.top - round(1.6 * text)
        self.axes = Image.new("RGB", size, "white")
        pen = ImageDraw.Draw(self.axes)
        for tick in curves.ticks:
            y = self.top + round(self.height * (1 - curves.height(tick)))
            pen.line((self.left, y, self.left + self.width, y), fill=_RULE)
            pen.text((self.left - 8, y), number(tick), fill=_QUIET, font=self.font, anchor="rm")
        for step in curves.step_ticks:
            x = self.left + self.width * step / max(1, curves.last)
            pen.text((x, size[1] - 1), str(step), fill=_QUIET, font=self.font, anchor="md")

    def draw(self, step: int) -> Image.Image:
        """The lines up to a step, a dot at their end, and their values there."""
        drawn = self.axes.copy()
        layer = Image.new("RGBA", (_FINE * drawn.width, _FINE * drawn.height), (255, 255, 255, 0))
        fine, pen = ImageDraw.Draw(layer), ImageDraw.Draw(drawn)
        at = float(self.left)
        for name in self.curves.lines:
            colour = COLOURS[name]
            points = [
                (_FINE * (self.left + x), _FINE * (self.top + y))
                for x, y in self.curves.points(name, self.width, self.height, step)
            ]
            fine.line(points, fill=colour, width=_FINE * 2, joint="curve")
            dot = self.text / 3
            r = _FINE * dot
            for x, y in (*points[-1:], (_FINE * at + r, _FINE * 0.8 * self.text)):
                fine.ellipse((x - r, y - r, x + r, y + r), fill=colour)
            values = self.curves.lines[name]
            told = f"{name} {shown(float(values[min(step, len(values) - 1)]))}"
            pen.text((at + 3 * dot, 0.8 * self.text), told, fill=_INK, font=self.font, anchor="lm")
            at += self.width / 2
        lines = layer.resize(drawn.size, Image.Resampling.BOX)
        drawn.paste(lines, mask=lines.getchannel("A"))
        return drawn


def shown(value: float) -> str:
    """A score with as many decimals at every step, so that its text does not jump.

    >>> shown(0.9), shown(-12.345)
    ('0.900', '−12.3')
    """
    return (f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}").replace("-", "−")
