"""Guided backpropagation."""

from typing import cast

from jaxtyping import Float
from torch import Tensor

from pellucid.engine.guided import Guided, Rectifiers
from pellucid.methods.registry import method
from pellucid.probe import Probe, run_with


@method(
    "guided-backprop",
    paper="Springenberg et al. 2014, arXiv:1412.6806",
    passes=(1, 1),
    reads="replaced operations",
)
def guided_backprop(probe: Probe) -> Float[Tensor, "N C H W"]:
    r"""The gradient dS/dx, of which at each rectifier y = f(x) only f'(x) 1[x > 0] max(dS/dy, 0) comes back.

    The gradient with a double mask at rectifiers: only what is positive comes back, and only where the
    rectifier was active.

    Rectifiers are ReLU, ReLU6, leaky and parametric ReLU, ELU, SELU, CELU, GELU, SiLU, Mish, softplus,
    hardswish, threshold, clamp(min=0), hardtanh from 0 on and the maximum with 0, as modules,
    functions, methods or in place. Gates (sigmoid, tanh, hardsigmoid, softmax) keep their gradient. An
    activation that a model spells out in several operations, such as x * sigmoid(x), is no rectifier.

    Formula:
        \frac{\partial S}{\partial x} \leftarrow f'(x)\, \mathbb{1}[x > 0]\, \max\Big(\frac{\partial
        S}{\partial y}, 0\Big) \quad \text{at each rectifier } y = f(x)

        $y$: what a rectifier gives, x what goes in.
        $f$: the rectifier, and $f'$ its slope.

    Returns:
        (N, C, H, W), signed, in units of the score per unit of input; no gradient of the model proper.

    Cost:
        1 forward, 1 backward.

    Source:
        section 3.4, figure 1. The paper knows ReLUs only, whose f' is 1[x > 0]. Smooth and leaky rectifiers
        keep both of its masks, so that nothing comes back where the input or the gradient is negative, and
        the slope in between.

    Strengths:
        The sharpest picture there is, for the price of a gradient.

    Weaknesses:
        Shows edges of the picture rather than reasons: nearly the same for every class and for random
            upper layers.
        No gradient of the model: nothing adds up.

    Pitfalls:
        Hooks on ReLU modules miss functions, in-place calls and smooth rectifiers: elsewhere one then
            gets the plain gradient without a word (a test shows it).

    See Also:
        deconvnet, guided-grad-cam, saliency, mprt

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> e = pellucid.explain(net, x, "guided-backprop", target=1)
        >>> torch.allclose(e.raw, w)
        True
    """
    return through(probe, Guided)


def through(probe: Probe, rectifiers: type[Rectifiers]) -> Float[Tensor, "N C H W"]:
    """What comes back at the input through rectifiers of one kind."""
    modified = run_with(probe, rectifiers.__name__, rectifiers)
    _, at_input = modified.backward(modified.score)
    if not cast(Rectifiers, modified.operations).found:
        probe.note("The model has no rectifier: the map is the plain gradient.")
    return at_input
