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
    r"""The gradient dS/dx, of which at each rectifier y = f(x) only max(dS/dy, 0) comes back, whatever x was.

    The gradient with another rule for rectifiers: only what is positive on the way back passes,
    whatever the rectifier did forward.

    Rectifiers are those of guided-backprop, in any spelling; max pools send back to where the maximum
    was, as the paper's switches do.

    Formula:
        \frac{\partial S}{\partial x} \leftarrow \max\Big(\frac{\partial S}{\partial y}, 0\Big) \quad
        \text{at each rectifier } y = f(x)

        $y$: what a rectifier gives, x what goes in.
        $f$: the rectifier.

    Returns:
        (N, C, H, W), signed, in units of the score per unit of input; no gradient of the model proper.

    Cost:
        1 forward, 1 backward.

    Source:
        section 2.1. The paper starts from one activation of a layer; this starts from the score, as
        Springenberg et al. 2014 do. All else that a network may hold (batch norms, sums, attention) sends
        back its gradient.

    Strengths:
        Shows sharp structure, for the price of a gradient.

    Weaknesses:
        Nearly the same picture whatever the class, and whatever the weights: it reconstructs the image
            more than it explains the score.
        No gradient of the model: nothing adds up.

    Pitfalls:
        Hooks on ReLU modules miss functions, in-place calls and modules used twice: elsewhere one then
            gets the plain gradient without a word (a test shows it).

    See Also:
        guided-backprop, saliency, random-logit

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
