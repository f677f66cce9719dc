"""LeRF: the score while the pixels of least evidence are removed first."""

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
    "lerf",
    paper="Samek et al. 2017, arXiv:1509.06321; Bluecher et al. 2024, arXiv:2401.06654",
    higher_is_better=True,
    range=(0.0, 1.0),
    passes=lambda options, size: MetricPasses(options["steps"] + 1),
    output="probability",
    quick={"steps": 4},
)
def lerf(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    steps: Count = 28,
    replacement: Baseline = "mean",
) -> Measurement:
    r"""int_0^1 S(x with the share t of pixels removed, least relevant first) dt: high where the map is right.

    Remove the least relevant pixels first. A good map keeps the score up to the end.

    Pixels are ranked by the sum of their channels' evidence, evidence against the class first, and ties
    are in random order. The integral is by trapezoids.

    Formula:
        \int_0^1 S(x_{-t})\, \mathrm{d}t

        $x_{-t}$: the picture without the share t of pixels of least relevance.
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
        Samek, equation 7; Bluecher, section 3.

    Strengths:
        Finds maps that miss evidence, which deletion does not.

    Weaknesses:
        It cannot tell a map that finds all of the evidence from one that finds enough of it, and a
            score that stays because nothing matters from one that stays because the right pixels are
            left.

    See Also:
        morf, srg, insertion

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.rand(1, 1, 8, 8), "lerf", steps=4).value.shape
        torch.Size([1])
    """
    end = probe.baseline(replacement)
    return removal_curve(probe, attribution, steps, start=probe.inputs, end=end, least_first=True)
