"""The kinds of scenes, and what decides in each: how a scene of every kind is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from pellucid.truth.drawing import (
    CLASS_GLYPHS,
    OTHER_GLYPHS,
    SIZE,
    background,
    bright_colour,
    glyph,
    grating,
    smooth_noise,
)
from pellucid.truth.scenes import Element, Role, Scene

Generator = np.random.Generator
Array = NDArray[np.float32]

CLASSES = 4
_TAGS = np.array([[0.9, 0.15, 0.15], [0.15, 0.75, 0.2], [0.2, 0.3, 0.95], [0.95, 0.85, 0.1]], np.float32)
_GAP = 2  # pixels between elements, at least
_TRIES = 200  # of places for one element


class _Full(Exception):
    """There was no room left for an element."""


@dataclass
class _Canvas:
    """A scene that is being drawn: its elements keep apart."""

    rng: Generator
    elements: list[Element] = field(default_factory=list)
    taken: list[tuple[int, int, int]] = field(default_factory=list)

    def put(
        self,
        role: Role,
        name: str,
        side: int,
        colour: np.ndarray,
        *,
        at: tuple[int, int] | None = None,
        opacity: float = 1.0,
        label: int | None = None,
    ) -> None:
        """Adds a glyph or shape where there is room, or `at` a place; in one colour or one for each pixel."""
        top, left = at or self._place(side)
        self.taken.append((top, left, side))
        shape = glyph("disk" if role == "tag" or name.startswith("waves") else name, side)
        alpha = shape.astype(np.float32) * np.float32(opacity)
        paint = np.broadcast_to(colour.astype(np.float32), (side, side, 3))
        self.elements.append(Element(role, name, top, left, alpha, paint, label=label))

    def _place(self, side: int) -> tuple[int, int]:
        for _ in range(_TRIES):
            top, left = (int(v) for v in self.rng.integers(1, SIZE - side, 2))
            if all(
                top + side + _GAP <= y
                or y + n + _GAP <= top
                or left + side + _GAP <= x
                or x + n + _GAP <= left
                for y, x, n in self.taken
            ):
                return top, left
        raise _Full

    def distract(self, glyphs: int, shapes: int) -> None:
        """Adds glyphs of no class, and plain shapes."""
        for name in self.rng.choice(OTHER_GLYPHS, glyphs, replace=False):
            self.put("other", str(name), int(self.rng.integers(10, 14)), bright_colour(self.rng))
        for name in self.rng.choice(["disk", "bar"], shapes):
            colour = self.rng.uniform(0.1, 0.9, 3)
            self.put("shape", str(name), int(self.rng.integers(6, 13)), colour, opacity=0.85)

    def scene(self, *labels: int) -> Scene:
        """What was drawn, on a background."""
        return Scene(background(self.rng), tuple(self.elements), labels)


def _one_glyph(rng: Generator) -> Scene:
    """The glyph of a class among glyphs of no class and shapes."""
    canvas, label = _Canvas(rng), int(rng.integers(CLASSES))
    canvas.put("class", CLASS_GLYPHS[label], int(rng.integers(11, 14)), bright_colour(rng), label=label)
    canvas.distract(2, int(rng.integers(2, 5)))
    return canvas.scene(label)


def _tagged(rng: Generator, telling: bool) -> Scene:
    """The glyph of a class, and a tag in a corner; its colour goes with the class if `telling`."""
    canvas, label, side = _Canvas(rng), int(rng.integers(CLASSES)), 8
    other = int(rng.integers(CLASSES))  # drawn either way: scenes that tell or do not are else the same
    tag = label if telling else other
    corner = tuple(int(v) * (SIZE - side - 4) + 2 for v in rng.integers(0, 2, 2))
    canvas.put("tag", f"tag {tag}", side, _TAGS[tag], at=(corner[0], corner[1]), opacity=0.9, label=tag)
    canvas.put("class", CLASS_GLYPHS[label], int(rng.integers(13, 16)), bright_colour(rng), label=label)
    canvas.distract(1, int(rng.integers(2, 5)))
    return canvas.scene(label)


def _two_glyphs(rng: Generator) -> Scene:
    """Glyphs of two classes, both of which the scene is drawn for."""
    canvas = _Canvas(rng)
    labels = [int(v) for v in rng.choice(CLASSES, 2, replace=False)]
    for label in labels:
        canvas.put("class", CLASS_GLYPHS[label], int(rng.integers(12, 15)), bright_colour(rng), label=label)
    canvas.distract(1, int(rng.integers(2, 5)))
    return canvas.scene(*labels)


def _patch(rng: Generator) -> Scene:
    """A disk of waves, whose direction is the class, among disks of noise, glyphs and shapes."""
    canvas, label = _Canvas(rng), int(rng.integers(CLASSES))
    side = int(rng.integers(15, 19))
    waves = 0.5 + 0.4 * grating(rng, label, side)[..., None] * [1, 1, 1]
    canvas.put("class", f"waves {label}", side, waves, label=label)
    for _ in range(2):
        side = int(rng.integers(12, 16))
        canvas.put(
            "shape", "disk", side, 0.5 + 0.2 * smooth_noise(rng, side // 3, side)[..., None] * [1, 1, 1]
        )
    canvas.distract(1, 1)
    return canvas.scene(label)


def _texture(rng: Generator) -> Scene:
    """Faint waves over all of the picture, whose direction is the class, below glyphs and shapes."""
    canvas, label = _Canvas(rng), int(rng.integers(CLASSES))
    waves = 0.5 + 0.4 * grating(rng, label)[..., None] * np.ones(3, np.float32)
    faint = np.full((SIZE, SIZE), 0.25, np.float32)
    canvas.elements.append(Element("texture", f"waves {label}", 0, 0, faint, waves, label=label))
    canvas.distract(2, int(rng.integers(2, 5)))
    return canvas.scene(label)


def _count(rng: Generator) -> Scene:
    """Two to five rings: their number is the class."""
    canvas, label = _Canvas(rng), int(rng.integers(CLASSES))
    for _ in range(label + 2):
        canvas.put("class", "ring", int(rng.integers(9, 12)), bright_colour(rng), label=label)
    canvas.distract(1, int(rng.integers(1, 3)))
    return canvas.scene(label)


def _tiles(rng: Generator) -> Scene:
    """Coloured tiles all over the picture: the class is the colour that most of them have."""
    canvas, label, across, side = _Canvas(rng), int(rng.integers(CLASSES)), 8, 6
    most = int(rng.integers(24, 31))
    colours = np.full(across**2, label)
    colours[most:] = (label + 1 + np.arange(across**2 - most) % (CLASSES - 1)) % CLASSES
    rng.shuffle(colours)
    for i, colour in enumerate(colours):
        at = (i // across * SIZE // across + 1, i % across * SIZE // across + 1)
        shade = (_TAGS[colour] + rng.normal(0, 0.06, 3)).astype(np.float32)
        canvas.put("tile", "square", side, shade, at=at, opacity=0.9, label=int(colour))
    return canvas.scene(label)


@dataclass(frozen=True)
class Kind:
    """A kind of scenes.

    Attributes:
        name: what it is called.
        draw: draws a scene to explain.
        draw_lesson: draws a scene that a network is trained on, and tested with.
        localised: whether one element should carry the decision; else it is diffuse.
        several: whether a scene has several labels, each a question of its own.
        anywhere: whether the label stays when a scene is rolled; networks are then trained on rolled ones.
        series: kinds of the same series draw the same scenes of the same number.
    """

    name: str
    draw: Callable[[Generator], Scene]
    localised: bool = True
    several: bool = False
    anywhere: bool = True
    draw_lesson: Callable[[Generator], Scene] | None = None
    series: str = ""

    def scene(self, split: int, seed: int, number: int, lesson: bool = False) -> Scene:
        """Scene `number` of a split; the same whatever else was drawn."""
        draw = (self.draw_lesson if lesson else None) or self.draw
        for attempt in range(100):
            name = crc32((self.series or self.name).encode())
            try:
                return draw(np.random.default_rng([split, seed, number, attempt, name]))
            except _Full:
                continue
        raise RuntimeError(f"{self.name}: no scene {number} had room for its elements")


_telling, _random = partial(_tagged, telling=True), partial(_tagged, telling=False)
KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("glyph", _one_glyph),
        Kind("shortcut", _telling, anywhere=False, series="tag"),
        Kind("ignored", _telling, anywhere=False, series="tag", draw_lesson=_random),
        Kind("two", _two_glyphs, several=True),
        Kind("patch", _patch),
        Kind("texture", _texture, localised=False),
        Kind("count", _count, localised=False),
        Kind("tiles", _tiles, localised=False),
    )
}
"""By name."""
