"""Monotonicity: whether the score rises with every part that is shown, least evidence first."""

from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count
from pellucid.metrics.registry import metric
from pellucid.metrics.removal import removal_curve
from pellucid.options.parts import Baseline
from pellucid.probe import Probe

_ROUNDING = 1e-5  # of the largest score: a fall smaller than this is float32's


@metric(
    "monotonicity",
    paper="Arya et al. 2019, arXiv:1909.03012",
    higher_is_better=True,
    range=(0.0, 1.0),
    passes=lambda options, size: MetricPasses(options["steps"] + 1),
    output="probability",
    quick={"steps": 4},
)
def monotonicity(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    steps: Count = 28,
    replacement: Baseline = "zero",
) -> Measurement:
    r"""1/K sum_k 1[S(x_k) >= S(x_{k-1})]: the share of the steps at which the score does not fall.

    Show pixels by rising evidence: does every step raise the score?

    It begins with the replacement and ends with the whole input. Pixels are ranked by the sum of their
    channels' evidence; ties are in random order. The paper asks only whether the share is 1, which
    `monotonic` in the details says.

    Formula:
        \frac{1}{K} \sum_{k=1}^K \mathbb{1}\big[S(x_k) \ge S(x_{k-1})\big]

        $x_k$: the replacement with the share k / K of pixels shown, least evidence first.
        $K$: the number of steps.

    Args:
        probe: the evidence.
        attribution: the maps.
        steps: K, equal parts of the pixels (paper: single features of a table).
        replacement: what hides a pixel that is not shown yet.

    Returns:
        (N,), with `monotonic` (N,), 0 or 1, and the `curve` (N, steps + 1) in the details. A fall of less
        than 1e-5 of the largest score is taken for rounding.

    Cost:
        steps + 1 forward.

    Source:
        section "Metrics", and `monotonicity_metric` of the authors' code.

    Strengths:
        Asks for the order of the whole map, not only its top.

    Weaknesses:
        It cannot tell by how much the score rises or falls, so a map whose evidence is in the right
            order but of any size has the best value; and a score that never moves counts as one that
            rises.

    Pitfalls:
        Quantus 0.6 fills its baseline with the baseline: no pixel is ever shown, and every map is
            monotonic.

    See Also:
        monotonicity-correlation, insertion

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.rand(1, 1, 8, 8), "monotonicity", steps=4).value.shape
        torch.Size([1])
    """
    start = probe.baseline(replacement)
    found = removal_curve(probe, attribution, steps, start=start, end=probe.inputs, least_first=True)
    curve = found.details["curve"]
    rises = curve.diff(dim=1) >= -_ROUNDING * curve.abs().amax(1, keepdim=True)
    return Measurement(rises.double().mean(1), {"monotonic": rises.all(1).double(), **found.details})
