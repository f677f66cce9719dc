"""HiResCAM."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.probe import LayerEvidence


@cam("hirescam", paper="Draelos & Carin 2020, arXiv:2011.08891", signed=True)
def hirescam(at: LayerEvidence) -> Float[Tensor, "N K h w"]:
    """sum_k dS/dA_k * A_k, signed.

    S is the score and A_k channel k of the layer's activations.

    Where the network behind the layer is linear the map sums to the score without its bias.

    Returns:
        (N, h, w), signed, in units of the score.

    Cost:
        1 forward, 1 backward to the layer.

    Source:
        eq. 4. pytorch-grad-cam rectifies it: signed=False.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> A, w = net[:2](x), net[3].weight[1].view(4, 1, 1)
        >>> e = pellucid.explain(net, x, "hirescam", target=1)
        >>> torch.allclose(e.raw, (w * A).sum(1) / 36)
        True
    """
    return at.G * at.A
