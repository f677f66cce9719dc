"""How similar two maps are."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import undefined
from pellucid.ranks import rank_correlation

Similarity = Literal["spearman", "ssim"]
"""Spearman's rank correlation of the pixels, or the structural similarity."""
_WINDOW = 7


def refuse_constant(name: str, map: Float[Tensor, "H W"]) -> None:
    """Raises the error of a map that cannot be compared, as it is the same everywhere."""
    if map.max() == map.min():
        raise undefined(name, "it is the same everywhere")


def similarity(map: Float[Tensor, "H W"], other: Float[Tensor, "H W"], kind: Similarity) -> Float[Tensor, ""]:
    """From -1 to 1; for structural similarity each map is divided by its largest magnitude.

    A constant map has the rank correlation 0 with any.

    Source:
        Wang et al. 2004, doi:10.1109/TIP.2003.819861, with scikit-image's uniform windows of 7 by 7 pixels,
        or fewer in smaller maps.

    Example:
        >>> map = torch.arange(64.0).view(8, 8)
        >>> similarity(map, 2 * map, "ssim"), similarity(map, -map, "spearman")
        (tensor(1., dtype=torch.float64), tensor(-1., dtype=torch.float64))
    """
    from skimage.metrics import structural_similarity

    if kind == "spearman":
        return rank_correlation(torch.stack([map.flatten(), other.flatten()]).double())[0, 1].clamp(-1, 1)
    scaled = [(one / one.abs().max() if one.any() else one).double().numpy() for one in (map, other)]
    window = min(_WINDOW, *((side - 1) // 2 * 2 + 1 for side in map.shape))
    found = structural_similarity(*scaled, win_size=window, data_range=2.0, use_sample_covariance=window > 1)
    return torch.as_tensor(float(found), dtype=torch.float64, device="cpu").clamp(-1, 1)
