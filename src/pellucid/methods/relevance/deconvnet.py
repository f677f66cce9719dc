"""The deconvolutional network."""

from jaxtyping import Float
from torch import Tensor

from pellucid.engine.guided import Deconv
from pellucid.methods.registry import method
from pellucid.methods.relevance.guided_backprop import through
from pellucid.probe import Probe


@method(
    "deconvnet",
    paper="Zeiler & Fergus 2014, arXiv:1311.2901",
    passes=(1, 1),
    reads="replaced operations",
)
def deconvnet(probe: Probe) -> Float[Tensor, "N C H W"]:
    """The gradient dS/dx, of which at each rectifier y = f(x) only max(dS/dy, 0) comes back, whatever x was.

    S is the score and x the input.

    Rectifiers are those of guided-backprop, in any spelling; max pools send back to where the maximum was,
    as the paper's switches do.

    Returns:
        (N, C, H, W), signed, in units of the score per unit of input; no gradient of the model proper.

    Cost:
        1 forward, 1 backward.

    Source:
        section 2.1. The paper starts from one activation of a layer; this starts from the score, as
        Springenberg et al. 2014 do. All else that a network may hold (batch norms, sums, attention) sends
        back its gradient.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> e = pellucid.explain(net, x, "deconvnet", target=1)
        >>> torch.allclose(e.raw, w)
        True
    """
    return through(probe, Deconv)
