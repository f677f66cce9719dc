"""Whether what lies in a region is one fixed mark, or differs from picture to picture as objects do.

A mark is the same pixels at the same place. An object may always be near one place, too; but from picture to
picture it lies a little elsewhere, is larger or smaller, or another one. So each picture's region is compared
with the mean of the others', moved by a few pixels in every direction: a mark fits best where it is.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from pellucid.audit.regions import Region
from pellucid.intervals import Interval, proportion

SIDE = 64
"""Pixels of the longer side at which contents are compared."""
REACH = 4
"""By how many of these they are moved."""
FLAT = 0.05
"""A region whose mean content scatters less, as a share of what the pictures scatter, has no pattern."""
MARK, OBJECT = 1 / 3, 1 / 2
"""A share of pictures whose contents fit exactly above the first is a mark, below the second an object."""
SAME = 0.5
"""A pixel is the same in several pictures if its variance is below this part of that elsewhere."""
_EQUAL = 0.2  # of the pictures' scatter: how far a flat region may be from the others' and be the same


@dataclass(frozen=True)
class Content:
    """What lies in a region in several pictures.

    Attributes:
        fixed: the share of pictures whose content fits the others' best exactly where it is, with Wilson's
            95 % interval.
        likeness: the median correlation of a picture's content with the mean of the others'.
        contrast: how much the pictures scatter within the region, as a share of their scatter elsewhere.
        edges: the same of the differences of neighbouring pixels.
        fits: in which of the pictures it fits so.
    """

    fixed: Interval
    likeness: float
    contrast: float
    edges: float
    fits: tuple[bool, ...] = ()

    @property
    def is_mark(self) -> bool | None:
        """Whether it is the same in many pictures; None if that cannot be told.

        Of objects that lie alike by chance about one in ten fits exactly, of eighty-one places; a cluster
        around a mark may hold some pictures without it.
        """
        if self.fixed.low is None or self.fixed.high is None:
            return None
        return True if self.fixed.low > MARK else False if self.fixed.high < OBJECT else None

    @property
    def words(self) -> str:
        """What it looks like, where that stands out: flat, or text-like."""
        if self.contrast < 0.4 and self.edges < 0.4:
            return "flat"
        return "fine, as text or a pattern is" if self.edges > 2 and self.contrast > 1 else ""


def content(inputs: Float[Tensor, "N C H W"], region: Region) -> Content:
    """Compares what lies in a region of several inputs.

    Example:
        >>> x = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> content(x, Region(0, 0, 4, 4, 8)).is_mark
        False
        >>> x[:, :, :8, :8] = x[:1, :, :8, :8]
        >>> content(x, Region(0, 0, 4, 4, 8)).is_mark
        True
    """
    x = _small(inputs).double()
    rows, columns = region.pixels((x.shape[-2], x.shape[-1]))
    inside = x[:, :, rows, columns]
    contrast, edges = _texture(x, inside)
    if len(x) < 2:
        return Content(proportion(0, 0), 0.0, contrast, edges)
    others = (inside.sum(0) - inside) / (len(x) - 1)
    scatter = float(x.std())
    if float(others.flatten(1).std(1, correction=0).mean()) < FLAT * scatter:
        same = (inside - others).flatten(1).square().mean(1).sqrt() < _EQUAL * scatter
        share, flat = float(same.double().mean()), tuple(same.tolist())
        return Content(proportion(int(same.sum()), len(x)), share, contrast, edges, flat)
    around = pad(x, (REACH,) * 4, mode="replicate")[
        :, :, rows.start : rows.stop + 2 * REACH, columns.start : columns.stop + 2 * REACH
    ]
    fits = correlations(around, others)
    best = fits.flatten(1).argmax(1)
    centre = REACH * fits.shape[-1] + REACH
    return Content(
        proportion(int((best == centre).sum()), len(x)),
        float(fits[:, REACH, REACH].median()),
        contrast,
        edges,
        tuple((best == centre).tolist()),
    )


def same_pixels(inputs: Float[Tensor, "N C H W"], region: Region) -> Bool[Tensor, "H W"]:
    """The pixels of a region that are the same in several inputs: those of a mark, without what lies behind.

    They scatter, over the inputs, by less than half as much in variance as pixels elsewhere mostly do.

    Example:
        >>> x = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> x[:, :, :4, :4] = x[:1, :, :4, :4]
        >>> bool(same_pixels(x, Region(0, 0, 4, 4, 8))[:4, :4].all())
        True
    """
    rows, columns = region.pixels((inputs.shape[-2], inputs.shape[-1]))
    found = torch.zeros(inputs.shape[-2:], dtype=torch.bool, device="cpu")
    if len(inputs) < 2:
        return found
    scatter = inputs.double().var(0).mean(0).cpu()
    outside = torch.ones_like(found)
    outside[rows, columns] = False
    if not outside.any():
        return found
    found[rows, columns] = scatter[rows, columns] < SAME * scatter[outside].median()
    return found


def correlations(x: Float[Tensor, "N C H W"], templates: Float[Tensor, "N C h w"]) -> Float[Tensor, "N R S"]:
    """Pearson's correlation of each template with its own picture, at every place where it fits.

    Example:
        >>> x = torch.tensor([[[[0.0, 1.0, 0.0, 2.0]]]])
        >>> correlations(x, torch.tensor([[[[0.0, 2.0]]]])).round().tolist()
        [[[1.0, -1.0, 1.0]]]
    """
    count, channels, height, width = x.shape
    size = templates.shape[-2:]
    pixels = channels * size[0] * size[1]
    centred = templates - templates.mean((1, 2, 3), keepdim=True)
    products = conv2d(x.reshape(1, count * channels, height, width), centred, groups=count)[0]
    sums, squares = (
        avg_pool2d(part.sum(1, keepdim=True), size, 1)[:, 0] * (size[0] * size[1]) for part in (x, x**2)
    )
    scatter = (squares - sums**2 / pixels).clamp(min=1e-12).sqrt()
    norms: Tensor = centred.flatten(1).norm(dim=1).clamp_min(1e-12)
    return products / scatter / norms[:, None, None]


def _texture(x: Float[Tensor, "N C H W"], inside: Float[Tensor, "N C h w"]) -> tuple[float, float]:
    """Scatter and differences of neighbours within, as shares of those of the whole picture."""

    def steps(part: Tensor) -> float:
        found = [part.diff(dim=axis).abs().flatten() for axis in (2, 3) if part.shape[axis] > 1]
        return float(torch.cat(found).mean()) if found else 0.0

    whole = float(x.flatten(1).std(1, correction=0).mean())
    within = float(inside.flatten(1).std(1, correction=0).mean())
    return within / max(whole, 1e-12), steps(inside) / max(steps(x), 1e-12)


def _small(x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C h w"]:
    """The inputs with a longer side of at most `SIDE` pixels, each the mean of what it covers."""
    height, width = x.shape[-2:]
    if max(height, width) <= SIDE:
        return x
    scale = SIDE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
