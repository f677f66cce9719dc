"""CAM, the first class activation map."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.methods.cam.head import head_of
from pellucid.methods.finding import Finding
from pellucid.probe import LayerEvidence

PLAIN = "outputs = W mean(A) + b"


@cam("cam", paper="Zhou et al. 2016, arXiv:1512.04150", gradient=False, signed=True)
def class_activation_map(at: LayerEvidence) -> Finding:
    r"""sum_k w_k g(A_k), w_k the weights of the class in the one Linear behind a global average pool; signed.

    In a network that ends in a global average pool and one linear layer, the score is a weighted mean
    of the last feature maps. CAM shows that sum before the mean is taken: nothing is approximated.

    Its mean over positions is the score without its bias. A contrast or a probability weighs the rows of
    the Linear by the score's derivative with respect to the logits. What the model applies between the
    layer and the pool is nothing, an activation, a batch norm or both: see `details["chosen"]`. Where the
    Linear is a 1x1 convolution before the pool with an activation behind it, as in SqueezeNet, the map is
    that activation of sum_k w_k g(A_k) + b, and its mean is the whole score.

    Formula:
        L_{ij} = \sum_k w_k\, g(A_k)_{ij}, \qquad \frac{1}{h w} \sum_{ij} L_{ij} = S - b

        $w_k$: the weight of channel k for the class in the linear layer, and $b$ its bias.
        $g$: what the model applies to each value between the layer and the pool.
        $L$: the map, of $h$ rows and $w$ columns.

    Returns:
        (N, h, w), signed, in units of the score.

    Raises:
        ModelError: the head is not a global pool (mean or sum) and one Linear or 1x1 convolution.

    Cost:
        1 forward.

    Source:
        eq. 2.

    Strengths:
        Exact: its mean is the score without the bias, with signs.
        One forward pass.

    Weaknesses:
        Only for networks with such a head; others are refused.
        As coarse as the last layer.

    Pitfalls:
        Scaling to 8 bits before resizing, as the original demo does, and rectifying lose values and
            signs.
        A head that only looks like one is not taken for one: forms are tried until one gives this
            batch's outputs.

    See Also:
        grad-cam, hirescam, layer-cam

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "cam", target=1)
        >>> torch.allclose(e.raw.mean() + net[3].bias[1], net(x)[0, 1])
        True
    """
    outputs = at.probe.outputs.detach().requires_grad_()
    head = head_of(at)
    with torch.enable_grad():
        slope = torch.autograd.grad(at.probe.target_fn.of_outputs(outputs).sum(), outputs)[0]  # (N, classes)
    if head.form != PLAIN:
        at.probe.choose("head", head.form)
    if head.class_maps is not None:
        return Finding(torch.einsum("nc,nchw->nhw", slope, head.class_maps.to(slope)))
    weights: Float[Tensor, "N K"] = slope @ head.weight
    if head.maps is at.A:
        return Finding(weights)
    maps = head.maps.to(torch.promote_types(weights.dtype, head.maps.dtype))
    return Finding(weights.to(maps)[..., None, None] * maps, details={"weights": weights})
