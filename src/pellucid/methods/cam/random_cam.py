"""Random-CAM: the baseline that a CAM must beat."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.probe import LayerEvidence


@cam(
    "random-cam",
    paper="Gildenblat et al. 2021, github.com/jacobgil/pytorch-grad-cam",
    gradient=False,
    random=True,
)
def random_cam(at: LayerEvidence) -> Float[Tensor, "N K"]:
    """ReLU(sum_k w_k A_k), w_k ~ U(-1, 1): a sanity baseline, the same weights for every image.

    A_k is channel k of the layer's activations.

    Returns:
        (N, h, w), at least 0, in units of the activations.

    Cost:
        1 forward.

    Source:
        pytorch-grad-cam's RandomCAM, there drawn from the global random state.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "random-cam")
        >>> e.raw.shape
        torch.Size([1, 6, 6])
    """
    A = at.A
    weights = torch.empty(A.shape[1], dtype=torch.float64, device="cpu").uniform_(
        -1, 1, generator=at.probe.generator()
    )
    return weights.to(A).expand(A.shape[:2])
