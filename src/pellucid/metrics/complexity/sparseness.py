"""Sparseness: the Gini index of a map's magnitudes."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import undefined
from pellucid.metrics.pixels import magnitudes
from pellucid.metrics.registry import metric
from pellucid.probe import Probe, of_each


@metric(
    "sparseness",
    paper="Chalasani et al. 2020, arXiv:1810.06583",
    higher_is_better=True,
    range=(0.0, 1.0),
)
def sparseness(probe: Probe, attribution: Float[Tensor, "N D H W"]) -> Float[Tensor, " N"]:
    r"""sum_i (2 i - P - 1) a_(i) / (P sum_i a_i): the Gini index of the magnitudes a_i = |A_i|.

    How unevenly is the evidence spread? The Gini index, as of incomes.

    A constant map has 0, a single pixel of P has 1 - 1/P.

    Formula:
        \frac{\sum_{i=1}^P (2 i - P - 1)\, a_{(i)}}{P \sum_{i=1}^P a_i}

        $a_i$: the magnitude of pixel i's evidence, the channels summed.
        $a_{(i)}$: the i-th smallest of them.
        $P$: the number of pixels.

    Args:
        probe: the evidence.
        attribution: the maps.

    Returns:
        (N,); a map of zeros has no value.

    Cost:
        None.

    Source:
        the Gini index, as defined there. Quantus adds 1e-7 to each magnitude.

    Strengths:
        Between 0 and 1 whatever the size, and without a threshold.
        No pass of the model.

    Weaknesses:
        It cannot tell whether the map is right: it does not look at the model. A coarse map that is
            interpolated is less sparse than a fine one, whatever they say.

    See Also:
        complexity, effective-complexity

    Example:
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
        >>> map = torch.tensor([[[[0.0, 0.0], [0.0, -2.0]]]])
        >>> measure(net, torch.rand(1, 3, 2, 2), map, "sparseness").value
        tensor([0.7500], dtype=torch.float64)
    """
    values = magnitudes(attribution)

    def one(probe: Probe, image: int) -> Tensor:
        total = values[image].sum()
        if total == 0:
            raise undefined("sparseness", "it is 0 everywhere")
        ordered = values[image].sort().values
        count = len(ordered)
        weights = 2 * torch.arange(1, count + 1, dtype=torch.float64, device="cpu") - count - 1
        return (weights * ordered).sum() / (count * total)

    return torch.stack(of_each(probe, one))
