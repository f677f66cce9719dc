"""Region perturbation: how far the score falls while regions are perturbed in the order of a map."""

import math
from typing import Literal

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
    "region-perturbation",
    paper="Samek et al. 2017, arXiv:1509.06321",
    higher_is_better=True,
    range=(-math.inf, math.inf),
    passes=lambda options, size: MetricPasses(
        perturbed_count(size, options["patch"], options["regions"]) + 1
    ),
    quick={"patch": 5, "regions": 4},
)
def region_perturbation(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    order: Literal["morf", "lerf", "random"] = "morf",
    patch: Count = 9,
    regions: Count = 100,
    replacement: Baseline = "noise",
) -> Measurement:
    r"""1/L sum_{k=1}^L f(x) - f(x^(k)): the mean drop while one region after another is perturbed.

    Perturb regions in the map's order, in the reverse, or at random, and take the mean drop.

    The input is cut into square regions from the top left on, which are perturbed: those of most evidence
    first ("morf"), of least ("lerf"), or in a random order that knows nothing of the map, which is what
    to compare with. Ties are in random order. With "lerf" lower is better.

    Formula:
        \frac{1}{L} \sum_{k=1}^{L} \big(f(x) - f(x^{(k)})\big)

        $f$: the score.
        $x^{(k)}$: the picture with k regions perturbed.
        $L$: the number of regions perturbed.

    Args:
        probe: the evidence.
        attribution: the maps.
        order: which regions come first.
        patch: the side of a region in pixels.
        regions: L, how many regions are perturbed, or all if there are fewer.
        replacement: what a region is replaced by: "noise" is normal with each image's mean and standard
            deviation (paper: uniform over all pixel values).

    Returns:
        (N,), with the `curve` (N, L + 1) of scores in the details.

    Cost:
        L + 1 forward.

    Source:
        equations 5 to 8.

    Strengths:
        A random order tells what any hole costs.

    Weaknesses:
        It cannot tell evidence that is gone from perturbations that look like nothing the model has
            seen.

    See Also:
        aopc, irof, morf

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> found = measure(net, x, torch.rand(1, 1, 8, 8), "region-perturbation:patch=2,regions=3")
        >>> found.details["curve"].shape
        torch.Size([1, 4])
    """
    curves = perturbed_regions(probe, attribution, order, patch, regions, replacement)
    return Measurement(torch.stack([(curve[0] - curve[1:]).mean() for curve in curves]), {"curve": curves})
