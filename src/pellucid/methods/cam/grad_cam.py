"""Grad-CAM."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.probe import LayerEvidence


@cam("grad-cam", paper="Selvaraju et al. 2017, arXiv:1610.02391")
def grad_cam(at: LayerEvidence) -> Float[Tensor, "N K"]:
    """ReLU(sum_k alpha_k A_k), alpha_k = mean_ij dS/dA_k(i, j).

    S is the score and A_k channel k of the layer's activations.

    Returns:
        (N, h, w), at least 0, in units of the score per activation.

    Cost:
        1 forward, 1 backward to the layer.

    Source:
        eqs. 1 and 2. Equals CAM divided by h*w where the head is a global average pool and one Linear.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> A, w = net[:2](x), net[3].weight[1].view(4, 1, 1)
        >>> e = pellucid.explain(net, x, "grad-cam", target=1)
        >>> torch.allclose(e.raw, (w * A).sum(1).relu() / 36)
        True
    """
    return at.G.mean((2, 3))
