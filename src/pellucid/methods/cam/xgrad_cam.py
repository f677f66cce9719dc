"""XGrad-CAM."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.probe import LayerEvidence


@cam("xgrad-cam", paper="Fu et al. 2020, arXiv:2008.02312")
def xgrad_cam(at: LayerEvidence, *, eps: float = 0.0) -> Float[Tensor, "N K"]:
    r"""ReLU(sum_k w_k A_k), w_k = sum_ij dS/dA_k * A_k / sum_ij A_k.

    Grad-CAM with the gradient averaged where the channel is active: positions count in proportion to
    their activation.

    Channels whose activations sum to 0 weigh 0.

    Formula:
        L = \mathrm{ReLU}\Big(\sum_k w_k A_k\Big), \qquad
        w_k = \frac{\sum_{ij} \frac{\partial S}{\partial A_k(i, j)} A_k(i, j)}{\sum_{ij} A_k(i, j)}

        $w_k$: the weight of channel k.
        $L$: the map.

    Args:
        at: the evidence at the layer.
        eps: added to the denominator (official code 1e-6, pytorch-grad-cam 1e-7).

    Returns:
        (N, h, w), at least 0, in units of the score.

    Cost:
        1 forward, 1 backward to the layer.

    Source:
        eqs. 7 and 8.

    Strengths:
        Derived from two axioms, sensitivity and conservation: before the ReLU its sum is HiResCAM's on
            any network.
        As cheap as Grad-CAM.

    Weaknesses:
        As coarse as its layer.
        Needs activations of one sign: where a channel's sum is near 0 its weight explodes.

    Pitfalls:
        Libraries add an epsilon of 1e-6 to 1e-8 to the sum; here it is 0 by default, and channels whose
            activations sum to 0 weigh 0.

    See Also:
        grad-cam, hirescam

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> A, w = net[:2](x), net[3].weight[1].view(4, 1, 1)
        >>> e = pellucid.explain(net, x, "xgrad-cam", target=1)
        >>> torch.allclose(e.raw, (w * A).sum(1).relu() / 36)
        True
    """
    A = at.A
    total = A.sum((2, 3)) + eps
    weights = (at.G * A).sum((2, 3)) / torch.where(total == 0, torch.ones_like(total), total)
    cancelling = (total.abs() < 1e-3 * A.abs().sum((2, 3))) & (total != 0)
    at.probe.note(
        f"XGrad-CAM divides by each channel's sum, and some at {at.name} nearly cancel: their weights are "
        "large. Choose a layer behind a ReLU, or hirescam, which needs no division.",
        cancelling.any(1),
    )
    return torch.where(total == 0, torch.zeros_like(total), weights)
