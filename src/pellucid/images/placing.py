"""A map over the input -> the picture's own pixels."""

import math

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pellucid.choices import Interpolation
from pellucid.images.picture import Box


def place(
    values: Float[np.ndarray, "h w"] | Float[Tensor, "h w"],
    box: Box,
    picture_size: tuple[int, int],
    interpolation: Interpolation = "bilinear",
) -> Float[np.ndarray, "H W"]:
    """A map over the input, in the picture's own pixels; NaN where the model did not look.

    Between cell centres it is linear, cubic (Keys' kernel, a = -0.5, clipped to the map's own range) or the
    nearest cell; constant from the outermost centres to the box's edge (`align_corners=False`). No
    antialiasing: a map finer than the picture is sampled.

    Args:
        values: the map (h, w), of any resolution: it spans the whole input.
        box: what of the picture the input shows.
        picture_size: (width, height), as Pillow gives it.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.

    Example:
        >>> place(np.array([[0.0, 1.0]]), Box(1.0, 0.0, 5.0, 1.0), (6, 1))
        array([[ nan, 0.  , 0.25, 0.75, 1.  ,  nan]])
        >>> place(np.array([[0.0, 1.0]]), Box(1.0, 0.0, 5.0, 1.0), (6, 1), "nearest")
        array([[nan,  0.,  0.,  1.,  1., nan]])
    """
    grid = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    width, height = picture_size
    rows, vertical = _taps(box.top, box.bottom, grid.shape[0], height, interpolation)
    columns, horizontal = _taps(box.left, box.right, grid.shape[1], width, interpolation)
    wide = sum(grid[:, cells] * share.astype(grid.dtype) for cells, share in horizontal)  # (h, W)
    found = sum(wide[cells] * share.astype(grid.dtype)[:, None] for cells, share in vertical)
    placed = np.full((height, width), np.nan, grid.dtype)
    placed[rows, columns] = found.clip(grid.min(), grid.max()) if interpolation == "bicubic" else found
    return placed


def _taps(
    start: float, stop: float, cells: int, pixels: int, interpolation: str
) -> tuple[slice, list[tuple[np.ndarray, np.ndarray]]]:
    """Along one side: the pixels whose centres lie inside, and the cells each is made of, with shares."""
    first = max(0, math.ceil(start - 0.5))
    last = max(first, min(pixels, math.floor(stop - 0.5) + 1))
    at = ((np.arange(first, last) + 0.5 - start) / (stop - start) * cells - 0.5).clip(0, cells - 1)
    inside = slice(first, last)
    if interpolation == "nearest":
        return inside, [(np.floor(at + 0.5).astype(np.intp).clip(0, cells - 1), np.ones_like(at))]
    before = at.astype(np.intp)
    t = at - before
    shares: dict[int, np.ndarray] = {0: 1 - t, 1: t}
    if interpolation == "bicubic":  # Keys 1981
        shares = {
            -1: ((-0.5 * t + 1) * t - 0.5) * t,
            0: (1.5 * t - 2.5) * t * t + 1,
            1: ((-1.5 * t + 2) * t + 0.5) * t,
            2: (0.5 * t - 0.5) * t * t,
        }
    return inside, [((before + by).clip(0, cells - 1), share) for by, share in shares.items()]
