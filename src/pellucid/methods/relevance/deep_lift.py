"""DeepLIFT with the rescale rule, on any network as it stands."""

from collections.abc import Hashable
from functools import partial
from typing import NamedTuple, cast

from jaxtyping import Float
from torch import Tensor

from pellucid.engine.precision import HALF
from pellucid.engine.rescale import Rescale
from pellucid.methods.finding import Finding
from pellucid.methods.path.integrated_gradients import NO_PATH, warn_if_incomplete
from pellucid.methods.registry import method
from pellucid.options.parts import Baseline, same
from pellucid.probe import Probe, run_with

TOLERATED = 1e-3
"""A larger completeness error, as a share of the score's change, is noted."""


class Difference(NamedTuple):
    """What images differ in from references: the maps, and the changes of the score they should sum to."""

    map: Float[Tensor, "N C H W"]
    change: Float[Tensor, " N"]
    estimated: tuple[str, ...]


@method(
    "deep-lift",
    paper="Shrikumar et al. 2017, arXiv:1704.02685",
    passes=(2, 1),
    reads="replaced operations",
    promises=("completeness", "sensitivity", "linearity"),
)
def deep_lift(probe: Probe, *, baseline: Baseline = "zero") -> Finding:
    r"""(x - x') * m, m = dS/dx chained from each operation's finite differences: sums to S(x) - S(x').

    Compare the picture with a baseline, unit by unit: each unit's change is traced back to its inputs'
    changes. Evidence passes where the gradient is zero.

    The multiplier of a nonlinearity is (f(x) - f(x')) / (x - x') instead of f'(x), so evidence passes
    where the gradient is zero, behind a saturated unit.

    Formula:
        M = (x - x') \odot m, \qquad m_f = \frac{f(z) - f(z')}{z - z'}, \qquad \sum_i M_i = S(x) - S(x')

        $m$: the product of the multipliers along all paths, by the chain rule.
        $m_f$: the multiplier of a nonlinearity f.
        $z$: what goes into it for the picture, and $z'$ for the baseline.
        $\odot$: the product entry by entry.
        $M$: the map.

    Args:
        probe: the evidence.
        baseline: x', the reference: "zero" in the model's input space is the mean colour for most models.

    Returns:
        (N, C, H, W), signed, in units of the score; `delta` is the completeness error, measured against the
        model's own scores of x and x', or those in float32 if it is in half precision.

    Raises:
        InvalidValue: a baseline that does not fit.
        ModelError: an operation that no rule can stand in for, such as a custom autograd function.

    Cost:
        1 forward of the image, in which every operation is run for the reference too, 1 forward of the
        reference and 1 backward.

    Source:
        section 3.5.2, the rescale rule, and eq. 3, the chain rule. The paper has linear layers and functions
        of one input. Products (attention, gates), softmax, normalisation and max pooling follow from the same
        condition, that multipliers times differences sum to the difference: see `engine.rescale`. Max pooling
        gives its change to the larger maximum's place, as captum does. Where captum takes the gradient if x
        and x' differ by less than 1e-10, here it is where their quotient would be of rounding errors.

    Strengths:
        Complete in two forward passes and one backward.
        Sees behind saturated units, where the gradient is vanishing.

    Weaknesses:
        The baseline is part of the question.
        Not invariant: the same function written as another network may have another map.

    Pitfalls:
        captum's softmax rule couples the samples of a batch, and its max pool takes the first sample's
            gradient; a module used twice stops it.
        Rules by module type miss functions: ReLU6 then gets the gradient in disguise.

    See Also:
        deep-shap, integrated-gradients, lrp

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> e = pellucid.explain(net, x, "deep-lift", target=1)
        >>> torch.allclose(e.raw, w * x, atol=1e-5)
        True
    """
    start = probe.baseline(baseline)
    probe.note(NO_PATH, (probe.inputs == start).flatten(1).all(1))
    found = difference(probe, start, same(baseline))
    delta = found.map.sum((1, 2, 3)) - found.change
    warn_if_incomplete(probe, delta, found.change, advice(found.estimated), tolerated=TOLERATED)
    return Finding(found.map, delta=delta)


def difference(probe: Probe, references: Float[Tensor, "N C H W"], key: Hashable = None) -> Difference:
    """What the rescale rule finds between each image and its reference; `key` tells references apart."""
    modified = run_with(probe, ("rescale", key), partial(Rescale, references))
    operations = cast(Rescale, modified.operations)
    half = probe.inputs.dtype in HALF  # then the model's own scores are too coarse to tell their change
    beside = None if half else probe.perturbed(references)
    if beside is not None:
        operations.pair(modified.taken.raw, beside.raw)
    with operations:  # a probability or a loss is one more operation
        score = modified.score
    _, multipliers = modified.backward(score)
    change = score.detach() - operations.reference(score) if beside is None else probe.score - beside.score
    differences = probe.inputs.to(multipliers) - references.to(multipliers)
    return Difference(differences * multipliers, change, tuple(operations.estimated))


def advice(estimated: tuple[str, ...]) -> str:
    """What may have kept a map from being complete."""
    if not estimated:
        return (
            "The score depends on the image in a way that holds no gradient, such as a mask or a branch, or "
            "is rounded coarsely."
        )
    return f"No exact multipliers are known of {', '.join(estimated)}."
