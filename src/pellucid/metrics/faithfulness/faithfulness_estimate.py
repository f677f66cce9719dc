"""Faithfulness estimate: whether the evidence of parts goes with the drops of the score without them."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.correlation import correlation
from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.regions import region_sums
from pellucid.metrics.registry import metric
from pellucid.metrics.removal import equal_parts, part_labels, pixel_ranks, scores_without_each, tie_breaker
from pellucid.options.parts import Baseline
from pellucid.probe import Probe, of_each


@metric(
    "faithfulness-estimate",
    paper="Alvarez-Melis and Jaakkola 2018, arXiv:1806.07538",
    higher_is_better=True,
    range=(-1.0, 1.0),
    passes=lambda options, size: MetricPasses(options["steps"] + 1),
    quick={"steps": 6},
)
def faithfulness_estimate(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    steps: Count = 28,
    replacement: Baseline = "zero",
) -> Measurement:
    r"""Pearson's correlation of the evidence in a part and the drop f(x) - f(x without it), over parts.

    Cut the pixels into parts by their evidence, take each away alone, and compare: does evidence
    predict the drop?

    The parts are the pixels in order of their evidence, the channels' sum, cut into equal parts; each
    is removed alone. With as many parts as pixels it is the paper's, feature by feature; parts of an
    image of 224 by 224 hold 1792 pixels each at the default.

    Formula:
        \mathrm{corr}_P\Big(\sum_{i \in P} A_i,\; f(x) - f(x_{\setminus P})\Big)

        $P$: a part of the pixels.
        $A_i$: the evidence of pixel i, its channels' sum.
        $f$: the score.
        $x_{\setminus P}$: the picture without P.

    Args:
        probe: the evidence.
        attribution: the maps.
        steps: how many parts.
        replacement: what a removed pixel is replaced by.

    Returns:
        (N,), with `evidence` and `drops` (N, steps) in the details, most evidence first.

    Cost:
        steps + 1 forward.

    Source:
        section 4, "faithfulness".

    Strengths:
        No randomness but that of ties.
        Each part is removed alone: drops do not pile up.

    Weaknesses:
        It cannot tell parts that matter only together, since each is removed alone, and sees the order
            within a part as little as where its pixels lie. A constant map has 0; a model to which no
            part matters gives none.

    See Also:
        faithfulness-correlation, monotonicity-correlation

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.rand(1, 1, 8, 8), "faithfulness-estimate", steps=4).value.shape
        torch.Size([1])
    """
    values, end = per_pixel(attribution), probe.baseline(replacement)
    counts = equal_parts(values[0].numel(), steps)

    def one(probe: Probe, image: int) -> Tensor:
        labels = part_labels(pixel_ranks(values[image], tie_breaker(probe)), counts)
        scores = scores_without_each(probe, labels, steps, end[image : image + 1])
        evidence, drops = region_sums(values[image], labels), scores[0] - scores[1:]
        found = correlation("faithfulness-estimate", evidence, drops, probe.inputs.dtype)
        return torch.stack([found.expand(steps), evidence, drops])

    found, evidence, drops = torch.stack(of_each(probe, one)).unbind(1)
    return Measurement(found[:, 0], {"evidence": evidence, "drops": drops})
