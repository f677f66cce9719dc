"""Pasted photographs: objects cut out of bundled photographs, set into others and onto plain backgrounds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from pellucid.images import open_picture
from pellucid.truth.drawing import background
from pellucid.truth.scenes import Element, Scene

Array = NDArray[np.float32]
Generator = np.random.Generator

SIDE = 224
"""Pixels along a side of a scene: what the model takes."""

SIZES = (90, 170)
"""The longer side of an object that is explained is between these; of those beside it, half as long."""

SYNTHETIC = "synthetic"
"""Instead of a photograph: a slope of colours with noise."""

_FINE = 4  # times finer than its picture an outline is drawn, then softened


@dataclass(frozen=True)
class Cutout:
    """An object of a bundled photograph.

    Attributes:
        name: what it is called.
        picture: the sample that it is cut from.
        classes: the names of classes that it may be taken for; none of what only distracts.
        outline: its corners (x, y), in pixels of the picture.
    """

    name: str
    picture: str
    classes: tuple[str, ...]
    outline: tuple[tuple[float, float], ...]

    def cut(self) -> Image.Image:
        """The object on nothing, as RGBA."""
        picture = _photograph(self.picture)
        xs, ys = zip(*self.outline, strict=True)
        box = (int(min(xs)), int(min(ys)), int(np.ceil(max(xs))), int(np.ceil(max(ys))))
        size = (box[2] - box[0], box[3] - box[1])
        alpha = Image.new("L", (size[0] * _FINE, size[1] * _FINE))
        corners = [((x - box[0]) * _FINE, (y - box[1]) * _FINE) for x, y in self.outline]
        ImageDraw.Draw(alpha).polygon(corners, fill=255)
        soft = alpha.resize(size, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(1))
        made = picture.crop(box)
        made.putalpha(soft)
        return made


@cache
def cutouts() -> Mapping[str, Cutout]:
    """All objects, by name."""
    read: dict[str, Any] = json.loads(files("pellucid.truth").joinpath("cutouts.json").read_text("utf-8"))
    return {
        name: Cutout(
            name,
            one["picture"],
            tuple(one["classes"]),
            tuple((float(x), float(y)) for x, y in one["outline"]),
        )
        for name, one in read.items()
    }


@dataclass(frozen=True)
class Pasting:
    """Scenes of pasted photographs.

    Attributes:
        objects: which objects are explained.
        beside: which are set beside them.
        behind: samples that objects are set into, and SYNTHETIC; never the one an object comes from.
    """

    objects: tuple[str, ...]
    beside: tuple[str, ...]
    behind: tuple[str, ...]

    def scene(self, seed: int, number: int) -> Scene:
        """Scene `number`: an object and two others beside it; the same whatever else was drawn."""
        rng = np.random.default_rng([seed, number])
        chosen = cutouts()[str(rng.choice(self.objects))]
        others = [name for name in self.beside if cutouts()[name].picture != chosen.picture]
        names = [chosen.name, *(str(name) for name in rng.choice(others, 2, replace=False))]
        pictures = [cutouts()[name].picture for name in names]
        behind = str(rng.choice([name for name in self.behind if name not in pictures]))
        elements: list[Element] = []
        for name in names:
            longer = int(rng.integers(*SIZES)) // (2 if elements else 1)
            element = _pasted(rng, name, longer, elements)
            if element is not None:
                elements.append(element)
        return Scene(_behind(rng, behind), tuple(elements), ())


def _pasted(rng: Generator, name: str, longer: int, others: Sequence[Element]) -> Element | None:
    """An object at some place where it covers none of the others; None if there is no room."""
    cut = cutouts()[name].cut()
    if rng.random() < 0.5:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = longer / max(cut.size)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    values = np.asarray(cut.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA"))
    alpha = (values[..., 3] / np.float32(255)).astype(np.float32)
    for _ in range(200):
        left, top = (int(rng.integers(0, SIDE - side + 1)) for side in size)
        found = Element(
            "object", name, top, left, alpha, (values[..., :3] / np.float32(255)).astype(np.float32), True
        )
        if not any(_meet(found, other) for other in others):
            return found
    return None


def _meet(one: Element, other: Element) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one.window, other.window, strict=True))


def _behind(rng: Generator, name: str) -> Float[Array, "224 224 3"]:
    """A square part of a photograph, or a synthetic background."""
    if name == SYNTHETIC:
        return background(rng, SIDE).clip(0, 1)
    picture = _photograph(name)
    side = int(min(picture.size) * rng.uniform(0.7, 1))
    left, top = (int(rng.integers(0, extent - side + 1)) for extent in picture.size)
    part = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return (np.asarray(part) / np.float32(255)).astype(np.float32)


@cache
def _photograph(name: str) -> Image.Image:
    return open_picture(f"sample:{name}").rgb
