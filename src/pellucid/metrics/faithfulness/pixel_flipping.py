"""Pixel flipping: how fast the score falls while the pixels of most evidence are flipped."""

import math

from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count
from pellucid.metrics.registry import metric
from pellucid.metrics.removal import removal_curve
from pellucid.options.parts import Baseline
from pellucid.probe import Probe


@metric(
    "pixel-flipping",
    paper="Bach et al. 2015, doi:10.1371/journal.pone.0130140",
    higher_is_better=False,
    range=(-math.inf, math.inf),
    passes=lambda options, size: MetricPasses(options["steps"] + 1),
    quick={"steps": 4},
)
def pixel_flipping(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    steps: Count = 28,
    replacement: Baseline = "zero",
) -> Measurement:
    r"""int_0^1 f(x with the share t of pixels of most evidence flipped) dt: low where the map is right.

    Flip pixels one after another, most evidence first, and average the score on the way: the oldest of
    its kind.

    Pixels are ranked by the sum of their channels' evidence, all channels are flipped together, and
    ties are in random order. The integral is by trapezoids, so it is the mean score on the way, on the
    scale of the output.

    Formula:
        \int_0^1 f(x_{-t})\, \mathrm{d}t

        $f$: the score.
        $x_{-t}$: the picture with the share t of pixels of most evidence flipped.
        $t$: a share of the pixels.

    Args:
        probe: the evidence.
        attribution: the maps.
        steps: equal parts of the pixels flipped one after another (paper: one pixel at a time, of 28 by 28).
        replacement: what a pixel is flipped to (paper: black digits become white, and the other way round).

    Returns:
        (N,), with the `curve` (N, steps + 1) over `fractions` (N, steps + 1) in the details.

    Cost:
        steps + 1 forward.

    Source:
        section "Pixel-flipping" of the evaluation.

    Strengths:
        Made for logits as well: no probability needed.

    Weaknesses:
        It cannot tell whether the score falls because evidence is gone or because the flipped pixels
            look like nothing the model has seen; scores of different models, pictures and replacements
            do not compare.

    Pitfalls:
        Quantus 0.6 spreads a map over the channels and flips these one by one, which takes as many
            times more passes and first flips a colour; its area has steps of width 1 and leaves out the
            picture itself.

    See Also:
        deletion, morf, region-perturbation

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.rand(1, 1, 8, 8), "pixel-flipping", steps=4).value.shape
        torch.Size([1])
    """
    return removal_curve(probe, attribution, steps, start=probe.inputs, end=probe.baseline(replacement))
