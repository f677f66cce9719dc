"""ADCC: average drop, coherency and complexity of a map in one number."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.correlation import correlation
from pellucid.metrics.definition import Explain, MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.registry import metric
from pellucid.metrics.shown import as_mask, lost_share, scores_before_and_shown, shown_inputs
from pellucid.probe import Probe


@metric(
    "adcc",
    paper="Poppi et al. 2021, arXiv:2104.10252",
    higher_is_better=True,
    range=(0.0, 1.0),
    passes=lambda options, size: MetricPasses(2, 0, 1),
    output="probability",
)
def adcc(probe: Probe, attribution: Float[Tensor, "N D H W"], explain: Explain) -> Measurement:
    r"""3 / (1 / coherency + 1 / (1 - complexity) + 1 / (1 - drop)): harmonic mean of what a map should be.

    A good map is small, loses little when it is all that is shown, and stays the same when asked again
    of what it shows: one number for all three.

    L is the map in [0, 1]: its evidence for the class over its maximum. Coherency is (r + 1) / 2, where
    r is Pearson's correlation of L and of the map of the picture times L, made in the same way;
    complexity is the mean of L; drop is `average-drop`. Where one of the three is 0, or one of the two
    maps is constant, by which r has no value, the score is 0.

    Formula:
        \frac{3}{\frac{1}{H} + \frac{1}{1 - C} + \frac{1}{1 - D}}

        $H$: coherency, (r + 1) / 2 with r the correlation of the map and of the map of the picture
            times it.
        $C$: complexity, the map's mean in [0, 1].
        $D$: the average drop.

    Args:
        probe: the evidence.
        attribution: the maps; evidence against the class shows nothing.
        explain: the method that made them.

    Returns:
        (N,), with `coherency`, `complexity` and `drop` (N,) in the details. An image whose score is not above
        0 has no value.

    Cost:
        2 forward, and 1 explanation.

    Source:
        equations 3 to 6.

    Strengths:
        One number in which a map of ones, and a map of nothing, both fail.

    Weaknesses:
        It cannot tell a right map from a wrong one that is small and that its method repeats: coherency
            asks the method about itself, and a random map that stays the same has the best.

    See Also:
        average-drop, increase-in-confidence, complexity

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.rand(1, 1, 8, 8), "adcc", method="saliency").value.shape
        torch.Size([1])
    """
    masks = as_mask(attribution)
    before, shown = scores_before_and_shown(probe, masks)
    drop = lost_share("adcc", probe, before, shown)
    again = as_mask(explain(probe.perturbed(shown_inputs(probe, masks))))
    coherency = torch.stack([_coherency(mask, other) for mask, other in zip(masks, again, strict=True)])
    complexity = masks.mean((1, 2))
    parts = torch.stack([coherency, 1 - complexity, 1 - drop])
    value = torch.where((parts > 0).all(0), 3 / (1 / parts).sum(0), torch.zeros_like(drop))
    value = torch.where(before > 0, value, torch.full_like(value, torch.nan))
    return Measurement(value, {"coherency": coherency, "complexity": complexity, "drop": drop})


def _coherency(mask: Float[Tensor, "H W"], other: Float[Tensor, "H W"]) -> Float[Tensor, ""]:
    """(r + 1) / 2; 0 where r has no value."""
    if mask.max() == mask.min() or other.max() == other.min():
        return mask.new_zeros(())
    return (correlation("adcc", mask.flatten(), other.flatten(), torch.float32) + 1) / 2
