"""Relevance mass accuracy: how much of the evidence lies on the object."""

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.metrics.objects import of_each_object, share_inside
from pellucid.metrics.registry import metric
from pellucid.probe import Probe

Pooling = Literal["positive-sum", "max-norm", "squared-l2"]
"""How a pixel's relevance, which is never negative, is made of its channels' evidence."""


def pooled(attribution: Float[Tensor, "N D H W"], pooling: Pooling) -> Float[Tensor, "N H W"]:
    """max(sum_c A_c, 0), max_c |A_c|, or sum_c A_c^2 of each pixel, in float64 on the CPU."""
    maps = attribution.detach().double().cpu()
    match pooling:
        case "positive-sum":
            return maps.sum(1).clamp(min=0)
        case "max-norm":
            return maps.abs().amax(1)
        case "squared-l2":
            return (maps**2).sum(1)


@metric(
    "relevance-mass",
    paper="Arras et al. 2022, arXiv:2003.07258",
    higher_is_better=True,
    range=(0.0, 1.0),
)
def relevance_mass(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    truth: Bool[Tensor, "N H W"],
    *,
    pooling: Pooling = "max-norm",
) -> Float[Tensor, " N"]:
    r"""sum_{i in object} R_i / sum_i R_i: the share of relevance that lies on the object.

    Which share of all relevance lies on the object's pixels?

    R_i >= 0 is the relevance of pixel i, pooled over its channels.

    Formula:
        \frac{\sum_{i \in T} R_i}{\sum_i R_i}

        $R_i$: the relevance of pixel i, at least 0, pooled over its channels.
        $T$: the object.

    Args:
        probe: the evidence.
        attribution: the maps.
        truth: where the object is, by its mask.
        pooling: "max-norm", max_c |A_c|; "squared-l2", sum_c A_c^2; or "positive-sum", max(sum_c A_c, 0),
            which counts evidence for the class alone.

    Returns:
        (N,); a map of zeros has no value.

    Cost:
        None.

    Source:
        relevance mass accuracy, and the pooling of channels, as defined there.

    Strengths:
        The whole map counts; made for data whose evidence is known.

    Weaknesses:
        It cannot tell whether the model uses the object, only where the evidence lies; and as the model
            may use a part of the object alone, or what is beside it, the right map need not have 1.

    See Also:
        relevance-rank, energy-pointing-game

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> truth = torch.zeros(1, 8, 8, dtype=torch.bool)
        >>> truth[0, 2:4] = True
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.ones(1, 1, 8, 8), "relevance-mass", truth=truth).value
        tensor([0.2500], dtype=torch.float64)
    """
    name = "relevance-mass"
    return of_each_object(
        name,
        probe,
        attribution,
        truth,
        lambda relevance, inside: share_inside(name, relevance, inside),
        lambda maps: pooled(maps, pooling),
    )
