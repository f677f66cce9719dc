"""Submodular pick: the few explanations that together show most of what a model relies on."""

from collections.abc import Sequence
from inspect import signature
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from pellucid.errors import InvalidType, InvalidValue
from pellucid.explanation import Explanation
from pellucid.lime.predictions import Numbers
from pellucid.lime.result import LocalExplanation
from pellucid.structures import tensor_of


class Pick(NamedTuple):
    """Indices of the picked explanations, in the order picked, and the coverage after each."""

    indices: list[int]
    coverage: list[float]


def pick(
    explanations: Sequence[LocalExplanation] | Sequence[Explanation] | Explanation,
    count: int = 5,
    *,
    clusters: int = 32,
    seed: int = 0,
) -> Pick:
    """The `count` explanations that cover most, by submodular pick (arXiv:1602.04938, algorithm 2).

    W_ij is the weight of feature j in explanation i, summed over its labels; a feature's importance is
    I_j = sqrt(sum_i |W_ij|), and a set covers the importance of the features that any of it holds. One after
    another, the explanation that adds most is taken, the first of equals: at least 1 - 1/e of the best
    possible coverage. (The lime package takes the last of equals.)

    Args:
        explanations: of texts or rows, whose features are matched by name; or of pictures by a method that
            weighs superpixels, as "lime" does. Superpixels of different pictures are matched by their looks:
            mean colour, its spread, and place are grouped by k-means into `clusters` visual words.
        count: how many to pick; all if there are fewer.
        clusters: visual words, for pictures.
        seed: of the k-means.

    Raises:
        InvalidValue: no explanations, a count or clusters below 1, or pictures explained without superpixels.
        InvalidType: explanations of another kind, or a mixture.
    """
    for name, value in (("count", count), ("clusters", clusters)):
        if not hasattr(value, "__index__") or value < 1:
            raise InvalidValue(f"{name} must be a whole number of at least 1; got {value!r}.")
    each = list(explanations)
    if not each:
        raise InvalidValue("There must be at least one explanation to pick from; got none.")
    locals_ = [one for one in each if isinstance(one, LocalExplanation)]
    pictures = [image for one in each if isinstance(one, Explanation) for image in one]
    if len(locals_) == len(each):
        return cover(_by_name(locals_), count)
    if pictures and not locals_ and all(isinstance(one, Explanation) for one in each):
        return cover(_by_looks(pictures, clusters, seed), count)
    kinds = ", ".join(sorted({type(one).__name__ for one in each}))
    raise InvalidType(f"explanations must be all of texts and rows or all of pictures; got {kinds}.")


def cover(weights: Numbers, count: int) -> Pick:
    """Greedy coverage of (n, d) weights: sum_j I_j over the features that any picked row holds.

    >>> cover(np.array([[1.0, 0, 0], [0, 1, 1], [1, 1, 0]]), 2).indices
    [2, 1]
    """
    held = weights != 0
    importance = np.sqrt(np.abs(weights).sum(0))
    covered = np.zeros(weights.shape[1], dtype=bool)
    indices: list[int] = []
    coverage: list[float] = []
    for _ in range(min(count, len(weights))):
        gains = (held & ~covered) @ importance
        gains[indices] = -1
        indices.append(int(gains.argmax()))
        covered |= held[indices[-1]]
        coverage.append(float(importance[covered].sum()))
    return Pick(indices, coverage)


def _by_name(explanations: Sequence[LocalExplanation]) -> Numbers:
    """W with a column for each feature name."""
    columns: dict[str, int] = {}
    cells: list[tuple[int, int, float]] = []
    for row, explanation in enumerate(explanations):
        for one in explanation:
            for name, weight in explanation.as_list(one.label):
                cells.append((row, columns.setdefault(name, len(columns)), weight))
    weights = np.zeros((len(explanations), len(columns)))
    for row, column, weight in cells:
        weights[row, column] += weight
    return weights


def _by_looks(pictures: Sequence[Explanation], clusters: int, seed: int) -> Numbers:
    """W with a column for each visual word."""
    from scipy.cluster.vq import kmeans2

    described = [_superpixels(picture) for picture in pictures]
    looks = np.concatenate([look for look, _ in described])
    spread = looks.std(0)
    looks = (looks - looks.mean(0)) / np.where(spread > 1e-6, spread, 1.0)  # all looks lie in [0, 1]
    distinct = len(np.unique(looks, axis=0))
    rng = {"rng" if "rng" in signature(kmeans2).parameters else "seed": np.random.default_rng(seed)}
    words = kmeans2(looks, min(clusters, distinct), minit="++", **rng)[1]
    weights = np.zeros((len(pictures), int(words.max()) + 1))
    start = 0
    for row, (look, coefficients) in enumerate(described):
        np.add.at(weights[row], words[start : start + len(look)], coefficients)
        start += len(look)
    return weights


def _superpixels(picture: Explanation) -> tuple[Numbers, Numbers]:
    """How each superpixel of one picture looks, (d, 8), and its coefficient, (d,).

    Looks are the mean colour, the standard deviation of each channel, and the middle's place; the segments
    are those of the input, so the picture's part that became the input is read.
    """
    details = picture.details
    if "segments" not in details or "coefficients" not in details:
        raise InvalidValue(
            "Pictures must be explained by a method that weighs superpixels, such as lime; "
            f"got {picture.method}."
        )
    segments = tensor_of(details["segments"][0]).long()
    coefficients = tensor_of(details["coefficients"][0]).double().flatten()
    height, width = segments.shape
    box = picture.boxes[0]
    edges = (box.left, box.top, box.right, box.bottom)
    seen = picture.pictures[0].rgb.transform((width, height), Image.Transform.EXTENT, edges)
    pixels = torch.from_numpy(np.array(seen, dtype=np.float64) / 255).flatten(0, 1)
    rows, columns = torch.meshgrid(
        torch.linspace(0, 1, height, dtype=torch.float32, device="cpu").double(),
        torch.linspace(0, 1, width, dtype=torch.float32, device="cpu").double(),
        indexing="ij",
    )
    values = torch.cat([pixels, pixels**2, rows.reshape(-1, 1), columns.reshape(-1, 1)], 1)
    d = len(coefficients)
    sums = torch.zeros(d, 8, dtype=torch.float64, device="cpu").index_add_(0, segments.flatten(), values)
    mean = sums / torch.bincount(segments.flatten(), minlength=d)[:, None].clamp(min=1)
    deviation = (mean[:, 3:6] - mean[:, :3] ** 2).clamp(min=0).sqrt()
    return torch.cat([mean[:, :3], deviation, mean[:, 6:]], 1).numpy(), coefficients.numpy()
