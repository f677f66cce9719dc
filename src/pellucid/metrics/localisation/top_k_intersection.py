"""Top-k intersection: how many of the k strongest pixels lie on the object."""

from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.metrics.objects import of_each_object, share_of_top
from pellucid.metrics.options import Count
from pellucid.metrics.registry import metric
from pellucid.probe import Probe


@metric(
    "top-k-intersection",
    paper="Theiner et al. 2022, arXiv:2104.14995",
    higher_is_better=True,
    range=(0.0, 1.0),
    quick={"k": 20},
)
def top_k_intersection(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    truth: Bool[Tensor, "N H W"],
    *,
    k: Count = 1000,
) -> Float[Tensor, " N"]:
    r"""|top-k of A ∩ object| / k: the share of the k pixels of most evidence that lie on the object.

    Of the k strongest pixels, how many lie on the object?

    Pixels that tie for the last places share them.

    Formula:
        \frac{|\mathrm{top}_k(A) \cap T|}{k}

        $A$: the evidence of the pixels, their channels' sum.
        $T$: the object.
        $\mathrm{top}_k$: the k pixels of most evidence.
        $k$: `k`, a number of pixels.

    Args:
        probe: the evidence.
        attribution: the maps.
        truth: where the object is.
        k: how many pixels; the paper's 1000 are 2 % of an input of 224 by 224.

    Returns:
        (N,).

    Raises:
        InvalidValue: k is larger than the number of pixels.

    Cost:
        None.

    Source:
        the influence of a concept, before it is divided by the concept's share of the picture.

    Strengths:
        The same number of pixels for every picture.

    Weaknesses:
        It cannot tell a map that finds the whole object from one that finds k pixels of it, and an
            object of fewer than k pixels keeps it below 1, however right the map.

    See Also:
        relevance-rank, pointing-game

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> truth = torch.zeros(1, 8, 8, dtype=torch.bool)
        >>> truth[0, 2:4] = True
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.ones(1, 1, 8, 8), "top-k-intersection:k=5", truth=truth).value
        tensor([0.2500], dtype=torch.float64)
    """
    pixels = attribution[0, 0].numel()
    if k > pixels:
        raise InvalidValue(f"k must be at most the number of pixels, {pixels}; got {k}.")
    return of_each_object(
        "top-k-intersection",
        probe,
        attribution,
        truth,
        lambda evidence, inside: share_of_top(evidence, inside, k),
    )
