"""Efficient MPRT: by how much the map's complexity rises when all weights are drawn anew."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import Explain, undefined
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.randomised import randomised
from pellucid.metrics.registry import metric
from pellucid.probe import Probe, of_each


@metric(
    "efficient-mprt",
    paper="Hedström et al. 2024, arXiv:2401.06465",
    higher_is_better=True,
    range=(-1.0, float("inf")),
    passes=(0, 0, 1),
)
def efficient_mprt(
    probe: Probe, attribution: Float[Tensor, "N D H W"], explain: Explain, *, bins: Count = 100
) -> Measurement:
    r"""(xi(A') - xi(A)) / xi(A), A' the map by the model with all weights drawn anew, xi a map's entropy.

    Draw all weights anew at once, and see whether the map becomes as disordered as its model.

    The bins are equal, from the map's least to its largest value; its channels are summed. Weights are
    drawn as in `mprt`.

    Formula:
        \frac{\xi(A') - \xi(A)}{\xi(A)}, \qquad \xi(A) = -\sum_b p_b \ln p_b

        $A$: the map.
        $A'$: the map by the model with all weights drawn anew.
        $\xi$: the entropy of a map's histogram.
        $p_b$: the share of pixels in bin b.

    Args:
        probe: the evidence.
        attribution: the maps, by the method itself.
        explain: the method that made them.
        bins: of the histogram.

    Returns:
        (N,), with the entropies `before` and `after` (N,) in the details. A constant map has no value.

    Raises:
        InvalidValue: no module has a `reset_parameters`.

    Cost:
        1 explanation.

    Source:
        efficient MPRT, as defined there, with 100 bins.

    Strengths:
        One further explanation, whatever the number of layers.

    Weaknesses:
        It cannot tell a right map from any other that depends on the weights, and a histogram does not
            see where evidence lies: a map whose pixels are shuffled has the same value.

    See Also:
        mprt, smooth-mprt

    Example:
        >>> from pellucid import explain
        >>> from pellucid.measure import measure
        >>> pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), pool, torch.nn.Linear(4, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> map = explain(net, x, "saliency").attribution
        >>> measure(net, x, map, "efficient-mprt", method="saliency").value.shape
        torch.Size([1])
    """
    (change,) = randomised(probe, 1, "top-down")
    own, other = per_pixel(attribution), per_pixel(explain.with_model(probe, change))

    def one(probe: Probe, image: int) -> Tensor:
        before = _entropy(own[image], bins)
        if before == 0:
            raise undefined("efficient-mprt", "all its pixels fall in one bin")
        return torch.stack([before, _entropy(other[image], bins)])

    before, after = torch.stack(of_each(probe, one)).unbind(1)
    return Measurement((after - before) / before, {"before": before, "after": after})


def _entropy(map: Float[Tensor, "H W"], bins: int) -> Float[Tensor, ""]:
    low, high = map.min(), map.max()
    if low == high:
        return map.new_zeros(())
    at = ((map - low) / (high - low) * bins).long().clamp(max=bins - 1)
    entropy: Tensor = torch.special.entr(at.flatten().bincount().double() / at.numel()).sum()
    return entropy
