"""Selectivity: how fast the score falls while the patches of most evidence are removed."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.regions import patch_counts, patches, region_order, region_scores, region_sums
from pellucid.metrics.registry import metric
from pellucid.metrics.removal import area, tie_breaker
from pellucid.options.parts import Baseline
from pellucid.probe import Probe, of_each


@metric(
    "selectivity",
    paper="Montavon et al. 2018, arXiv:1706.07979",
    higher_is_better=False,
    range=(-math.inf, math.inf),
    passes=lambda options, size: MetricPasses(math.prod(patch_counts(size, options["patch"])) + 1),
    quick={"patch": 5},
)
def selectivity(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    patch: Count = 8,
    replacement: Baseline = "zero",
) -> Measurement:
    r"""int_0^1 f(x with the share t of patches of most evidence removed) dt: low where the map is right.

    Remove patches by the evidence in them, and average the score on the way.

    Square patches, from the top left on, are ranked by the evidence in them, all of it summed, and
    removed one after another; ties are in random order. The integral is by trapezoids over the share of
    patches.

    Formula:
        \int_0^1 f(x_{-t})\, \mathrm{d}t

        $f$: the score.
        $x_{-t}$: the picture without the share t of patches of most evidence.
        $t$: a share of the patches.

    Args:
        probe: the evidence.
        attribution: the maps.
        patch: the side of a patch in pixels (paper: 4 in digits of 28 by 28; Quantus: 8).
        replacement: what a removed patch is replaced by.

    Returns:
        (N,), with the `curve` (N, patches + 1) over `fractions` (N, patches + 1) in the details.

    Cost:
        patches + 1 forward: 785 for 224 by 224 pixels.

    Source:
        section 7.2.

    Strengths:
        Patches instead of single pixels: few passes.

    Weaknesses:
        It cannot tell evidence that is gone from patches that confuse the model, nor where within a
            patch evidence lies.

    See Also:
        deletion, region-perturbation, aopc

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.rand(1, 1, 8, 8), "selectivity", patch=4).details["curve"].shape
        torch.Size([1, 5])
    """
    values, end = per_pixel(attribution), probe.baseline(replacement)
    height, width = values.shape[1:]
    labels = patches(height, width, patch)
    count = int(labels.max()) + 1
    fractions = torch.linspace(0, 1, count + 1, dtype=torch.float64, device="cpu")

    def one(probe: Probe, image: int) -> Tensor:
        ranked = region_order(region_sums(values[image], labels), tie_breaker(probe))
        return region_scores(probe, labels, ranked, count, end[image : image + 1])

    curves = torch.stack(of_each(probe, one))
    areas = torch.stack([area(curve, fractions) for curve in curves])
    return Measurement(areas, {"curve": curves, "fractions": fractions.expand_as(curves)})
