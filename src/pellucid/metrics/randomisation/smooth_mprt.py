"""Smooth MPRT: the parameter randomisation test on maps averaged over noisy copies."""

from functools import partial

from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import Explain, MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count, Magnitude
from pellucid.metrics.randomised import Order, averaged, similarities
from pellucid.metrics.registry import metric
from pellucid.metrics.similarity import Similarity
from pellucid.probe import Probe
from pellucid.probe.noise import noisy, sigma_of

_DRAW = 1 << 47  # draws of their own, apart from those of methods


@metric(
    "smooth-mprt",
    paper="Hedström et al. 2024, arXiv:2401.06465",
    higher_is_better=False,
    range=(-1.0, 1.0),
    passes=lambda options, size: MetricPasses(explanations=(options["steps"] + 1) * options["samples"]),
    quick={"steps": 2, "samples": 2},
)
def smooth_mprt(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    explain: Explain,
    *,
    samples: Count = 20,
    noise: Magnitude = 0.1,
    steps: Count = 10,
    order: Order = "top-down",
    similarity: Similarity = "spearman",
    absolute: bool = False,
) -> Measurement:
    r"""mean_k sim(mean_j A(x + e_j), mean_j A_k(x + e_j)): `mprt` of maps averaged over noise e.

    `mprt` with maps averaged over noise, so that noisy methods are not taken for sensitive ones.

    Averaging takes out the shattered part of gradients, which makes noisy maps dissimilar to everything.

    Formula:
        \frac{1}{K} \sum_{k=1}^K \mathrm{sim}\Big(\frac{1}{J} \sum_j A(x + e_j),\; \frac{1}{J} \sum_j
        A_k(x + e_j)\Big)

        $A$: the map.
        $A_k$: the map by the model with the weights of step k drawn anew.
        $K$: the number of steps.
        $e_j$: noise $j$ of $J$.
        $\mathrm{sim}$: a similarity.

    Args:
        probe: the evidence.
        attribution: the maps, by the method itself.
        explain: the method that made them.
        samples: noisy copies of each image, the same for both models.
        noise: their standard deviation, as a share of each image's range.
        steps: as in `mprt`.
        order: as in `mprt`.
        similarity: as in `mprt`.
        absolute: as in `mprt`.

    Returns:
        (N,), with the `similarity` (N, steps) in the details. A constant map has no value.

    Raises:
        InvalidValue: no module has a `reset_parameters`.

    Cost:
        (steps + 1) * samples explanations.

    Source:
        smooth MPRT, as defined there.

    Strengths:
        Does not reward noise.

    Weaknesses:
        It cannot tell a right map from any other that depends on the weights. It judges the averaged
            map of the method, not the map that is given.

    See Also:
        mprt, efficient-mprt

    Example:
        >>> import torch
        >>> from pellucid import explain
        >>> from pellucid.measure import measure
        >>> pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), pool, torch.nn.Linear(4, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> map = explain(net, x, "saliency").attribution
        >>> measure(net, x, map, "smooth-mprt:samples=2", method="saliency").details["similarity"].shape
        torch.Size([1, 2])
    """
    sigma = sigma_of(probe.inputs, noise)

    def copies(numbers: range) -> Float[Tensor, "NB C H W"]:
        return noisy(probe, sigma, [_DRAW + number for number in numbers])

    return similarities(
        "smooth-mprt",
        probe,
        averaged(probe, explain, copies, samples),
        lambda change: averaged(probe, partial(explain.with_model, change=change), copies, samples),
        steps=steps,
        order=order,
        kind=similarity,
        absolute=absolute,
    )
