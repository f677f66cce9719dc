"""Layer-CAM."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.probe import At


@cam("layer-cam", paper="Jiang et al. 2021, doi:10.1109/TIP.2021.3089943", fusion="tanh-max")
def layer_cam(at: At) -> Float[Tensor, "N K h w"]:
    """ReLU(sum_k ReLU(dS/dA_k) * A_k); several layers: the maximum, shallow ones through tanh.

    Cost:
        1 forward, 1 backward to the shallowest layer.

    Source:
        eqs. 4 to 7.
    """
    return at.G.relu() * at.A
