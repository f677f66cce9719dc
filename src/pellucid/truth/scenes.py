"""Scenes: a background and elements on it, each of which can be rendered away."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8
from numpy.typing import NDArray

Array = NDArray[np.float32]
Role = Literal["class", "tag", "other", "shape", "texture", "tile", "object"]
"""What an element was drawn as: of what the label tells, a tag that goes with it, or neither."""

MARGIN = 1
"""How many pixels the region of a glyph reaches beyond it: its edges are evidence."""


@dataclass(frozen=True, eq=False)
class Element:
    """Something in a scene, painted over what lies below it.

    Attributes:
        role: what it was drawn as.
        name: which glyph, shape or object.
        top, left: where its first pixel lies in the scene.
        alpha: (h, w) how much it covers what is below; 0 where it is not.
        paint: (h, w, 3) its colours.
        outlined: whether its region is its outline, not the box around it.
        label: the class that it stands for, if any.
    """

    role: Role
    name: str
    top: int
    left: int
    alpha: Array
    paint: Array
    outlined: bool = False
    label: int | None = None

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rows and columns in the scene."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(frozen=True, eq=False)
class Scene:
    """A background (H, W, 3), elements on it, the first drawn first, and the classes it was drawn for."""

    background: Array
    elements: tuple[Element, ...]
    labels: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Its height and width."""
        return self.background.shape[0], self.background.shape[1]

    def mask(self, index: int) -> Bool[NDArray[np.bool_], "H W"]:
        """The pixels that an element paints: what lies outside does not change when it is rendered away."""
        element, found = self.elements[index], np.zeros(self.size, bool)
        found[element.window] = element.alpha > 0
        return found

    def region(self, index: int) -> Bool[NDArray[np.bool_], "H W"]:
        """Where evidence for an element may lie: the box around it, a little wider, or its outline."""
        element, mask = self.elements[index], self.mask(index)
        if element.outlined:
            return mask
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        top, left = max(0, rows[0] - MARGIN), max(0, columns[0] - MARGIN)
        mask[top : rows[-1] + 1 + MARGIN, left : columns[-1] + 1 + MARGIN] = True
        return mask


def render(scene: Scene, without: Collection[int] = ()) -> UInt8[NDArray[np.uint8], "H W 3"]:
    """The scene as a picture of 8 bits, without the elements of these indices.

    Example:
        >>> grey, dot = np.full((2, 2, 3), 0.5, np.float32), np.ones((1, 1), np.float32)
        >>> scene = Scene(grey, (Element("shape", "dot", 0, 1, dot, dot[..., None].repeat(3, 2)),), ())
        >>> render(scene)[..., 0].tolist(), render(scene, without=[0])[..., 0].tolist()
        ([[128, 255], [128, 128]], [[128, 128], [128, 128]])
    """
    picture = scene.background.copy()
    for index, element in enumerate(scene.elements):
        if index not in without:
            below, alpha = picture[element.window], element.alpha[..., None]
            below += alpha * (element.paint - below)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)
