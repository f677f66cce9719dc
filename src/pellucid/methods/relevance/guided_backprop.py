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
    """The gradient dS/dx, of which at each rectifier y = f(x) only f'(x) 1[x > 0] max(dS/dy, 0) comes back.

    S is the score and x the input.

    Rectifiers are ReLU, ReLU6, leaky and parametric ReLU, ELU, SELU, CELU, GELU, SiLU, Mish, softplus,
    hardswish, threshold, clamp(min=0), hardtanh from 0 on and the maximum with 0, as modules, functions,
    methods or in place. Gates (sigmoid, tanh, hardsigmoid, softmax) keep their gradient. An activation that a
    model spells out in several operations, such as x * sigmoid(x), is no rectifier.

    Returns:
        (N, C, H, W), signed, in units of the score per unit of input; no gradient of the model proper.

    Cost:
        1 forward, 1 backward.

    Source:
        section 3.4, figure 1. The paper knows ReLUs only, whose f' is 1[x > 0]. Smooth and leaky rectifiers
        keep both of its masks, so that nothing comes back where the input or the gradient is negative, and
        the slope in between.

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
