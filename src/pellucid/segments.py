"""Superpixels: a picture cut into segments that are switched on and off as wholes.

Labels are integers (H, W), 0 to d - 1, every one of them used. Segments depend on the picture alone, never on
a seed: the same picture always has the same.
"""

import difflib
import re
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num, UInt8
from torch import Tensor

from pellucid.errors import InvalidType, InvalidValue
from pellucid.structures import tensor_of

ALGORITHMS = ("quickshift", "slic", "felzenszwalb", "grid:N")
"""The names `segment` takes; N is a number of blocks along each side."""


def check(how: Any) -> Any:
    """`how` if `segment` may take it, before there is a picture.

    Raises:
        InvalidValue: an unknown name (the closest is named), or a grid of fewer than 2 x 2 blocks.
        InvalidType: neither a name, a label array, nor a callable.
    """
    if isinstance(how, str):
        _blocks(how) if how.startswith("grid") else _known(how)
    elif not isinstance(how, (np.ndarray, Tensor)) and not callable(how):
        raise InvalidType(
            f"segments must be one of {', '.join(ALGORITHMS)}, an array of labels (H, W), or a callable that "
            f"makes one of a picture (H, W, 3); got {type(how).__name__}."
        )
    return how


def segment(rgb: UInt8[np.ndarray, "H W 3"], how: Any = "quickshift") -> Int[Tensor, "H W"]:
    """The segments of a picture, as labels 0 to d - 1.

    Args:
        rgb: the picture as the model sees it, 8-bit pixels.
        how: "quickshift" (as in the lime package), "slic" (about 50 segments), "felzenszwalb", "grid:N"
            (N x N blocks), an array or tensor of labels (H, W), or a callable that makes one of `rgb`. Labels
            may be any whole numbers from 0 on: gaps between them are closed, which changes no segment.

    Raises:
        InvalidValue: fewer than two segments, labels of another size than the picture, pixels without a
            label (negative or NaN), labels that are not whole, more blocks than pixels, an unknown name.
        InvalidType: `how`, or what it gives, is none of the above.

    Example:
        >>> segment(np.zeros((4, 6, 3), np.uint8), "grid:2")
        tensor([[0, 0, 0, 1, 1, 1],
                [0, 0, 0, 1, 1, 1],
                [2, 2, 2, 3, 3, 3],
                [2, 2, 2, 3, 3, 3]])
    """
    check(how)
    if isinstance(how, str):
        found = _grid(rgb.shape[:2], _blocks(how)) if how.startswith("grid") else superpixels(rgb, how)
    else:
        found = how(rgb.copy()) if callable(how) and not isinstance(how, Tensor) else how
    labels: Tensor = _whole(found, rgb.shape[:2]).unique(return_inverse=True)[1]  # 0 to d - 1, in order
    if labels.max() == 0:
        whose = f"segments={how!r}" if isinstance(how, str) else "segments"
        raise InvalidValue(
            f"{whose} must cut the picture into at least 2 segments; it gives 1: use 'grid:8', for example."
        )
    return labels


def cells(height: int, width: int, along: int = 7) -> Int[Tensor, "H W"]:
    """A grid of about square cells, as many `along` the longer side: labels in rows.

    Example:
        >>> cells(2, 4, 2)
        tensor([[0, 0, 1, 1],
                [0, 0, 1, 1]])
    """
    longer = max(height, width)
    rows, columns = (max(1, min(side, round(along * side / longer))) for side in (height, width))
    sides = zip((height, width), (rows, columns), strict=True)
    row, column = (torch.arange(side, dtype=torch.long, device="cpu") * n // side for side, n in sides)
    return row[:, None] * columns + column


def mean_colours(x: Float[Tensor, "C H W"], labels: Int[Tensor, "H W"]) -> Float[Tensor, "C H W"]:
    """The image with every pixel replaced by its segment's mean.

    Example:
        >>> mean_colours(torch.tensor([[[1.0, 3.0, 8.0]]]), torch.tensor([[0, 0, 1]]))
        tensor([[[2., 2., 8.]]])
    """
    return means(x, labels)[:, labels].to(x)


def means(x: Num[Tensor, "C H W"], labels: Int[Tensor, "H W"]) -> Float[Tensor, "C d"]:
    """The mean of each channel over each segment, in float64, where the labels are."""
    at, values = labels.flatten(), x.to(labels.device).flatten(1).double()
    counts = torch.bincount(at)
    return values.new_zeros((len(x), len(counts))).index_add_(1, at, values) / counts


def boundaries(labels: Int[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """The pixels whose right or lower neighbour belongs to another segment: lines one pixel wide.

    Example:
        >>> boundaries(torch.tensor([[0, 0, 1, 1]]))
        tensor([[False,  True, False, False]])
    """
    edge = torch.zeros_like(labels, dtype=torch.bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    return edge


def neighbours(labels: Int[Tensor, "H W"]) -> Int[Tensor, "pairs 2"]:
    """The pairs of segments that share an edge, smaller label first, in order.

    Example:
        >>> neighbours(torch.tensor([[0, 1], [2, 2]]))
        tensor([[0, 1],
                [0, 2],
                [1, 2]])
    """
    across = torch.stack([labels[:, :-1].flatten(), labels[:, 1:].flatten()])
    down = torch.stack([labels[:-1].flatten(), labels[1:].flatten()])
    pairs = torch.cat([across, down], 1).sort(0).values.T
    different: Tensor = pairs[pairs[:, 0] != pairs[:, 1]].unique(dim=0)
    return different


def hierarchy(rgb: UInt8[np.ndarray, "H W 3"], labels: Int[Tensor, "H W"]) -> Int[Tensor, "merges 2"]:
    """A binary tree over the d segments, (d - 1, 2): which two regions become one, step by step.

    Row i merges two of the regions 0 to d - 1 + i; the new one is d + i (SciPy's numbering). At each step the
    two neighbours are merged that add least variance (Ward) to mean Lab colour and position, the picture's
    longer side counting as much as the way from black to white. Only regions that touch are merged, so every
    node of the tree is one piece of the picture if every segment is.

    Example:
        >>> hierarchy(np.array([[[0] * 3, [9] * 3, [250] * 3]], np.uint8), torch.tensor([[0, 1, 2]]))
        tensor([[0, 1],
                [2, 3]])
    """
    from skimage.color import rgb2lab

    height, width = labels.shape
    rows, columns = np.mgrid[:height, :width] * (100 / max(height, width))
    features = np.concatenate([rgb2lab(rgb), np.stack([rows, columns], -1)], -1)
    centre = means(torch.from_numpy(features).permute(2, 0, 1), labels.cpu()).T.numpy()
    size = np.bincount(labels.cpu().numpy().ravel()).astype(float)
    pairs = neighbours(labels).cpu().numpy()
    merges = []
    for new in range(len(size), 2 * len(size) - 1):
        a, b = pairs.T
        apart = ((centre[a] - centre[b]) ** 2).sum(1) * size[a] * size[b] / (size[a] + size[b])
        a, b = pairs[apart.argmin()]
        merges.append((int(a), int(b)))
        middle = (size[a] * centre[a] + size[b] * centre[b]) / (size[a] + size[b])
        centre, size = np.vstack([centre, middle]), np.append(size, size[a] + size[b])
        pairs = np.sort(np.where((pairs == a) | (pairs == b), new, pairs), 1)
        pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    return torch.tensor(merges, dtype=torch.long, device="cpu")


def _known(name: str) -> str:
    if name not in ALGORITHMS[:-1]:
        close = difflib.get_close_matches(name.lower(), ALGORITHMS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InvalidValue(f"segments must be one of {', '.join(ALGORITHMS)}; got {name!r}.{hint}")
    return name


def _blocks(name: str) -> int:
    """N of "grid:N"."""
    found = re.fullmatch(r"grid:(\d+)", name)
    if found is None or int(found[1]) < 2:
        raise InvalidValue(f"A grid must be 'grid:N' with N at least 2, as in 'grid:8'; got {name!r}.")
    return int(found[1])


def _grid(size: tuple[int, ...], blocks: int) -> np.ndarray:
    if blocks > min(size):
        raise InvalidValue(
            f"segments='grid:{blocks}' must have no more blocks along a side than the picture has pixels; "
            f"it has {size[0]} x {size[1]}."
        )
    row, column = (np.arange(side) * blocks // side for side in size)
    return np.asarray(row[:, None] * blocks + column)


def superpixels(rgb: UInt8[np.ndarray, "H W 3"], name: str) -> np.ndarray:
    """The labels that an algorithm gives, however many segments that are."""
    from skimage import segmentation

    match _known(name):
        case "quickshift":  # lime's own settings; the seed only breaks ties
            labels = segmentation.quickshift(rgb, kernel_size=4, max_dist=200, ratio=0.2, rng=0)
        case "slic":
            labels = segmentation.slic(rgb, n_segments=50, compactness=10, sigma=1, start_label=0)
        case _:
            # In proportion to the picture: as many segments, whatever its resolution.
            labels = segmentation.felzenszwalb(
                rgb, scale=200, sigma=0.5, min_size=max(1, rgb.shape[0] * rgb.shape[1] // 500)
            )
    return np.asarray(labels)


def _whole(labels: Any, size: tuple[int, ...]) -> Int[Tensor, "H W"]:
    """Labels of the picture's size, whole and not negative."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
    elif not isinstance(labels, np.ndarray) or labels.dtype.kind not in "biuf":
        what = f"array of {labels.dtype}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise InvalidType(f"segments must be an array of whole numbers, labels (H, W); got {what}.")
    if tuple(labels.shape) != size:
        raise InvalidValue(
            f"segments must hold one label for each pixel of the input, {size[0]} x {size[1]}; "
            f"got {' x '.join(map(str, labels.shape)) or 'a single number'}."
        )
    values = tensor_of(labels).double()
    if not (values.isfinite() & (values == values.trunc()) & (values >= 0)).all():
        raise InvalidValue(
            "segments must label every pixel with a whole number from 0 on; some are negative, fractional or "
            "not finite: give pixels that belong to no segment a label of their own."
        )
    return values.long()
