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
    """max_c |dS/dx_c|: how strongly each pixel moves the score; with signed=True, dS/dx itself.

    S is the score and x the input, of channels c.

    Returns:
        (N, 1, H, W), at least 0; signed: (N, C, H, W). In units of the score per unit of input.

    Cost:
        1 forward, 1 backward.

    Source:
        section 3.1.

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
