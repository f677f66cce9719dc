"""Relevance rank accuracy: how many of the strongest pixels lie on the object."""

from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.metrics.localisation.relevance_mass import Pooling, pooled
from pellucid.metrics.objects import of_each_object, share_of_top
from pellucid.metrics.registry import metric
from pellucid.probe import Probe


@metric(
    "relevance-rank",
    paper="Arras et al. 2022, arXiv:2003.07258",
    higher_is_better=True,
    range=(0.0, 1.0),
)
def relevance_rank(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    truth: Bool[Tensor, "N H W"],
    *,
    pooling: Pooling = "max-norm",
) -> Float[Tensor, " N"]:
    r"""|top-K of R ∩ object| / K, K = |object|: the share of the K pixels of most relevance on the object.

    Of the strongest pixels, as many as the object has, how many lie on it?

    R_i >= 0 is the relevance of pixel i, pooled over its channels, and K the number of the object's
    pixels. Pixels that tie for the last places share them: a constant map has the object's share of the
    picture.

    Formula:
        \frac{|\mathrm{top}_K(R) \cap T|}{K}, \qquad K = |T|

        $R$: the relevance of the pixels.
        $T$: the object, of K pixels.
        $\mathrm{top}_K$: the K pixels of most relevance.

    Args:
        probe: the evidence.
        attribution: the maps.
        truth: where the object is, by its mask.
        pooling: as in `relevance-mass`.

    Returns:
        (N,).

    Cost:
        None.

    Source:
        relevance rank accuracy, as defined there.

    Strengths:
        No threshold, and no outlier decides.

    Weaknesses:
        It cannot tell how much relevance lies outside, only whether the strongest does, nor whether the
            model uses the whole object: a map of the part that it uses is judged by how the rest ranks.

    See Also:
        relevance-mass, top-k-intersection

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> truth = torch.zeros(1, 8, 8, dtype=torch.bool)
        >>> truth[0, 2:4] = True
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.ones(1, 1, 8, 8), "relevance-rank", truth=truth).value
        tensor([0.2500], dtype=torch.float64)
    """
    return of_each_object(
        "relevance-rank",
        probe,
        attribution,
        truth,
        lambda relevance, inside: share_of_top(relevance, inside, int(inside.sum())),
        lambda maps: pooled(maps, pooling),
    )
