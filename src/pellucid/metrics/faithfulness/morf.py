"""MoRF: the score while the pixels of most evidence are removed first."""

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
    "morf",
    paper="Samek et al. 2017, arXiv:1509.06321; Bluecher et al. 2024, arXiv:2401.06654",
    higher_is_better=False,
    range=(0.0, 1.0),
    passes=lambda options, size: MetricPasses(options["steps"] + 1),
    output="probability",
    quick={"steps": 4},
)
def morf(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    steps: Count = 28,
    replacement: Baseline = "mean",
) -> Measurement:
    r"""int_0^1 S(x with the share t of pixels removed, most relevant first) dt: low where the map is right.

    Remove the most relevant pixels first: the score of a good map falls at once.

    Pixels are ranked by the sum of their channels' evidence, and ties are in random order. The integral
    is by trapezoids. `deletion` is the same with its own paper's replacement.

    Formula:
        \int_0^1 S(x_{-t})\, \mathrm{d}t

        $x_{-t}$: the picture without the share t of pixels of most relevance.
        $t$: a share of the pixels.

    Args:
        probe: the evidence.
        attribution: the maps.
        steps: equal parts of the pixels removed one after another (paper: superpixels).
        replacement: what a removed pixel is replaced by; "mean" is each image's own mean colour.

    Returns:
        (N,), with the `curve` (N, steps + 1) over `fractions` (N, steps + 1) in the details.

    Cost:
        steps + 1 forward.

    Source:
        Samek, equation 6; Bluecher, section 3.

    Strengths:
        With `lerf` it makes `srg`, at no extra cost.

    Weaknesses:
        It cannot tell evidence that is gone from holes that confuse the model: any order looks good
            where every hole makes the score fall. `srg` takes away what both orders have in common.

    See Also:
        lerf, srg, deletion

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.rand(1, 1, 8, 8), "morf", steps=4).value.shape
        torch.Size([1])
    """
    return removal_curve(probe, attribution, steps, start=probe.inputs, end=probe.baseline(replacement))
