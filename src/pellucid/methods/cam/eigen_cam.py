"""Eigen-CAM, and Eigen-CAM of the activations weighted by their gradients."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam, principal_component
from pellucid.probe import At


@cam("eigen-cam", paper="Muhammad & Yeasin 2020, arXiv:2008.00299", gradient=False, signed=True, sums=False)
def eigen_cam(at: At, *, center: bool = False) -> Float[Tensor, "N h w"]:
    """A v_1: the activations projected on their first right singular vector; the same for every class.

    A singular vector's sign is arbitrary: the map is turned so that it does not run against sum_k |A_k|.

    Args:
        at: the evidence at the layer.
        center: takes each channel's mean out first, as pytorch-grad-cam does and the paper does not.

    Cost:
        1 forward.

    Source:
        section III.
    """
    return principal_component(at.A, toward=at.A.abs().sum(1), at=at, center=center)


@cam("eigen-grad-cam", paper="pytorch-grad-cam (Gildenblat et al. 2021)", sums=False)
def eigen_grad_cam(at: At, *, center: bool = True) -> Float[Tensor, "N h w"]:
    """ReLU((dS/dA * A) v_1): Eigen-CAM of the products of gradient and activation.

    A singular vector's sign is arbitrary: the map is turned so that it does not run against
    sum_k dS/dA_k * A_k, the evidence for the class.

    Args:
        at: the evidence at the layer.
        center: takes each channel's mean out first, as pytorch-grad-cam does.

    Cost:
        1 forward, 1 backward to the layer.

    Source:
        pytorch-grad-cam's EigenGradCAM; no paper.
    """
    products = at.G * at.A
    return principal_component(products, toward=products.sum(1), at=at, center=center)
