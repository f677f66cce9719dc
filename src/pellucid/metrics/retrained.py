"""MeGe and ReCo: whether networks trained alike explain alike, and unlike where they decide unlike."""

from itertools import combinations
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.metrics.pixels import per_pixel
from pellucid.ranks import rank_correlation


class Retrained(NamedTuple):
    """What the maps of retrained networks say of a method; NaN where no pair of networks can tell.

    Attributes:
        mege: 1 / (1 + mean distance), over pairs of networks that are both right about a picture.
        reco: how well the distance alone tells these from pairs of which one is wrong, from 0 to 1.
    """

    mege: float
    reco: float


def mege(maps: Float[Tensor, "M N D H W"], right: Bool[Tensor, "M N"]) -> Retrained:
    """MeGe = (1 + mean_{S=} d)^-1 and ReCo = max_g TPR(g) + TNR(g) - 1, of a method on retrained networks.

    d = 1 - rho, rho Spearman's rank correlation of the pixels of two networks' maps, channels summed. S=
    holds the distances of all pictures and pairs of networks that are both right, S!= those where one alone
    is. TPR(g) is the share of S= up to g, TNR(g) the share of S!= above g. It is no metric of one map, as it
    takes the maps of the same pictures by several networks: explain each of them, and stack the attributions.

    It cannot tell whether the maps are right: a map of the picture's edges has MeGe 1, and ReCo 0.

    Args:
        maps: of M networks, trained on different parts of the data, and N pictures.
        right: which network is right about which picture.

    Returns:
        Both; MeGe in [1/3, 1] and ReCo in [0, 1], higher is better.

    Raises:
        InvalidValue: fewer than two networks.

    Cost:
        None, besides the maps.

    Source:
        Fel et al. 2022, arXiv:2009.04521, section 3.

    Example:
        >>> maps = torch.rand(2, 3, 1, 4, 4)
        >>> mege(torch.stack([maps[0], maps[0]]), torch.ones(2, 3, dtype=torch.bool)).mege
        1.0
    """
    if len(maps) < 2:
        raise InvalidValue(f"maps must be those of at least two networks; got {len(maps)}.")
    values = per_pixel(maps.flatten(0, 1)).flatten(1).unflatten(0, maps.shape[:2])
    same: list[float] = []
    differ: list[float] = []
    for image in range(maps.shape[1]):
        correlations = rank_correlation(values[:, image])
        for one, other in combinations(range(len(maps)), 2):
            distance = max(0.0, 1 - float(correlations[one, other].clamp(-1, 1)))
            if right[one, image] and right[other, image]:
                same.append(distance)
            elif right[one, image] or right[other, image]:
                differ.append(distance)
    found = 1 / (1 + sum(same) / len(same)) if same else float("nan")
    if not same or not differ:
        return Retrained(found, float("nan"))
    near, far = (torch.tensor(part, dtype=torch.float64, device="cpu") for part in (same, differ))
    limits = torch.cat([near, far])[:, None]
    told = (near <= limits).double().mean(1) + (far > limits).double().mean(1) - 1
    return Retrained(found, max(0.0, float(told.max())))
