"""Layer-CAM."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.probe import LayerEvidence


@cam("layer-cam", paper="Jiang et al. 2021, doi:10.1109/TIP.2021.3089943", fusion="tanh-max")
def layer_cam(at: LayerEvidence) -> Float[Tensor, "N K h w"]:
    r"""ReLU(sum_k ReLU(dS/dA_k) * A_k); several layers: the maximum, shallow ones through tanh.

    Each position of each feature map has its own weight: the gradient there, if it is positive. So fine
    layers give maps that are still readable, and several layers can be fused.

    Formula:
        L = \mathrm{ReLU}\Big(\sum_k \mathrm{ReLU}\Big(\frac{\partial S}{\partial A_k}\Big) \odot
        A_k\Big)

        $\odot$: the product entry by entry.
        $L$: the map.

    Returns:
        (N, h, w), at least 0, in units of the score; of several layers without a unit.

    Cost:
        1 forward, 1 backward to the shallowest layer.

    Source:
        eqs. 4 to 7.

    Strengths:
        Works at shallow layers, where Grad-CAM's mean gradient is noise: finer maps for the price of
            Grad-CAM.
        Several layers of different sizes become one map.

    Weaknesses:
        Positive gradients only: no evidence against.
        In front of a pool or a stride the gradient is zero in most places, and the map shows a grid.

    Pitfalls:
        Fusion by the mean, or tanh on all layers, is not the paper's: it takes tanh of shallow layers
            only, then the maximum.

    See Also:
        grad-cam, hirescam, grad-cam-elementwise

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> A, w = net[:2](x), net[3].weight[1].view(4, 1, 1)
        >>> e = pellucid.explain(net, x, "layer-cam", target=1)
        >>> torch.allclose(e.raw, (w.relu() * A).sum(1) / 36)
        True
    """
    return at.G.relu() * at.A
