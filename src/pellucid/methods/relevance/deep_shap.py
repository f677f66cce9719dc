"""DeepSHAP: DeepLIFT against several references."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding
from pellucid.methods.path.integrated_gradients import NO_PATH, warn_if_incomplete
from pellucid.methods.path.references import References, references_of
from pellucid.methods.registry import method
from pellucid.methods.relevance.deep_lift import TOLERATED, Difference, advice, difference
from pellucid.probe import Probe


def _passes(options: Mapping[str, Any]) -> Passes:
    references = 0 if options["references"] is None else len(options["references"])
    return Passes(2 * references, references)


@method(
    "deep-shap",
    paper="Lundberg & Lee 2017, arXiv:1705.07874",
    passes=_passes,
    reads="perturbed inputs",
    promises=("completeness", "linearity"),
    quick={"references": "zero,mean"},
)
def deep_shap(probe: Probe, *, references: References = None) -> Finding:
    r"""The mean of DeepLIFT's maps over references r: sums to S(x) - mean of S(r).

    DeepLIFT averaged over a background of your own pictures, instead of one baseline.

    Formula:
        M = \frac{1}{K} \sum_{k=1}^K (x - r_k) \odot m(x, r_k), \qquad
        \sum_i M_i = S(x) - \frac{1}{K} \sum_{k=1}^K S(r_k)

        $r_k$: reference $k$ of $K$.
        $m$: DeepLIFT's multipliers for the picture and that reference.
        $\odot$: the product entry by entry.
        $M$: the map.

    Args:
        probe: the evidence.
        references: where there is no evidence, on average: pictures of one's own, a folder of them, a tensor
            (R, C, H, W), or names of baselines. Each is taken once.

    Returns:
        (N, C, H, W), signed, in units of the score, with the standard error that the choice of the references
        brings if there are two or more; `delta` is the completeness error.

    Raises:
        InvalidValue: no references, or of another size.
        ModelError: an operation that no rule can stand in for, such as a custom autograd function.

    Cost:
        per reference 2 forward and 1 backward; 1 forward of the image itself.

    Source:
        section 4.2: SHAP values from DeepLIFT's multipliers, as expectations over a background. The paper's
        multipliers for products and maxima are Shapley values of one operation; here they are those of
        deep-lift, which agree with them on products of two.

    Strengths:
        Complete, for two passes and one back for each reference.
        With a standard error that says what the choice of references brings.

    Weaknesses:
        Needs references.
        No Shapley value of pixels in a deep network, whatever its name says.

    Pitfalls:
        As deep-lift: what captum cannot follow, it cannot average.

    See Also:
        deep-lift, expected-gradients, kernel-shap

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "deep-shap", references="zero,mean")
        >>> bool(e.delta.abs() < 1e-4)
        True
    """
    x, known = probe.inputs, references_of(probe, references)
    known = known.expand(len(x), *known.shape[1:])
    count = known.shape[1]
    probe.note(NO_PATH, (x[:, None] == known).flatten(1).all(1))
    estimated: dict[str, None] = {}

    def sums(first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of the maps, their squares, and the changes of the score."""
        some = known[:, first:last]
        copies = x[:, None].expand_as(some).flatten(0, 1)
        found: Difference = difference(probe.perturbed(copies), some.flatten(0, 1))
        maps = found.map.view_as(some).double()
        estimated.update(dict.fromkeys(found.estimated))
        return maps.sum(1), maps.square().sum(1), found.change.view(len(x), -1).double().sum(1)

    total, squares, change = probe.sum_over(count, sums)
    mean, change = total / count, change / count
    delta = mean.sum((1, 2, 3)) - change
    warn_if_incomplete(probe, delta, change, advice(tuple(estimated)), tolerated=TOLERATED)
    stderr: Tensor | None = None
    if count > 1:
        stderr = ((squares / count - mean.square()).clamp(min=0) / (count - 1)).sqrt().to(x.dtype)
    return Finding(mean.to(x.dtype), stderr, delta=delta.to(x.dtype))
