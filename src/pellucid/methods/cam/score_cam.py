"""Score-CAM: channels weighed by what the model says of the image seen through them."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.methods.cam.form import cam
from pellucid.probe import LayerEvidence, Probe, of_each
from pellucid.probe.screening import ScoreUse, screened
from pellucid.target import Output

Variant = Literal["official", "paper", "pytorch-grad-cam"]


def _explains(options: Mapping[str, Any]) -> Output:
    return "probability" if options["variant"] == "official" else "logit"


@cam(
    "score-cam",
    paper="Wang et al. 2020, arXiv:1910.01279",
    gradient=False,
    passes=(1, 0, 1),
    output=_explains,
)
def score_cam(at: LayerEvidence, *, variant: Variant = "official") -> Float[Tensor, "N K"]:
    r"""ReLU(sum_k w_k A_k), w_k = S(x * M_k), M_k the channel's map enlarged and scaled to [0, 1].

    Each feature map, enlarged and scaled to [0, 1], is laid over the picture as a mask, and weighed by
    the score of what remains visible. No gradient is needed.

    Formula:
        L = \mathrm{ReLU}\Big(\sum_k w_k A_k\Big), \qquad w_k = S(x \odot M_k), \qquad
        M_k = \frac{u(A_k) - \min u(A_k)}{\max u(A_k) - \min u(A_k)}

        $u$: enlargement to the input's size, bilinear.
        $M_k$: the mask of channel k, in [0, 1].
        $w_k$: the weight of channel k: a class probability.
        $\odot$: the product pixel by pixel.
        $L$: the map.

    Args:
        at: the evidence.
        variant: "official", the authors' code: w_k is the class probability; "paper", algorithm 1: the
            softmax over channels of the logits, which often leaves few channels any weight;
            "pytorch-grad-cam": likewise, with maps enlarged corner to corner.

    Returns:
        (N, h, w), at least 0. A constant channel has no mask and the weight 0.

    Cost:
        1 forward, and one per channel.

    Source:
        algorithm 1 and section 3.2. The baseline's score, which algorithm 1 subtracts from all channels
        alike, has no effect under its softmax.

    Strengths:
        No gradient: no saturation, no noise of slopes.
        Each weight is a score that the model gave.

    Weaknesses:
        A forward pass for each channel of the layer: 1280 of EfficientNet-Lite0, 2048 of ResNet50.
        Masked pictures have the mean colour where the mask is 0: unlike what the model knows.
        All weights are positive, so it shows where the layer is active as much as why.

    Pitfalls:
        Masks that are not scaled to [0, 1] darken or brighten the picture, and weights from logits can
            be negative or dominate: a widespread tutorial does both, and drops the ReLU.
        A softmax over channels of logits, as in the paper's algorithm and in pytorch-grad-cam, often
            leaves only a handful of channels with any weight; `variant` chooses.
        The code of the paper skips channels that are constant, whose scaling is 0/0.

    See Also:
        ablation-cam, group-cam, ss-cam, grad-cam

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "score-cam")
        >>> e.raw.shape
        torch.Size([1, 6, 6])
    """
    weights = of_each(at.probe, lambda probe, image: _weights(at, probe, image, variant))
    return torch.stack(weights).to(at.A)


def _weights(at: LayerEvidence, probe: Probe, image: int, variant: Variant) -> Float[Tensor, " K"]:
    """The weights of one image's channels."""
    A, corners = at.A[image], variant == "pytorch-grad-cam"
    maps = A.double().cpu()
    flat = constant(maps)

    def copies(start: int, stop: int) -> Tensor:
        return probe.inputs * enlarged(A[start:stop], probe.inputs, corners)[:, None]

    def weight(scores: Float[Tensor, " S"]) -> Float[Tensor, " S"]:
        return scores if variant == "official" else (scores - scores.max()).exp()

    use = ScoreUse(
        map=lambda weights: torch.einsum("k,khw->hw", weights, maps),
        variance=lambda variances: torch.einsum("k,khw->hw", variances, maps**2),
        max_effect=maps.flatten(1).abs().amax(1),
        weight=weight,
    )
    scores = screened(probe, copies, use, key=("score-cam", at.name, corners))
    if variant == "official":
        return scores.masked_fill(flat, 0.0)
    weights = scores.masked_fill(flat, -torch.inf).softmax(0)
    return weights.masked_fill(flat, 0.0)  # where all are constant their softmax is NaN


def constant(maps: Float[Tensor, "K h w"]) -> Bool[Tensor, " K"]:
    """Which channels are the same everywhere, and so have no mask."""
    return maps.flatten(1).amax(1) == maps.flatten(1).amin(1)


def enlarged(
    maps: Float[Tensor, "B h w"], like: Float[Tensor, "N C H W"], corners: bool = False
) -> Float[Tensor, "B H W"]:
    """Maps at the input's resolution, each scaled to [0, 1]; a constant one becomes 0."""
    up = interpolate(maps[:, None].to(like), like.shape[-2:], mode="bilinear", align_corners=corners)[:, 0]
    low, high = (f(up.flatten(1), 1)[:, None, None] for f in (torch.amin, torch.amax))
    return (up - low) / torch.where(high > low, high - low, torch.ones_like(high))
