"""Saliency: the input's gradient."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.definition import Axiom
from pellucid.methods.registry import method
from pellucid.probe import Probe


def _promises(options: Mapping[str, Any]) -> tuple[Axiom, ...]:
    linear: tuple[Axiom, ...] = ("linearity",) if options["signed"] else ()
    return "dummy", "implementation invariance", *linear, "symmetry"


@method("saliency", paper="Simonyan et al. 2013, arXiv:1312.6034", passes=(1, 1), promises=_promises)
def saliency(probe: Probe, *, signed: bool = False) -> Float[Tensor, "N channels H W"]:
    r"""max_c |dS/dx_c|: how strongly each pixel moves the score; with signed=True, dS/dx itself.

    How strongly would the score react if this pixel changed a little? The gradient's magnitude, the
    largest over the colours.

    Formula:
        M_{ij} = \max_c \Big| \frac{\partial S}{\partial x_{cij}} \Big|

        $c$: a channel of the input.
        $M$: the map.

    Returns:
        (N, 1, H, W), at least 0; signed: (N, C, H, W). In units of the score per unit of input.

    Cost:
        1 forward, 1 backward.

    Source:
        section 3.1.

    Strengths:
        The cheapest map at full resolution, on anything that can be differentiated.
        Promises little, and keeps it: an unused pixel gets 0, however the network is written.

    Weaknesses:
        Speckled: the gradient of a deep network shatters from pixel to pixel.
        A slope is no contribution: where the score is saturated, or the gradient is vanishing, what
            matters most may get nothing.
        Magnitudes only: no evidence for and against.

    Pitfalls:
        The gradient of a cross-entropy loss, used in many tutorials, mixes all classes and goes to 0 as
            the model gets sure; explain the logit.
        Means over colours, or percentile clipping, are looks, not the paper's map.

    See Also:
        smooth-grad, input-x-gradient, integrated-gradients

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> e = pellucid.explain(net, x, "saliency", target=1)
        >>> torch.allclose(e.raw, w.abs().amax(0))
        True
    """
    gradient = probe.input_gradient()
    return gradient if signed else gradient.abs().amax(1, keepdim=True)
