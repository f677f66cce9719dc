"""Grad-CAM with elementwise products."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.probe import LayerEvidence


@cam("grad-cam-elementwise", paper="Gildenblat et al. 2021, github.com/jacobgil/pytorch-grad-cam")
def grad_cam_elementwise(at: LayerEvidence) -> Float[Tensor, "N K h w"]:
    r"""sum_k ReLU(dS/dA_k * A_k): only products that speak for the class, position by position.

    Gradient times activation, position by position and channel by channel; only products that speak for
    the class are added up.

    Formula:
        L = \sum_k \mathrm{ReLU}\Big(\frac{\partial S}{\partial A_k} \odot A_k\Big)

        $\odot$: the product entry by entry.
        $L$: the map.

    Returns:
        (N, h, w), at least 0, in units of the score.

    Cost:
        1 forward, 1 backward to the layer.

    Source:
        pytorch-grad-cam's GradCAMElementWise; no paper.

    Strengths:
        Keeps every piece of positive evidence, however much speaks against it elsewhere.
        One forward and one backward pass.

    Weaknesses:
        Evidence for and against is not weighed up, so it may light up what cancels.
        No paper, no theory.

    Pitfalls:
        Where activations are at least 0 it is LayerCAM's map.

    See Also:
        layer-cam, hirescam, grad-cam

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> A, w = net[:2](x), net[3].weight[1].view(4, 1, 1)
        >>> e = pellucid.explain(net, x, "grad-cam-elementwise", target=1)
        >>> torch.allclose(e.raw, (w * A).relu().sum(1) / 36)
        True
    """
    return (at.G * at.A).relu()
