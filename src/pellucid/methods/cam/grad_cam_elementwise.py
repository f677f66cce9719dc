"""Grad-CAM with elementwise products."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.probe import At


@cam("grad-cam-elementwise", paper="pytorch-grad-cam (Gildenblat et al. 2021)")
def grad_cam_elementwise(at: At) -> Float[Tensor, "N K h w"]:
    """sum_k ReLU(dS/dA_k * A_k): only products that speak for the class, position by position.

    Cost:
        1 forward, 1 backward to the layer.

    Source:
        pytorch-grad-cam's GradCAMElementWise; no paper.
    """
    return (at.G * at.A).relu()
