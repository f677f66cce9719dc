"""Segments over their picture: outlines, tints by signed weight, and the weights in numbers."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

from pellucid.images import Box
from pellucid.render.heat import colours, dimmed, framed, line_width, opacity_mask
from pellucid.render.text import typeface
from pellucid.segments import boundaries

_OUTSIDE = -1  # the label of what the model did not see


@dataclass(frozen=True)
class Weight:
    """What is written on a segment: centred at (x, y) in picture pixels, in letters `size` pixels high."""

    x: float
    y: float
    size: int
    text: str
    error: str

    @property
    def lines(self) -> list[tuple[str, float, ImageFont.FreeTypeFont]]:
        """What is written: each line, the middle of its height, and its letters."""
        apart = self.size * 0.5 if self.error else 0.0
        below = [(self.error, self.y + apart, typeface(max(7, round(self.size * 0.75)), False))]
        return [(self.text, self.y - apart, typeface(self.size, True)), *(below if self.error else [])]

    @property
    def edge(self) -> int:
        """How thick the dark edge around the letters is."""
        return max(1, self.size // 6)

    @property
    def room(self) -> tuple[float, float, float, float]:
        """The left, top, right and bottom edge of what is written, the letters' dark edge included."""
        rooms = [font.getbbox(text, anchor="mm", stroke_width=self.edge) for text, _, font in self.lines]
        middles = [y for _, y, _ in self.lines]
        return (
            self.x + min(left for left, *_ in rooms),
            min(y + top for y, (_, top, _, _) in zip(middles, rooms, strict=True)),
            self.x + max(right for *_, right, _ in rooms),
            max(y + bottom for y, (*_, bottom) in zip(middles, rooms, strict=True)),
        )

    def overlaps(self, other: "Weight") -> bool:
        """Whether two weights would be written over each other."""
        (a, b, c, d), (e, f, g, h) = self.room, other.room
        return a < g and e < c and b < h and f < d


@dataclass(frozen=True)
class Weighted:
    """The segments of one image over its picture: labels (h, w) over the input, a coefficient for each.

    `errors` are the coefficients' standard errors, where they are known.
    """

    labels: Int[Tensor, "h w"]
    coefficients: Float[Tensor, " d"]
    errors: Float[Tensor, " d"] | None
    rgb: Image.Image
    box: Box

    def strongest(self, top: int) -> list[int]:
        """The segments of largest magnitude, at most `top`, strongest first; none of weight 0."""
        order = self.coefficients.abs().argsort(descending=True, stable=True)[:top]
        return [int(one) for one in order if self.coefficients[one] != 0]

    def placed(self) -> Int[Tensor, "H W"]:
        """The labels in the picture's own pixels, -1 where the model did not look."""
        rows = _cells(self.box.top, self.box.bottom, self.labels.shape[0], self.rgb.height)
        columns = _cells(self.box.left, self.box.right, self.labels.shape[1], self.rgb.width)
        outside = (rows < 0)[:, None] | (columns < 0)
        return self.labels[rows[:, None], columns].masked_fill(outside, _OUTSIDE)

    def tints(self, top: int, limit: int | float | None = None) -> Float[Tensor, " d"]:
        """The coefficients of the `top` strongest as shares of `limit`, in [-1, 1]; else 0.

        None is the largest magnitude.
        """
        shares = torch.zeros(len(self.coefficients), dtype=torch.float64, device="cpu")
        chosen = self.strongest(top)
        if chosen:
            strongest = limit or float(self.coefficients[chosen[0]].abs())
            shares[chosen] = (self.coefficients[chosen].double() / strongest).clamp(-1, 1)
        return shares

    def weights(self, top: int, size: int) -> list[Weight]:
        """The weights of the `top` strongest, each at the widest place of its segment, where they fit.

        None overlaps a stronger one or leaves what the model saw; segments too small for letters `size`
        pixels high get none, nor do weights that round to nothing beside the strongest.
        """
        placed = self.placed().numpy()
        chosen = self.strongest(top)
        # All with as many decimals: two digits of the strongest.
        largest = float(self.coefficients.abs().max())
        decimals = max(0, 1 - math.floor(math.log10(largest))) if largest > 0 else 0
        form = f".{decimals}f" if decimals < 5 else ".0e"
        written: list[Weight] = []
        seen = (
            max(0.0, self.box.left),
            max(0.0, self.box.top),
            min(float(self.rgb.width), self.box.right),
            min(float(self.rgb.height), self.box.bottom),
        )
        for segment in chosen:
            if not float(f"{float(self.coefficients[segment]):{form}}"):
                continue
            x, y, radius = _widest(placed == segment)
            text = f"{float(self.coefficients[segment]):+{form}}".replace("-", "−")
            error = "" if self.errors is None else f"±{float(self.errors[segment]):{form}}".replace("-", "−")
            weight = Weight(x, y, size, text, error)
            left, upper, right, lower = weight.room
            fits = left >= seen[0] and upper >= seen[1] and right <= seen[2] and lower <= seen[3]
            if fits and radius > 0.3 * (right - left) and not any(map(weight.overlaps, written)):
                written.append(weight)
        return written


def outlined(
    segments: Weighted, *, top: int, limit: int | float | None = None, letters: int | None = None
) -> Image.Image:
    """The picture with the outlines of its segments; the `top` strongest are tinted and numbered.

    Red is for, blue against, and the more opaque the larger the coefficient; the picture's own colours are
    muted, so that neither is mistaken for them. A coefficient of `limit` has the strongest tint; None is the
    largest.
    """
    rgb, placed = segments.rgb, segments.placed()
    seen = placed >= 0
    values = torch.where(seen, segments.tints(top, limit)[placed.clamp(min=0)], 0.0)
    ink = Image.fromarray(colours(values.sign() * 0.75, signed=True).numpy())
    muted = Image.blend(rgb, rgb.convert("L").convert("RGB"), 0.75)
    picture = Image.composite(muted, dimmed(muted), opacity_mask(seen.float()))
    picture = Image.composite(
        ink, picture, opacity_mask(torch.where(values == 0, 0.0, 0.2 + 0.45 * values.abs()))
    )
    _draw_lines(picture, placed)
    for weight in segments.weights(top, size=letters or max(9, min(rgb.size) // 22)):
        write(picture, weight)
    return framed(picture, segments.box, "white")


def outline_path(labels: Int[Tensor, "h w"]) -> str:
    """The edges between segments as an SVG path, in cells of the labels; the outer edge is left out.

    Example:
        >>> outline_path(torch.tensor([[0, 1], [0, 1]]))
        'M1 0v2'
    """
    upright = _runs((labels[:, 1:] != labels[:, :-1]).T)
    level = _runs(labels[1:] != labels[:-1])
    return "".join([f"M{x + 1} {y}v{n}" for x, y, n in upright] + [f"M{x} {y + 1}h{n}" for y, x, n in level])


def _runs(edges: Bool[Tensor, "lines cells"]) -> list[tuple[int, int, int]]:
    """Each unbroken run of True along a line: the line, its start and its length."""
    padded = np.pad(edges.numpy().astype(np.int8), ((0, 0), (1, 1)))
    change = np.diff(padded, axis=1)
    line, start = np.nonzero(change == 1)
    _, stop = np.nonzero(change == -1)
    return list(zip(line.tolist(), start.tolist(), (stop - start).tolist(), strict=True))


def _cells(start: float, stop: float, cells: int, pixels: int) -> Int[Tensor, " pixels"]:
    """Along one side: the cell under each pixel's centre, -1 where there is none."""
    at = torch.floor(
        (torch.arange(pixels, dtype=torch.float32, device="cpu") + 0.5 - start) / (stop - start) * cells
    ).long()
    return torch.where((at >= 0) & (at < cells), at, -1)


def _widest(region: np.ndarray) -> tuple[float, float, float]:
    """The centre (x, y) and radius of the largest circle inside a region; radius 0 for none."""
    from scipy.ndimage import distance_transform_edt

    rows, columns = np.nonzero(region)
    if not len(rows):
        return 0.0, 0.0, 0.0
    top, left = int(rows.min()), int(columns.min())
    cut = region[top : rows.max() + 1, left : columns.max() + 1]
    depth = distance_transform_edt(np.pad(cut, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return float(left + x + 0.5), float(top + y + 0.5), float(depth.max())


def _draw_lines(picture: Image.Image, placed: Int[Tensor, "H W"]) -> None:
    """A pale line between segments with a dark one on either side, to be seen on bright and dark ground."""
    edges = opacity_mask(boundaries(placed).float())
    width = 2 * (line_width(picture.size) // 2) + 1
    for colour, spread, opacity in (("#000000", width + 2, 0.45), ("#ffffff", width, 0.85)):
        thick = edges.filter(ImageFilter.MaxFilter(spread)).point(lambda value, o=opacity: value * o)
        picture.paste(colour, mask=thick)


def write(picture: Image.Image, weight: Weight) -> None:
    """Writes a weight on a picture."""
    pen = ImageDraw.Draw(picture)
    for text, y, font in weight.lines:
        pen.text((weight.x, y), text, "white", font, "mm", stroke_width=weight.edge, stroke_fill="black")
