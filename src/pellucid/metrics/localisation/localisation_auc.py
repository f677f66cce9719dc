"""The area under the ROC curve of a map as a classifier of the object's pixels."""

from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.metrics.definition import undefined
from pellucid.metrics.objects import of_each_object
from pellucid.metrics.registry import metric
from pellucid.probe import Probe
from pellucid.ranks import ranks


@metric(
    "localisation-auc",
    paper="Fawcett 2006, doi:10.1016/j.patrec.2005.10.010",
    higher_is_better=True,
    range=(0.0, 1.0),
)
def localisation_auc(
    probe: Probe, attribution: Float[Tensor, "N D H W"], truth: Bool[Tensor, "N H W"]
) -> Float[Tensor, " N"]:
    r"""P(A_i > A_j) + P(A_i = A_j) / 2, i of the object, j outside: the area under the ROC curve.

    Pick a pixel of the object and one beside it: how often has the first more evidence?

    0.5 is what a constant or a random map has.

    Formula:
        P(A_i > A_j) + \tfrac{1}{2} P(A_i = A_j), \qquad i \in T,\; j \notin T

        $A_i$: the evidence of pixel i, its channels' sum.
        $T$: the object.
        $P$: the share of pairs.

    Args:
        probe: the evidence.
        attribution: the maps.
        truth: where the object is.

    Returns:
        (N,); an object that fills the picture has no value.

    Cost:
        None.

    Source:
        section 7, by the ranks of Mann and Whitney; ties count half, as trapezoids do.

    Strengths:
        No threshold.
        0.5 is chance, whatever the object's size.

    Weaknesses:
        It cannot tell how far evidence stands out, only its order, nor whether the model uses the
            object; where objects are small, a map that marks ten times as much around them still comes
            close to 1.

    See Also:
        relevance-rank, energy-pointing-game

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> truth = torch.zeros(1, 8, 8, dtype=torch.bool)
        >>> truth[0, 2:4] = True
        >>> map = truth[:, None].float()
        >>> measure(net, torch.rand(1, 3, 8, 8), map, "localisation-auc", truth=truth).value
        tensor([1.], dtype=torch.float64)
    """

    def area(evidence: Tensor, inside: Tensor) -> Tensor:
        positive, negative = int(inside.sum()), int((~inside).sum())
        if negative == 0:
            raise undefined("localisation-auc", "the object fills the picture")
        total = ranks(evidence.flatten())[inside.flatten()].sum()
        return (total - positive * (positive + 1) / 2) / (positive * negative)

    return of_each_object("localisation-auc", probe, attribution, truth, area)
