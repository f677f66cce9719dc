"""HiResCAM."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.probe import LayerEvidence


@cam("hirescam", paper="Draelos & Carin 2020, arXiv:2011.08891", signed=True)
def hirescam(at: LayerEvidence) -> Float[Tensor, "N K h w"]:
    r"""sum_k dS/dA_k * A_k, signed.

    Gradient times activation at each position, summed over channels. Unlike Grad-CAM nothing is
    averaged first, so no place is lit that the score does not depend on.

    Where the network behind the layer is linear the map sums to the score without its bias.

    Formula:
        L = \sum_k \frac{\partial S}{\partial A_k} \odot A_k

        $\odot$: the product entry by entry.
        $L$: the map.

    Returns:
        (N, h, w), signed, in units of the score.

    Cost:
        1 forward, 1 backward to the layer.

    Source:
        eq. 4. pytorch-grad-cam rectifies it: signed=False.

    Strengths:
        Where the network behind the layer is linear the map sums to the score without its bias: exact,
            with signs.
        As cheap as Grad-CAM, and the better choice wherever a position matters.

    Weaknesses:
        As coarse as its layer.
        Noisier than Grad-CAM at shallow layers.

    Pitfalls:
        pytorch-grad-cam rectifies it; the paper does not, and the sum is lost by it.

    See Also:
        grad-cam, xgrad-cam, layer-cam, input-x-gradient

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
