"""Relevance-CAM."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.methods.finding import Finding
from pellucid.methods.registry import Passes
from pellucid.methods.relevance.propagation import CompositeOption, begun, propagate
from pellucid.probe import At, Probe


def _passes(settled: Mapping[str, Any]) -> Passes:
    layers = settled["layer"]
    times = len(layers) if isinstance(layers, (list, tuple)) else 1
    return Passes(1 + times, times)


@cam(
    "relevance-cam",
    paper="Lee et al. 2021, doi:10.1109/CVPR46437.2021.01470",
    gradient=False,
    passes=_passes,
)
def relevance_cam(
    at: At,
    *,
    composite: CompositeOption = "z-plus;bias=ignored",
    start: Literal["contrast", "one"] = "contrast",
) -> Finding:
    """L = ReLU(sum_k w_k A_k) with w_k = sum_ij R_kij, the layer's relevance by a contrastive start.

    Works at shallow layers too, where gradients are noise.

    Args:
        at: the evidence at the layer.
        composite: which rule for which operation, as in lrp.
        start: one for the class, less as much evenly over all others; or one alone. A contrast of two
            classes, and a callable target, are what they are.

    Returns:
        (N, h, w) at the layer's resolution. `details` has the `weights` (N, K), and what `biases` and
        stabilisers (`absorbed`) took on the way back to the input, by which `delta`, all that arrived less
        what was shared out, is 0.

    Raises:
        InvalidValue: a composite that is none.
        ModelError: operations without a rule; a target that does not depend on the outputs.

    Cost:
        2 forward, 1 backward; 1 more of each for every further layer.

    Source:
        section 3, with the contrastive start of Gu 2018, arXiv:1812.02100. As in the authors' code the start
        is one and not the logit, which only scales, and would turn the map's sign where it is negative. Their
        networks let relevance pass batch norms; here these are folded, and a layer between an operation and
        its norm has the relevance of both.
    """
    begin = _contrasted if start == "contrast" else start
    found = propagate(at.probe, composite, begin, at.asked)
    weights = found.at_layers[at.asked].sum((2, 3))
    return Finding(weights, details={"biases": found.biases, "absorbed": found.absorbed}, delta=found.delta)


def _contrasted(probe: Probe, outputs: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """One for the class, less as much evenly over all others, if there are any and one class is meant."""
    one = begun(probe, outputs, "one")
    others = (one == 0) & ((one != 0).sum(1, keepdim=True) == 1)
    return one - torch.where(others, one.sum(1, keepdim=True) / max(outputs.shape[1] - 1, 1), 0)
