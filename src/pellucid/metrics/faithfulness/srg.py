"""SRG: the area between the curves of least and of most evidence removed first."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.registry import metric
from pellucid.metrics.removal import area, equal_parts, pixel_ranks, removal_scores, tie_breaker
from pellucid.options.parts import Baseline
from pellucid.probe import Probe, of_each


@metric(
    "srg",
    paper="Bluecher et al. 2024, arXiv:2401.06654",
    higher_is_better=True,
    range=(-1.0, 1.0),
    passes=lambda options, size: MetricPasses(2 * options["steps"]),
    output="probability",
    quick={"steps": 4},
)
def srg(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    steps: Count = 28,
    replacement: Baseline = "mean",
) -> Measurement:
    r"""Symmetric relevance gain: `lerf` - `morf`, 0 where the order of the pixels makes no difference.

    Remove the least relevant first, remove the most relevant first, and take the difference: what any
    hole does to the score cancels.

    Both curves begin with the picture and end with its replacement, so these two are scored once. What
    any hole does to the score is in both and cancels, by which methods are ranked alike whatever
    replaces pixels. A constant map has 0: both orders are then the same random one.

    Formula:
        \int_0^1 S(x_{-t}^{\text{least}})\, \mathrm{d}t - \int_0^1 S(x_{-t}^{\text{most}})\, \mathrm{d}t

        $x_{-t}^{\text{least}}$: the picture without the share t of pixels of least relevance; likewise
            of most.
        $t$: a share of the pixels.

    Args:
        probe: the evidence.
        attribution: the maps.
        steps: equal parts of the pixels removed one after another (paper: superpixels).
        replacement: what a removed pixel is replaced by; "mean" is each image's own mean colour.

    Returns:
        (N,), with the curves `morf` and `lerf` (N, steps + 1) over `fractions` (N, steps + 1) in the details.

    Cost:
        2 steps forward.

    Source:
        section 4, "symmetric relevance gain".

    Strengths:
        Ranks methods alike whatever replaces the pixels.
        0 means: no better than a random order.

    Weaknesses:
        It cannot tell which of the two orders made the difference (the details can), nor how much
            evidence there is: like every curve it sees the order of the pixels and not their values.

    See Also:
        lerf, morf, road

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.rand(1, 1, 8, 8), "srg", steps=4).value.shape
        torch.Size([1])
    """
    values, end = per_pixel(attribution), probe.baseline(replacement)
    counts = equal_parts(values[0].numel(), steps)
    fractions = counts.double() / counts[-1]

    def one(probe: Probe, image: int) -> Tensor:
        start, hidden = probe.inputs, end[image : image + 1]
        most, least = (pixel_ranks(values[image], tie_breaker(probe), first) for first in (False, True))
        morf = removal_scores(probe, most, counts, start, hidden)
        between = removal_scores(probe, least, counts[1:-1], start, hidden)
        return torch.stack([morf, torch.cat([morf[:1], between, morf[-1:]])])

    morf, lerf = torch.stack(of_each(probe, one)).unbind(1)
    gains = torch.stack([area(curve, fractions) for curve in lerf - morf])
    return Measurement(gains, {"morf": morf, "lerf": lerf, "fractions": fractions.expand_as(morf)})
