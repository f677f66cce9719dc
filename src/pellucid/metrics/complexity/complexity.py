"""Complexity: the entropy of a map's magnitudes."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import undefined
from pellucid.metrics.pixels import magnitudes
from pellucid.metrics.registry import metric
from pellucid.probe import Probe, of_each


@metric(
    "complexity",
    paper="Bhatt et al. 2020, arXiv:2005.00631",
    higher_is_better=False,
    range=(0.0, float("inf")),
)
def complexity(probe: Probe, attribution: Float[Tensor, "N D H W"]) -> Float[Tensor, " N"]:
    r"""-sum_i p_i ln p_i, p_i = |A_i| / sum_j |A_j|: the entropy of the shares of the pixels, in nats.

    How many pixels does a map need to say what it says? The entropy of its shares.

    A constant map of P pixels has ln P, a single pixel 0.

    Formula:
        -\sum_i p_i \ln p_i, \qquad p_i = \frac{|A_i|}{\sum_j |A_j|}

        $p_i$: the share of pixel i.
        $A_i$: the evidence of pixel i, its channels' sum.

    Args:
        probe: the evidence.
        attribution: the maps.

    Returns:
        (N,); a map of zeros has no value.

    Cost:
        None.

    Source:
        the definition of low complexity.

    Strengths:
        No pass of the model: it costs nothing.
        Does not depend on the map's scale.

    Weaknesses:
        It cannot tell whether the map is right: it does not look at the model. Its largest value, ln P,
            depends on the input's size.

    See Also:
        sparseness, effective-complexity, adcc

    Example:
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
        >>> measure(net, torch.rand(1, 3, 2, 2), torch.ones(1, 1, 2, 2), "complexity").value.exp()
        tensor([4.], dtype=torch.float64)
    """
    values = magnitudes(attribution)

    def one(probe: Probe, image: int) -> Tensor:
        total = values[image].sum()
        if total == 0:
            raise undefined("complexity", "it is 0 everywhere")
        entropy: Tensor = torch.special.entr(values[image] / total).sum()
        return entropy

    return torch.stack(of_each(probe, one))
