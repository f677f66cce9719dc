"""Relevance-CAM."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.methods.relevance.propagation import (
    CompositeOption,
    output_relevance,
    prepare_run,
    subtract_others,
)
from pellucid.probe import LayerEvidence, Probe


@dataclass(frozen=True)
class RelevanceAtLayer(LayerEvidence):
    """A layer's activations A and relevance R, (N, K, h, w) each, of one run."""

    R: Float[Tensor, "N K h w"]


def _evidence(probe: Probe, layers: Sequence[str], options: Mapping[str, Any]) -> list[RelevanceAtLayer]:
    """One run, and one way back no further than the layers."""
    start = _contrasted if options["start"] == "contrast" else options["start"]
    modified, given = prepare_run(probe, options["composite"], start, *layers)
    arrived = modified.backward_to_layers(modified.outputs, given)
    return [
        RelevanceAtLayer(probe, tap, layer, key, modified.taken.found[layer], arrived[key])
        for layer in layers
        for key, tap in zip(modified.keys(layer), modified.layer(layer), strict=True)
    ]


@cam(
    "relevance-cam",
    paper="Lee et al. 2021, doi:10.1109/CVPR46437.2021.01470",
    gradient=False,
    passes=(1, 1),
    evidence=_evidence,
)
def relevance_cam(
    at: RelevanceAtLayer,
    *,
    composite: CompositeOption = "z-plus;bias=ignored",
    start: Literal["contrast", "one"] = "contrast",
) -> Float[Tensor, "N K"]:
    r"""L = ReLU(sum_k w_k A_k) with w_k = sum_ij R_kij, the layer's relevance by a contrastive start.

    Grad-CAM with LRP's relevance in place of the gradient: each channel of a layer is weighed by the
    relevance that arrives at it, of the class against all others.

    Works at shallow layers too, where gradients are noise.

    Formula:
        L = \mathrm{ReLU}\Big(\sum_k w_k A_k\Big), \qquad w_k = \sum_{ij} R_k(i, j)

        $w_k$: the relevance of channel k.
        $R_k$: its relevance at each position, from a start of 1 for the class and -1/(K - 1) for each
            other of $K$ classes.
        $L$: the map.

    Args:
        at: the evidence at the layer.
        composite: which rule for which operation, as in lrp.
        start: one for the class, less as much evenly over all others; or one alone. A contrast of two
            classes, and a callable target, are what they are.

    Returns:
        (N, h, w) at the layer's resolution; `details` has the `weights` (N, K).

    Raises:
        InvalidValue: a composite that is none.
        ModelError: operations without a rule; a target that does not depend on the outputs.

    Cost:
        1 forward, 1 backward no further than the layer; so, too, for several layers together.

    Source:
        section 3, with the contrastive start of Gu 2018, arXiv:1812.02100. As in the authors' code the start
        is one and not the logit, which only scales, and would turn the map's sign where it is negative. Their
        networks let relevance pass batch norms; here these are folded, and a layer between an operation and
        its norm has the relevance of both.

    Strengths:
        Works at shallow layers, where gradients are noise.
        Contrastive: what speaks for all classes alike cancels.

    Weaknesses:
        As coarse as its layer.
        Rules are settings, as of LRP.

    Pitfalls:
        The authors' networks let relevance pass batch norms; here these are folded.
        A start of the logit would turn the map's sign where that is negative.

    See Also:
        lrp, grad-cam, layer-cam

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "relevance-cam", signed=True)
        >>> e.raw.shape
        torch.Size([1, 6, 6])
    """
    return at.R.sum((2, 3))


def _contrasted(probe: Probe, outputs: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """One for the class, less as much evenly over all others, if there are any and one class is meant."""
    one = output_relevance(probe, outputs, "one")
    others = (one == 0) & ((one != 0).sum(1, keepdim=True) == 1)
    return subtract_others(one, others, outputs)
