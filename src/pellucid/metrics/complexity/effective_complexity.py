"""Effective complexity: how many pixels have evidence at all."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import undefined
from pellucid.metrics.options import Magnitude
from pellucid.metrics.pixels import magnitudes
from pellucid.metrics.registry import metric
from pellucid.probe import Probe, of_each


@metric(
    "effective-complexity",
    paper="Nguyen and Martínez 2020, arXiv:2007.07584",
    higher_is_better=False,
    range=(0.0, float("inf")),
)
def effective_complexity(
    probe: Probe, attribution: Float[Tensor, "N D H W"], *, tolerance: Magnitude = 1e-5
) -> Float[Tensor, " N"]:
    r"""#{i : |A_i| > tolerance max_j |A_j|}: the number of pixels with evidence.

    Count the pixels that have evidence.

    This is the form in common use, which does not ask the model; the paper's is how many of the
    strongest pixels keep the model's expected loss small.

    Formula:
        \#\big\{i : |A_i| > \tau \max_j |A_j|\big\}

        $A_i$: the evidence of pixel i, its channels' sum.
        $\tau$: `tolerance`.

    Args:
        probe: the evidence.
        attribution: the maps.
        tolerance: share of the largest magnitude up to which a pixel counts as without evidence.

    Returns:
        (N,), in pixels; a map of zeros has no value.

    Cost:
        None.

    Source:
        effective complexity, as Quantus counts it.

    Strengths:
        A number that one can picture.
        No pass of the model.

    Weaknesses:
        It cannot tell whether the map is right, nor a map that fades out from one that is the same
            everywhere: one part in a hundred thousand counts as much as the maximum.

    See Also:
        complexity, sparseness

    Example:
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
        >>> map = torch.tensor([[[[0.0, 1e-9], [1.0, -2.0]]]])
        >>> measure(net, torch.rand(1, 3, 2, 2), map, "effective-complexity").value
        tensor([2.], dtype=torch.float64)
    """
    values = magnitudes(attribution)

    def one(probe: Probe, image: int) -> Tensor:
        most = values[image].max()
        if most == 0:
            raise undefined("effective-complexity", "it is 0 everywhere")
        return (values[image] > tolerance * most).sum().double()

    return torch.stack(of_each(probe, one))
