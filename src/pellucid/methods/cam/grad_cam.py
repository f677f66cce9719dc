"""Grad-CAM."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.probe import LayerEvidence


@cam("grad-cam", paper="Selvaraju et al. 2017, arXiv:1610.02391")
def grad_cam(at: LayerEvidence) -> Float[Tensor, "N K"]:
    r"""ReLU(sum_k alpha_k A_k), alpha_k = mean_ij dS/dA_k(i, j).

    Each feature map of a layer is weighed by how much the score would rise if that map were raised
    everywhere a little, and the weighted maps are added up. What speaks against the class is left away.

    Formula:
        L_{ij} = \mathrm{ReLU}\Big(\sum_k \alpha_k\, A_k(i, j)\Big), \qquad
        \alpha_k = \frac{1}{h w} \sum_{ij} \frac{\partial S}{\partial A_k(i, j)}

        $\alpha_k$: the weight of channel k: the mean of its gradient.
        $L$: the map, of $h$ rows and $w$ columns.

    Returns:
        (N, h, w), at least 0, in units of the score per activation.

    Cost:
        1 forward, 1 backward to the layer.

    Source:
        eqs. 1 and 2. Equals CAM divided by h*w where the head is a global average pool and one Linear.

    Strengths:
        One forward and one backward pass, on nearly every network.
        Class-specific, smooth, and easy to read: the best known of its kind.
        Equal to CAM where CAM exists, but for the number of positions.

    Weaknesses:
        As coarse as its layer: of small objects it shows the neighbourhood.
        The mean of the gradient can point to places that the score does not depend on: between two
            parts that speak for and against.
        At shallow layers the mean of the gradient says little.

    Pitfalls:
        All evidence negative gives a map of zeros: it is said here; other libraries scale it up to a
            picture, or to NaN.
        An in-place ReLU behind the layer overwrites what hooks have stored: pytorch-grad-cam and
            torch-cam then read other activations (a test shows it).
        On a ViT captum and torch-cam average over the wrong axis.

    See Also:
        hirescam, layer-cam, grad-cam++, score-cam

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
