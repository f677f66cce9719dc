"""The squared gradient."""

from torch import Tensor

import pellucid
from pellucid.probe import Probe


@pellucid.method(
    "grad-squared",
    family="gradient",
    paper="Montavon et al. 2018, arXiv:1706.07979",
    passes=(1, 1),
    promises=("dummy", "implementation invariance", "symmetry"),
)
def grad_squared(probe: Probe, *, mean: bool = False) -> Tensor:
    """sum_c (dS/dx_c)^2: the squared length of the gradient of the score S at each pixel x.

    Args:
        probe: the evidence.
        mean: divides by the number of channels c.

    Returns:
        (N, H, W), at least 0, in squares of the score per unit of input.

    Cost:
        1 forward, 1 backward.

    Source:
        its section on sensitivity analysis, summed over the channels of a pixel.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
        >>> e = pellucid.explain(net, torch.rand(1, 3, 4, 4), "grad-squared", target=1)
        >>> torch.allclose(e.raw[0], net[1].weight[1].view(3, 4, 4).square().sum(0))
        True
    """
    squares = probe.input_gradient() ** 2
    return squares.mean(1) if mean else squares.sum(1)
