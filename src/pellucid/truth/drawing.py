"""What scenes are drawn with: glyphs, shapes, gratings and backgrounds."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from PIL import Image

SIZE = 64
"""Pixels along a side of a scene."""

CLASS_GLYPHS = ("cross", "ring", "tee", "zig")
"""The glyph of each class."""

OTHER_GLYPHS = ("ell", "bars", "box", "triangle")
"""Glyphs that belong to no class."""

Generator = np.random.Generator
Array = NDArray[np.float32]


def glyph(name: str, side: int) -> Bool[NDArray[np.bool_], "side side"]:
    """The pixels of a glyph in a square.

    Example:
        >>> print("\\n".join("".join(".#"[int(on)] for on in row) for row in glyph("cross", 7)))
        ..###..
        ..###..
        #######
        #######
        #######
        ..###..
        ..###..
    """
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    centre = (side - 1) / 2
    thick = max(1.2, side * 0.13)  # half the width of a stroke
    down, across = abs(y - centre), abs(x - centre)
    end = side - 1
    shapes: dict[str, Callable[[], NDArray[np.bool_]]] = {
        "cross": lambda: (down < thick) | (across < thick),
        "ring": lambda: abs(np.hypot(down, across) - centre + thick / 2) < thick / 2 + 0.3,
        "tee": lambda: (y < 2 * thick) | (across < thick),
        "zig": lambda: (y < 2 * thick) | (y > end - 2 * thick) | (abs(end - y - x) < thick * 1.3),
        "ell": lambda: (x < 2 * thick) | (y > end - 2 * thick),
        "bars": lambda: (x < 2 * thick) | (x > end - 2 * thick),
        "box": lambda: np.maximum(down, across) > centre - 1.5 * thick,
        "triangle": lambda: across <= y / 2 + 0.3,
        "disk": lambda: np.hypot(down, across) <= side / 2,
        "bar": lambda: down <= side / 3,
        "square": lambda: down >= 0,
    }
    return shapes[name]()


def smooth_noise(rng: Generator, cells: int, size: int = SIZE) -> Float[Array, "size size"]:
    """Normal noise of `cells` values along a side, linear between them."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BILINEAR))


def grating(rng: Generator, direction: int, size: int = SIZE) -> Float[Array, "size size"]:
    """Waves of about six pixels in [-1, 1], at `direction` times 45 degrees, a little bent."""
    angle = direction * np.pi / 4 + rng.normal(0, 0.08)
    frequency, phase = rng.uniform(0.9, 1.2), rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    along = np.cos(angle) * x + np.sin(angle) * y
    bent = frequency * along + 0.8 * smooth_noise(rng, 6, size) + phase
    return np.asarray(np.sin(bent), np.float32)


def background(rng: Generator, size: int = SIZE) -> Float[Array, "size size 3"]:
    """A slope from one dark colour to another, with noise of three grains."""
    first, last = rng.uniform(0.15, 0.5, (2, 3))
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size]
    along = np.cos(angle) * x + np.sin(angle) * y
    along = (along - along.min()) / np.ptp(along)
    noise = 0.07 * smooth_noise(rng, 8, size) + 0.05 * smooth_noise(rng, 20, size)
    made = first + (last - first) * along[..., None] + noise[..., None]
    grain = 0.03 * rng.standard_normal((size, size, 3))
    return np.asarray(made + grain, np.float32)


def bright_colour(rng: Generator) -> Float[Array, "3"]:
    """A colour that shows on a background."""
    colour = rng.uniform(0.3, 1, 3)
    colour[rng.integers(3)] = 0.98
    return colour.astype(np.float32)
