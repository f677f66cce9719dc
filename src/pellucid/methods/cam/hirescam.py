"""HiResCAM."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.probe import At


@cam("hirescam", paper="Draelos & Carin 2020, arXiv:2011.08891", signed=True)
def hirescam(at: At) -> Float[Tensor, "N K h w"]:
    """sum_k dS/dA_k * A_k, signed.

    Where the network behind the layer is linear the map sums to the score without its bias.

    Cost:
        1 forward, 1 backward to the layer.

    Source:
        eq. 4. pytorch-grad-cam rectifies it: signed=False.
    """
    return at.G * at.A
