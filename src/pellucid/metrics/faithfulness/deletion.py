"""Deletion: how fast the score falls while the pixels of most evidence are removed."""

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
    "deletion",
    paper="Petsiuk et al. 2018, arXiv:1806.07421",
    higher_is_better=False,
    range=(0.0, 1.0),
    passes=lambda options, size: MetricPasses(options["steps"] + 1),
    output="probability",
    quick={"steps": 4},
)
def deletion(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    steps: Count = 28,
    replacement: Baseline = "zero",
) -> Measurement:
    r"""int_0^1 S(x with the share t of pixels of most evidence removed) dt: low where the map is right.

    Remove pixels, those of most evidence first. The faster the score falls, the better the map knew
    what it rests on.

    Pixels are ranked by the sum of their channels' evidence, all channels are removed together, and
    ties are in random order. The integral is by trapezoids.

    Formula:
        \int_0^1 S(x_{-t})\, \mathrm{d}t

        $x_{-t}$: the picture without the share t of pixels of most evidence.
        $t$: a share of the pixels.

    Args:
        probe: the evidence.
        attribution: the maps.
        steps: equal parts of the pixels removed one after another. The paper's code removes 224 pixels at a
            time for its figure and 1792 for its table, 28 parts of an image of 224 by 224.
        replacement: what a removed pixel is replaced by (paper: 0 in the model's input space).

    Returns:
        (N,), with the `curve` (N, steps + 1) over `fractions` (N, steps + 1) in the details, and `parts`
        (N, H, W), at which of the steps each pixel is changed.

    Cost:
        steps + 1 forward.

    Source:
        section 4.1, and the authors' code.

    Strengths:
        Needs nothing but scores, and judges any map.
        The most used metric of faithfulness: numbers to compare with, under the same protocol.

    Weaknesses:
        It cannot tell whether the score falls because evidence is gone or because the holes look like
            nothing the model has seen, so scores are comparable only under the same steps, replacement
            and output.

    Pitfalls:
        A tie order that follows the sort gives constant maps an arbitrary score; here ties are in
            random order.
        Other step sizes, replacements and outputs, common among libraries, make other numbers.

    See Also:
        insertion, morf, road, srg

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> found = measure(net, x, torch.rand(1, 1, 8, 8), "deletion:steps=4")
        >>> found.value.shape, found.details["curve"].shape
        (torch.Size([1]), torch.Size([1, 5]))
    """
    return removal_curve(probe, attribution, steps, start=probe.inputs, end=probe.baseline(replacement))
