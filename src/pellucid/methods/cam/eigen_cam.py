"""Eigen-CAM, and Eigen-CAM of the activations weighted by their gradients."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.combining import principal_component
from pellucid.methods.cam.form import cam
from pellucid.probe import LayerEvidence


@cam("eigen-cam", paper="Muhammad & Yeasin 2020, arXiv:2008.00299", gradient=False, signed=True, sums=False)
def eigen_cam(at: LayerEvidence, *, center: bool = False) -> Float[Tensor, "N h w"]:
    r"""M = A v_1: the activations A projected on their first right singular vector v_1, for all classes.

    Eigen-CAM shows what the layer has most of: its activations projected on their first principal
    direction. No class is asked about.

    A singular vector's sign is arbitrary: the map is turned so that it does not run against sum_k
    |A_k|.

    Formula:
        M = A\, v_1, \qquad A = U \Sigma V^{\mathsf{T}}

        $A$: the activations as a matrix, positions by channels, and its singular value decomposition,
            with $U$ and $V$ the singular vectors.
        $v_1$: the first column of V, the first right singular vector.
        $\Sigma$: the singular values.
        $M$: the map.

    Args:
        at: the evidence at the layer.
        center: takes each channel's mean out first, as pytorch-grad-cam does and the paper does not.

    Returns:
        (N, h, w), signed, in units of the activations.

    Cost:
        1 forward.

    Source:
        section III.

    Strengths:
        No gradient and no class: shows what stands out to the layer, whatever the head makes of it.
        Often a clean outline of the main object.

    Weaknesses:
        The same for every class: it explains no decision.
        Where two directions are nearly as strong, which is first is chance.

    Pitfalls:
        A singular vector has no sign of its own: libraries that leave it to the solver show the object
            blank or inverted, by machine. Here the map is turned to agree with the layer's activity.
        pytorch-grad-cam centres each channel first (`center=true`); the paper does not.

    See Also:
        eigen-grad-cam, grad-cam, random-cam

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
    r"""ReLU((dS/dA * A) v_1): Eigen-CAM of the products of gradient and activation.

    Eigen-CAM of the products of gradient and activation: the strongest common pattern among the pieces
    of evidence for one class.

    A singular vector's sign is arbitrary: the map is turned so that it does not run against sum_k
    dS/dA_k * A_k, the evidence for the class.

    Formula:
        M = \mathrm{ReLU}\big(G\, v_1\big), \qquad G = \frac{\partial S}{\partial A} \odot A = U \Sigma
        V^{\mathsf{T}}

        $A$: the layer's activations, positions by channels.
        $G$: the products of gradient and activation, and their singular value decomposition, with $U$
            and $V$ the singular vectors.
        $v_1$: the first column of V.
        $\Sigma$: the singular values.
        $\odot$: the product entry by entry.
        $M$: the map.

    Args:
        at: the evidence at the layer.
        center: takes each channel's mean out first, as pytorch-grad-cam does.

    Returns:
        (N, h, w), at least 0, in units of the score.

    Cost:
        1 forward, 1 backward to the layer.

    Source:
        pytorch-grad-cam's EigenGradCAM; no paper.

    Strengths:
        Class-specific, and less noisy than the plain sum.
        One forward and one backward pass.

    Weaknesses:
        A principal component is no sum: nothing adds up to the score.
        No paper says what it should show.

    Pitfalls:
        The sign of a component is arbitrary, so elsewhere maps may come out inverted; here it agrees
            with the sum of the evidence.

    See Also:
        eigen-cam, hirescam, grad-cam-elementwise

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
