"""Sensitivity-n: whether evidence predicts by how much the score falls, for subsets of many sizes."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.correlation import correlation
from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count, Share
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.registry import metric
from pellucid.metrics.subsets import evidence_of, random_pixels, scores_without
from pellucid.options.parts import Baseline, same
from pellucid.probe import Probe, of_each

_SIZES = 1 << 32
"""Between the draws of one size and those of the next."""


@metric(
    "sensitivity-n",
    paper="Ancona et al. 2018, arXiv:1711.06104",
    higher_is_better=True,
    range=(-1.0, 1.0),
    passes=lambda options, size: MetricPasses(options["steps"] * options["samples"]),
    quick={"steps": 2, "samples": 10},
)
def sensitivity_n(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    steps: Count = 8,
    most: Share = 0.8,
    samples: Count = 100,
    replacement: Baseline = "zero",
) -> Measurement:
    r"""mean_n corr_T (sum_{i in T} A_i, S(x) - S(x with T replaced)), over random subsets T of n pixels.

    For sets of n pixels, drawn at random: does the sum of their evidence follow the drop without them?
    Averaged over sizes n.

    All channels are replaced together. The correlation is Pearson's. The sizes n are spread evenly by
    their logarithm from 1 to most * P, of P pixels. A map that is linear in what is replaced has 1 for
    every n.

    Formula:
        \frac{1}{|N|} \sum_{n \in N} \mathrm{corr}_{T:\, |T| = n}\Big(\sum_{i \in T} A_i,\; S(x) -
        S(x_{\setminus T})\Big)

        $N$: the sizes, evenly spread by their logarithm.
        $n$: one of them.
        $T$: a random set of pixels.
        $A_i$: the evidence of pixel i, its channels' sum.
        $x_{\setminus T}$: the picture with T replaced.

    Args:
        probe: the evidence.
        attribution: the maps.
        steps: how many sizes.
        most: the largest size, as a share of the pixels.
        samples: subsets of each size, the same for every image and map (paper: 100).
        replacement: what a pixel is replaced by (paper: 0).

    Returns:
        (N,), with the `correlation` (N, steps) for each of the `sizes` (N, steps) in the details. A picture
        whose score does not change for some size has no value.

    Cost:
        steps * samples forward.

    Source:
        section 4.1. Quantus' metric of this name removes the strongest pixels one after another: it is
        another metric, a correlation along the deletion curve.

    Strengths:
        1 for every size where a map is exact: of linear models it is.
        Tells by size where a map stops being right.

    Weaknesses:
        It cannot tell whether a map ranks parts rightly that are larger than single pixels: subsets
            strewn over the picture say little about an object, so right maps of coarse grain have low
            values at small n. Scores are comparable only under the same sizes, replacement and output.

    See Also:
        faithfulness-correlation, intervention, infidelity

    Example:
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> perfect = (x * net[1].weight[1].view(3, 8, 8)).detach()
        >>> found = measure(net, x, perfect, "sensitivity-n:steps=3,samples=20", target=1)
        >>> found.value.round(decimals=4), found.details["sizes"]
        (tensor([1.], dtype=torch.float64), tensor([[ 1,  7, 51]]))
    """
    values, end = per_pixel(attribution), probe.baseline(replacement)
    largest = max(1.0, most * values[0].numel())
    exponents = (
        torch.linspace(0, 1, steps + 1, dtype=torch.float64, device="cpu")[1:]
        if steps == 1
        else (torch.linspace(0, 1, steps, dtype=torch.float64, device="cpu"))
    )
    sizes = (largest**exponents + 1e-9).long()
    subsets = [random_pixels(probe, int(n), _SIZES * step) for step, n in enumerate(sizes)]
    evidence = [evidence_of(values, subset, samples) for subset in subsets]

    def one(probe: Probe, image: int) -> Tensor:
        found = []
        for step, subset in enumerate(subsets):
            key = "random pixels", int(sizes[step]), step, samples, same(replacement)
            scores = scores_without(probe, subset, samples, end[image : image + 1], key)
            precision = probe.inputs.dtype
            found.append(correlation("sensitivity-n", evidence[step][image], -scores, precision))
        return torch.stack(found)

    correlations = torch.stack(of_each(probe, one))
    return Measurement(
        correlations.mean(1), {"correlation": correlations, "sizes": sizes.expand(len(values), -1)}
    )
