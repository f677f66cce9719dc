"""XRAI's regions: overlapping segments of many sizes, and how a picture is covered with the best of them."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from pellucid import segments
from pellucid.options.types import Kind

Algorithm = Literal["full", "fast"]

SCALES = (50, 100, 150, 250, 500, 1200)
"""Felzenszwalb's scales: the larger, the larger the segments."""
SIDE, SIGMA, MIN_SIZE = 224, 0.8, 150
"""Pictures are segmented at SIDE x SIDE, with values from -1 to 1: the scales are made for those."""
TINY = 40
"""The shorter side, in pixels, below which regions of the published sizes would cover the picture."""
RADIUS = 5
"""By how many pixels each segment is widened, so that it has its own edges."""
LEAST = 50
"""A segment that adds fewer pixels is not worth a region of its own."""


def least_of(height: int, width: int) -> int:
    """LEAST, on a tiny picture as large a share of it as of one of SIDE x SIDE.

    Example:
        >>> least_of(224, 224), least_of(28, 28), least_of(8, 8)
        (50, 1, 1)
    """
    return max(1, round(LEAST * _scale(height, width) ** 2))


def _scale(height: int, width: int) -> float:
    """1 for pictures that the published sizes were meant for, on tiny ones their side as a share of SIDE."""
    return 1.0 if min(height, width) >= TINY else min(1.0, (height * width) ** 0.5 / SIDE)


MULTI_SCALE = "multi-scale"
"""XRAI's own segments."""

RegionSegments = Annotated[
    Any,
    Kind(
        f"{MULTI_SCALE} | quickshift | slic | felzenszwalb | grid:N",
        lambda _, how: how if isinstance(how, str) and how == MULTI_SCALE else segments.check(how),
    ),
]
"""Segments to choose from: XRAI's own, or those of `pellucid.segments.segment`."""


def candidates(rgb: UInt8[np.ndarray, "H W 3"], how: Any = MULTI_SCALE) -> Bool[np.ndarray, "M H W"]:
    """The segments that a picture may be covered with.

    Raises:
        InvalidValue, InvalidType: segments that do not hold, see `pellucid.segments.segment`.
    """
    if isinstance(how, str) and how == MULTI_SCALE:
        return multi_scale(rgb)
    return masks_of(segments.segment(rgb, how).cpu().numpy())


def masks_of(labels: Int[np.ndarray, "H W"]) -> Bool[np.ndarray, "M H W"]:
    """A mask for each label."""
    return np.asarray(labels == np.unique(labels)[:, None, None])


def multi_scale(rgb: UInt8[np.ndarray, "H W 3"]) -> Bool[np.ndarray, "M H W"]:
    """The segments of Felzenszwalb's algorithm at six scales, each widened by a disk.

    A picture of one colour is one segment at each scale.
    """
    from skimage.segmentation import felzenszwalb
    from skimage.transform import resize

    darkest, brightest = int(rgb.min()), int(rgb.max())
    scaled = (rgb - float(darkest)) / max(1, brightest - darkest) * 2 - 1
    scaled = resize(scaled, (SIDE, SIDE), order=3, mode="constant", preserve_range=True, anti_aliasing=True)
    found = []
    for scale in SCALES:
        labels = felzenszwalb(scaled, scale=scale, sigma=SIGMA, min_size=MIN_SIZE)
        labels = resize(labels, rgb.shape[:2], order=0, preserve_range=True, anti_aliasing=False)
        found.append(masks_of(labels.astype(int)))
    return dilate(np.concatenate(found), round(RADIUS * _scale(*rgb.shape[:2])))


def dilate(masks: Bool[np.ndarray, "M H W"], radius: int = RADIUS) -> Bool[np.ndarray, "M H W"]:
    """Each mask widened by a disk: the pixels at most `radius` away from one of its own.

    Eight masks are widened at once, as the bits of one byte.

    Example:
        >>> dilate(np.array([[[True, False, False]]]), 1)
        array([[[ True,  True, False]]])
    """
    height, width = masks.shape[1:]
    padded = np.pad(np.packbits(masks, axis=0), ((0, 0), (radius, radius), (radius, radius)))
    wide = np.zeros_like(padded[:, :height, :width])
    for down in range(2 * radius + 1):
        for right in range(2 * radius + 1):
            if (down - radius) ** 2 + (right - radius) ** 2 <= radius**2:
                wide |= padded[:, down : down + height, right : right + width]
    return np.unpackbits(wide, axis=0, count=len(masks)).astype(bool)


def grow(
    attribution: Float[np.ndarray, "H W"],
    masks: Bool[np.ndarray, "M H W"],
    algorithm: Algorithm = "full",
    least: int = LEAST,
) -> tuple[Float[np.ndarray, "H W"], Int[np.ndarray, "H W"]]:
    """Covers a picture with segments, the densest first; each region is worth its mean attribution.

    A segment adds those of its pixels that no region has yet, and is left out if they are fewer than `least`.
    The pixels left over at the end are one region more.

    Args:
        attribution: of each pixel.
        masks: of the segments, which may overlap; none is empty.
        algorithm: "full" always adds the segment whose *new* pixels have the largest mean attribution;
            "fast" goes through the segments once, by their mean attribution as wholes.
        least: pixels.

    Returns:
        The mean attribution of each pixel's region, whose sum is the attribution's; and the region's rank:
        1 for the largest mean, the pixels left over last.

    Cost:
        Each pixel leaves the segments' sums once: O(M H W), and O(M) for each region.

    Source:
        Kapishnikov et al. 2019, arXiv:1906.02825; the authors' code counts every segment's pixels anew.

    Example:
        >>> attribution = np.repeat([[0.5, 1.5]], 60, axis=1)
        >>> left = np.arange(120)[None] < 60
        >>> averages, ranks = grow(attribution, np.stack([left, ~left]))
        >>> averages[0, ::60].tolist(), ranks[0, ::60].tolist()
        ([0.5, 1.5], [2, 1])
    """
    values, members = attribution.ravel().astype(np.float64), masks.reshape(len(masks), -1)
    cover = _greedy if algorithm == "full" else _once
    covering = cover(values, members, least)
    regions = sorted(covering, key=lambda region: -values[region].mean())
    averages, ranks = np.zeros_like(values), np.zeros(values.shape, int)
    for rank, region in enumerate(regions, 1):
        averages[region], ranks[region] = values[region].mean(), rank
    left = ranks == 0
    if left.any():
        averages[left], ranks[left] = values[left].mean(), len(regions) + 1
    return averages.reshape(attribution.shape), ranks.reshape(attribution.shape)


def _greedy(
    values: Float[np.ndarray, " P"], members: Bool[np.ndarray, "M P"], least: int
) -> Iterator[np.ndarray]:
    """The new pixels of each region: no other segment's are denser."""
    free = np.ones_like(members[0])
    sums, counts = np.array([values[member].sum() for member in members]), members.sum(1)
    of_pixel = np.ascontiguousarray(members.T)  # (P, M), so that a region's pixels are read in one go
    while (open := counts >= least).any():
        best = np.where(open, sums / np.maximum(counts, 1), -np.inf).argmax()
        (new,) = (members[best] & free).nonzero()
        yield new
        free[new] = False
        sums -= values[new] @ of_pixel[new].astype(np.float64)
        counts -= of_pixel[new].sum(0)


def _once(
    values: Float[np.ndarray, " P"], members: Bool[np.ndarray, "M P"], least: int
) -> Iterator[np.ndarray]:
    """The new pixels of each region: of the segments not tried yet, its own was the densest as a whole."""
    free = np.ones_like(members[0])
    densities = np.array([values[member].mean() for member in members])
    for number in (-densities).argsort(kind="stable"):
        (new,) = (members[number] & free).nonzero()
        if len(new) >= least:
            yield new
            free[new] = False
