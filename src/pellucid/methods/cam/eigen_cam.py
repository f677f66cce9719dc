"""Eigen-CAM, and Eigen-CAM of the activations weighted by their gradients."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.combining import principal_component
from pellucid.methods.cam.form import cam
from pellucid.probe import LayerEvidence


@cam("eigen-cam", paper="Muhammad & Yeasin 2020, arXiv:2008.00299", gradient=False, signed=True, sums=False)
def eigen_cam(at: LayerEvidence, *, center: bool = False) -> Float[Tensor, "N h w"]:
    """M = A v_1: the activations A projected on their first right singular vector v_1, for every class alike.

    A_k is channel k of the layer's activations.

    A singular vector's sign is arbitrary: the map is turned so that it does not run against sum_k |A_k|.

    Args:
        at: the evidence at the layer.
        center: takes each channel's mean out first, as pytorch-grad-cam does and the paper does not.

    Returns:
        (N, h, w), signed, in units of the activations.

    Cost:
        1 forward.

    Source:
        section III.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "eigen-cam")
        >>> e.raw.shape
        torch.Size([1, 6, 6])
    """
    return principal_component(at.A, toward=at.A.abs().sum(1), at=at, center=center)


@cam("eigen-grad-cam", paper="Gildenblat et al. 2021, github.com/jacobgil/pytorch-grad-cam", sums=False)
def eigen_grad_cam(at: LayerEvidence, *, center: bool = True) -> Float[Tensor, "N h w"]:
    """ReLU((dS/dA * A) v_1): Eigen-CAM of the products of gradient and activation.

    S is the score and A_k channel k of the layer's activations.

    A singular vector's sign is arbitrary: the map is turned so that it does not run against
    sum_k dS/dA_k * A_k, the evidence for the class.

    Args:
        at: the evidence at the layer.
        center: takes each channel's mean out first, as pytorch-grad-cam does.

    Returns:
        (N, h, w), at least 0, in units of the score.

    Cost:
        1 forward, 1 backward to the layer.

    Source:
        pytorch-grad-cam's EigenGradCAM; no paper.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "eigen-grad-cam")
        >>> e.raw.shape
        torch.Size([1, 6, 6])
    """
    products = at.G * at.A
    return principal_component(products, toward=products.sum(1), at=at, center=center)
