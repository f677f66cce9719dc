"""Insertion: how fast the score rises while the pixels of most evidence are shown."""

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
    "insertion",
    paper="Petsiuk et al. 2018, arXiv:1806.07421",
    higher_is_better=True,
    range=(0.0, 1.0),
    passes=lambda options, size: MetricPasses(options["steps"] + 1),
    output="probability",
    quick={"steps": 4},
)
def insertion(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    steps: Count = 28,
    replacement: Baseline = "blur",
) -> Measurement:
    r"""int_0^1 S(x' with the share t of pixels of most evidence shown) dt: high where the map is right.

    Show pixels on a blurred picture, those of most evidence first. The faster the score rises, the
    better the map.

    Pixels are ranked by the sum of their channels' evidence, all channels are shown together, and ties
    are in random order. The integral is by trapezoids.

    Formula:
        \int_0^1 S(x'_{+t})\, \mathrm{d}t

        $x'_{+t}$: what hides the picture, with the share t of pixels of most evidence shown.
        $x'$: what hides the picture, a blur.
        $t$: a share of the pixels.

    Args:
        probe: the evidence.
        attribution: the maps.
        steps: equal parts of the pixels shown one after another (paper: see `deletion`).
        replacement: what hides a pixel: blurred here, as in the paper, whose Gaussian is of 11 by 11 pixels.

    Returns:
        (N,), with the `curve` (N, steps + 1) over `fractions` (N, steps + 1) in the details, and `parts`
        (N, H, W), at which of the steps each pixel is changed.

    Cost:
        steps + 1 forward.

    Source:
        section 4.1, and the authors' code.

    Strengths:
        Needs nothing but scores, and judges any map.
        Beside deletion it asks the other half: is what the map names enough?

    Weaknesses:
        It cannot tell a map that finds all of the evidence from one that finds enough of it, and
            favours smooth maps, which show whole parts. Scores are comparable only under the same
            steps, replacement and output.

    Pitfalls:
        A blur framed by zeros darkens borders; other baselines are common and make other numbers.

    See Also:
        deletion, lerf, sic

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.rand(1, 1, 8, 8), "insertion", steps=4).value.shape
        torch.Size([1])
    """
    return removal_curve(probe, attribution, steps, start=probe.baseline(replacement), end=probe.inputs)
