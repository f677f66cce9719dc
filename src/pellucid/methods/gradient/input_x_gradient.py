"""Input x gradient."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.registry import method
from pellucid.probe import Probe


@method(
    "input-x-gradient",
    paper="Shrikumar et al. 2016, arXiv:1605.01713",
    passes=(1, 1),
    promises=("dummy", "implementation invariance", "linearity", "symmetry"),
)
def input_x_gradient(probe: Probe) -> Float[Tensor, "N C H W"]:
    """x * dS/dx, x being the model's own (normalised) input.

    S is the score.

    Sums to the score for networks of ReLUs and max pools without biases.

    Returns:
        (N, C, H, W), signed, in units of the score.

    Cost:
        1 forward, 1 backward.

    Source:
        section 3, as the baseline of DeepLIFT.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> e = pellucid.explain(net, x, "input-x-gradient", target=1)
        >>> torch.allclose(e.raw, w * x)
        True
    """
    return probe.inputs * probe.input_gradient()
