"""AOPC: the area over the curve of scores while the regions of most evidence are perturbed."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count
from pellucid.metrics.region_curves import perturbed_count, perturbed_regions
from pellucid.metrics.registry import metric
from pellucid.options.parts import Baseline
from pellucid.probe import Probe


@metric(
    "aopc",
    paper="Samek et al. 2017, arXiv:1509.06321",
    higher_is_better=True,
    range=(-math.inf, math.inf),
    passes=lambda options, size: MetricPasses(
        perturbed_count(size, options["patch"], options["regions"]) + 1
    ),
    quick={"patch": 5, "regions": 4},
)
def aopc(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    patch: Count = 9,
    regions: Count = 100,
    replacement: Baseline = "noise",
) -> Measurement:
    r"""1/(L + 1) sum_{k=0}^L f(x) - f(x^(k)): the area over the perturbation curve, most evidence first.

    Perturb one region after another, most evidence first, and average how far the score has fallen on
    the way.

    The input is cut into square regions from the top left on, which are replaced in the order of their
    evidence; ties are in random order. The area counts the picture itself, k = 0, whose term is 0;
    `region-perturbation` leaves it out and knows other orders.

    Formula:
        \frac{1}{L + 1} \sum_{k=0}^{L} \big(f(x) - f(x^{(k)})\big)

        $f$: the score.
        $x^{(k)}$: the picture with k regions perturbed.
        $L$: the number of regions perturbed.

    Args:
        probe: the evidence.
        attribution: the maps.
        patch: the side of a region in pixels.
        regions: L, how many regions are perturbed, or all if there are fewer.
        replacement: what a region is replaced by: "noise" is normal with each image's mean and standard
            deviation (paper: uniform over all pixel values).

    Returns:
        (N,), with the `curve` (N, L + 1) of scores in the details.

    Cost:
        L + 1 forward.

    Source:
        equation 12.

    Strengths:
        Regions instead of single pixels: holes that the model can see.

    Weaknesses:
        It cannot tell evidence that is gone from perturbations that look like nothing the model has
            seen, and grows with the score: compare maps of one picture, or means over the same
            pictures.

    See Also:
        region-perturbation, morf, selectivity

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.rand(1, 1, 8, 8), "aopc", patch=2, regions=3).details["curve"].shape
        torch.Size([1, 4])
    """
    curves = perturbed_regions(probe, attribution, "morf", patch, regions, replacement)
    return Measurement(torch.stack([(curve[0] - curve).mean() for curve in curves]), {"curve": curves})
