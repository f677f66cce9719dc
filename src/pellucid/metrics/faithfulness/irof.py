"""IROF: how much of the score is gone while superpixels are removed in the order of a map."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import MetricPasses, undefined
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.regions import region_order, region_scores, region_sums
from pellucid.metrics.registry import metric
from pellucid.metrics.removal import area, tie_breaker
from pellucid.options.parts import Baseline, Segments
from pellucid.probe import Probe, of_each
from pellucid.segments import segment

_ABOUT = 50  # segments that slic is asked for


def _count(segments: Any) -> int:
    """How many segments there will be, or about how many where it depends on the picture."""
    if isinstance(segments, str):
        return int(segments.removeprefix("grid:")) ** 2 if segments.startswith("grid:") else _ABOUT
    return _ABOUT if callable(segments) else len(np.unique(np.asarray(segments)))


@metric(
    "irof",
    paper="Rieger and Hansen 2020, arXiv:2003.08747",
    higher_is_better=True,
    range=(-math.inf, 1.0),
    passes=lambda options, size: MetricPasses(_count(options["segments"]) + 1),
    output="probability",
    quick={"segments": "grid:3"},
)
def irof(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    segments: Segments = "slic",
    replacement: Baseline = "mean",
) -> Measurement:
    r"""Iterative removal of features: 1 - int_0^1 S(x with the share t of segments removed) / S(x) dt.

    Remove superpixels instead of pixels, those of most mean evidence first: nothing smaller than what
    one sees.

    The superpixels of the picture are ranked by the mean evidence of their pixels and removed one after
    another, most evidence first; ties are in random order. The integral is by trapezoids over the share
    of segments, so a picture of many segments counts as one of few.

    Formula:
        1 - \int_0^1 \frac{S(x_{-t})}{S(x)}\, \mathrm{d}t

        $x_{-t}$: the picture without the share t of its segments, those of most evidence.
        $t$: a share of the segments.

    Args:
        probe: the evidence.
        attribution: the maps.
        segments: how the picture is cut: "slic" gives about 50 (paper: slic, about 300).
        replacement: what a segment is replaced by; "mean" is each image's own mean colour.

    Returns:
        (N,): 1 where the score is gone at once, 0 where it stays, below 0 where it rises.

    Cost:
        Segments + 1 forward, about 51 with "slic".

    Source:
        section 3.2, equation 1.

    Strengths:
        Segments follow the picture's edges, so holes look less strange.
        Relative to the score: pictures can be averaged.

    Weaknesses:
        It cannot tell where within a segment evidence lies, and has no value where the score is 0 to
            begin with. Of two segments of the same evidence the smaller one comes first, however little
            that removes.

    Pitfalls:
        Quantus 0.6 stops on pictures of several channels; of one channel it adds up the segments with a
            width of 1 each, without the picture itself: its numbers grow with the number of segments.

    See Also:
        deletion, region-perturbation, xrai

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.rand(1, 1, 8, 8), "irof", segments="grid:2").value.shape
        torch.Size([1])
    """
    values, end = per_pixel(attribution), probe.baseline(replacement)

    def one(probe: Probe, image: int) -> Tensor:
        labels = segment(np.asarray(probe.pictures[0].rgb), segments).cpu()
        mean = region_sums(values[image], labels) / torch.bincount(labels.flatten())
        ranked = region_order(mean, tie_breaker(probe))
        scores = region_scores(probe, labels, ranked, len(ranked), end[image : image + 1])
        if scores[0] == 0:
            raise undefined("irof", "the score of the whole picture is 0")
        fractions = torch.linspace(0, 1, len(scores), dtype=torch.float64, device="cpu")
        return 1 - area(scores / scores[0], fractions)

    return Measurement(torch.stack(of_each(probe, one)))
