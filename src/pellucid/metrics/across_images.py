"""Consistency and sufficiency: whether images explained alike are predicted alike.

Both ask about many images at once. One image has no value by itself, and its value changes with the
others, so these are functions of all maps and predictions of a data set and not metrics of the registry.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.regions import region_sums
from pellucid.segments import cells


def consistency(explanations: Int[Tensor, "N K"], predictions: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Pr(f(x') = f(x) | e(x') = e(x)): of the others with this explanation, the share predicted alike.

    Explanations are discrete: `top_cells` makes such of maps. It cannot tell a faithful explanation from one
    that is different for every image, of which nothing can be said, or the same for all, which has the share
    of the predicted class.

    Args:
        explanations: (N, K) whole numbers; two explanations are the same where all K are.
        predictions: (N,), the predicted classes.

    Returns:
        (N,) in [0, 1]; NaN for an image that shares its explanation with no other.

    Cost:
        None beyond the maps and predictions.

    Source:
        Dasgupta et al. 2022, arXiv:2202.00734, definition 3.1.

    Example:
        >>> consistency(torch.tensor([[1], [1], [1], [2]]), torch.tensor([5, 5, 6, 5]))
        tensor([0.5000, 0.5000, 0.0000,    nan], dtype=torch.float64)
    """
    return _share_predicted_the_same((explanations[:, None] == explanations).all(2), predictions)


def sufficiency(
    maps: Float[Tensor, "N D H W"],
    predictions: Int[Tensor, " N"],
    *,
    distance: float = 0.2,
    along: int = 7,
) -> Float[Tensor, " N"]:
    """Pr(f(x') = f(x) | e(x) applies to x'): of the other images a map applies to, the share predicted alike.

    A map applies to another image where the map of that one is close to it: 1 - cos of the evidence in cells
    of a grid is at most `distance`. It cannot tell a sufficient explanation from images that are alike, and
    has no value for a map that applies to no other image: more images, or a larger distance, help.

    Args:
        maps: (N, 1 or C, H, W).
        predictions: (N,), the predicted classes.
        distance: from 0, the same evidence up to its scale, to 2, the opposite.
        along: cells along the longer side, in which evidence is summed before it is compared.

    Returns:
        (N,) in [0, 1]; NaN for a map that applies to no other image.

    Cost:
        None beyond the maps and predictions.

    Source:
        Dasgupta et al. 2022, arXiv:2202.00734, definition 3.2.

    Example:
        >>> maps = torch.zeros(3, 1, 4, 4)
        >>> maps[:2, 0, 0, 0], maps[2, 0, 3, 3] = 1.0, 1.0
        >>> sufficiency(maps, torch.tensor([5, 6, 5]), along=2)
        tensor([0., 0., nan], dtype=torch.float64)
    """
    evidence = _in_cells(maps, along)
    norms = evidence.norm(dim=1)
    lengths = norms[:, None] * norms
    cosine = torch.where(lengths > 0, evidence @ evidence.T / lengths.clamp(min=1e-300), -torch.inf)
    return _share_predicted_the_same(1 - cosine <= distance + 1e-12, predictions)


def top_cells(maps: Float[Tensor, "N D H W"], *, count: int = 3, along: int = 7) -> Int[Tensor, "N count"]:
    """The cells of a grid that hold the most evidence, in order of their numbers: a discrete explanation.

    Args:
        maps: (N, 1 or C, H, W).
        count: how many cells.
        along: cells along the longer side.

    Example:
        >>> top_cells(torch.arange(16.0).view(1, 1, 4, 4), count=2, along=2)
        tensor([[2, 3]])
    """
    return _in_cells(maps, along).topk(count).indices.sort().values


def _in_cells(maps: Float[Tensor, "N D H W"], along: int) -> Float[Tensor, "N cells"]:
    labels = cells(maps.shape[-2], maps.shape[-1], along)
    return torch.stack([region_sums(values, labels) for values in per_pixel(maps)])


def _share_predicted_the_same(
    together: Bool[Tensor, "N N"], predictions: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """Of the others that each image is put together with, the share of the same prediction."""
    others = together & ~torch.eye(len(together), dtype=torch.bool, device=together.device)
    alike = others & (predictions[:, None] == predictions).to(together.device)
    return alike.sum(1).double() / others.sum(1).double()
