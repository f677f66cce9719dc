"""XRAI: integrated gradients, averaged over the regions of the picture that they make most of."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.methods.definition import Axiom, Passes
from pellucid.methods.finding import Finding
from pellucid.methods.path.integrated_gradients import passes, straight
from pellucid.methods.path.random_baseline_ig import extremes
from pellucid.methods.path.regions import MULTI_SCALE, Algorithm, RegionSegments, candidates, grow, least_of
from pellucid.methods.registry import method
from pellucid.options.types import Steps
from pellucid.probe import Probe

Baselines = Literal["extremes", "black-and-white"]
Channels = Literal["max", "sum"]


def _passes(options: Mapping[str, Any]) -> Passes:
    forward, backward, *_ = passes(options)
    return Passes(2 * forward, 2 * backward)


def _promises(options: Mapping[str, Any]) -> tuple[Axiom, ...]:
    complete: tuple[Axiom, ...] = ("completeness",) if options["channels"] == "sum" else ()
    return *complete, "implementation invariance"


@method(
    "xrai",
    paper="Kapishnikov et al. 2019, arXiv:1906.02825",
    passes=_passes,
    reads="perturbed inputs",
    promises=_promises,
    quick={"steps": 3, "segments": "grid:4"},
)
def xrai(
    probe: Probe,
    *,
    steps: Steps = "auto",
    algorithm: Algorithm = "full",
    baselines: Baselines = "extremes",
    channels: Channels = "max",
    segments: RegionSegments = MULTI_SCALE,
) -> Finding:
    r"""Regions of the picture, each with the mean of integrated gradients from black and from white in it.

    Integrated gradients, but for regions: the picture is cut into overlapping segments, and they are
    taken in by the order of their mean attribution.

    The picture is cut into overlapping segments of six sizes. Of these the one whose new pixels have
    the largest mean attribution is added next, again and again, until the picture is covered.

    Formula:
        M_i = \frac{1}{|R|} \sum_{j \in R} \max_c a_{cj}, \qquad i \in R

        $M$: the map.
        $R$: the region that a pixel belongs to: the new pixels of the segment that was taken in with
            it.
        $a_{cj}$: integrated gradients at channel c of pixel j, the mean of those from black and from
            white.

    Args:
        probe: the evidence.
        steps: gradients along the line from each baseline, as integrated-gradients takes them: "auto", as
            many as bring the completeness error below a hundredth, are fewer on photographs than the 100 of
            the authors' code, which weighs a line's ends like any other point and misses that by far.
        algorithm: "full" chooses segments by their new pixels, "fast" by their mean attribution as wholes.
        baselines: "extremes", each image's smallest and largest input value in every channel, as in the
            authors' code, which any model can be given; "black-and-white", the paper's, for models that
            say how pixels become inputs.
        channels: how the attributions of a pixel's channels become one: their maximum, as in the authors'
            code, or their sum, with which the map's sum is S(x) minus the mean score of the baselines.
        segments: "multi-scale", Felzenszwalb's at six scales, each widened by 5 pixels; or those of any other
            method, label array or callable, as they are.

    Returns:
        (N, H, W), constant over each region; in `details` the `regions`, (N, H, W), numbered from 1 for that
        of the largest mean. With channels="sum", `delta` is the map's completeness error.

    Raises:
        InvalidValue: fewer than one step, segments that do not fit the picture.
        ModelError: "black-and-white" for a model without preprocessing.

    Cost:
        2 steps forward and backward, 1 forward of the image and of each baseline; segmenting each picture.

    Source:
        the paper's algorithm with the sizes and thresholds of the authors' code. That code segments the
        model's input; here the picture that it shows is segmented, whose colours preprocessing has not bent.

    Strengths:
        Regions instead of speckle, in an order that one can read off.
        From black and from white, so neither colour is blind.

    Weaknesses:
        Shows the segmentation as much as the model.
        The largest channel instead of the sum loses completeness; `channels="sum"` keeps it.

    Pitfalls:
        The authors' code segments the model's input; here it is the picture that it shows, whose
            colours preprocessing has not bent.
        A picture of one colour divides 0 by 0 elsewhere.

    See Also:
        integrated-gradients, lime, irof

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "xrai", steps=3, segments="grid:2")
        >>> e.raw.shape
        torch.Size([1, 8, 8])
    """
    lines = [straight(probe, start, steps=steps) for start in _starts(probe, baselines)]
    mean = torch.stack([line.map for line in lines]).mean(0)
    merged = (mean.amax(1) if channels == "max" else mean.sum(1)).double().cpu().numpy()
    pictures = [np.asarray(picture.rgb) for picture in probe.pictures]
    least = least_of(*probe.inputs.shape[-2:])
    grown = [
        grow(one, candidates(rgb, segments), algorithm, least)
        for one, rgb in zip(merged, pictures, strict=True)
    ]
    single = torch.tensor([int(ranks.max()) == 1 for _, ranks in grown], dtype=torch.bool, device="cpu")
    probe.note("One region covers the whole picture: the map is the same everywhere. Give other segments, "
               "such as grid:7.", single)  # fmt: skip
    averages, ranks = (torch.from_numpy(np.stack(part)) for part in zip(*grown, strict=True))
    complete = channels == "sum"
    return Finding(
        averages.to(mean),
        details={"regions": ranks},
        delta=torch.stack([line.delta for line in lines]).mean(0) if complete else None,
    )


def _starts(probe: Probe, baselines: Baselines) -> tuple[Float[Tensor, "N C H W"], Float[Tensor, "N C H W"]]:
    """The two baselines."""
    if baselines == "black-and-white":
        return probe.baseline("black"), probe.baseline("white")
    return extremes(probe.inputs)
