"""Completeness: by how much the sum of a map misses the difference that it shares out."""

from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import undefined
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.registry import metric
from pellucid.options.parts import Baseline
from pellucid.probe import Probe

_ROUNDING = 1e-6
"""The share of the score up to which a difference is rounding."""


@metric(
    "completeness",
    paper="Sundararajan et al. 2017, arXiv:1703.01365",
    higher_is_better=False,
    range=(0.0, float("inf")),
    passes=(1,),
)
def completeness(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    replacement: Baseline = "zero",
    relative: bool = True,
) -> Measurement:
    r"""|sum_i A_i - (S(x) - S(x'))| / |S(x) - S(x')|: by how much the sum misses the score's difference.

    A map that shares out the score should sum to what there was to share: the score of the picture less
    that of the baseline.

    Absolute, it is not divided.

    Formula:
        \frac{\big|\sum_i A_i - (S(x) - S(x'))\big|}{|S(x) - S(x')|}

        $A_i$: a value of the map, all of which are summed.

    Args:
        probe: the evidence.
        attribution: the maps.
        replacement: x', the baseline that the method was given.
        relative: whether the gap is a share of the difference, else in units of the score.

    Returns:
        (N,), with the `sum` (N,) and the `difference` (N,) in the details. Relative, a picture whose score is
        the baseline's has no value.

    Cost:
        1 forward.

    Source:
        proposition 1. Quantus' `Completeness` asks for exact equality, after it has divided the map by its
        maximum: no map has it.

    Strengths:
        Exact, and costs two passes.
        Finds too few steps, a wrong baseline, a map of another output.

    Weaknesses:
        It cannot tell whether evidence lies in the right place, only whether there is as much as there
            should be; only methods that promise it, for this baseline and this output, are to be held
            to it.

    See Also:
        integrated-gradients, deep-lift, lrp, non-sensitivity

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> exact = (x * net[1].weight[1].view(3, 8, 8)).detach()
        >>> measure(net, x, exact, "completeness", target=1).value.round(decimals=4)
        tensor([0.], dtype=torch.float64)
    """
    score = probe.score.double().cpu()
    start = probe.perturbed(probe.baseline(replacement)).score.double().cpu()
    total, difference = attribution.double().flatten(1).sum(1).cpu(), score - start
    gap = (total - difference).abs()
    details = {"sum": total, "difference": difference}
    if not relative:
        return Measurement(gap, details)
    equal = difference.abs() <= _ROUNDING * score.abs().maximum(start.abs())
    for image in equal.nonzero()[:, 0].tolist():
        probe.fail(image, undefined("completeness", "the score is the baseline's; take relative=False"))
    return Measurement(gap / difference.abs().where(~equal, 1.0), details)
