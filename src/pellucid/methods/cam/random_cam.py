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
    r"""ReLU(sum_k w_k A_k), w_k ~ U(-1, 1): a sanity baseline, the same weights for every image.

    The layer's maps added up with random weights: what a CAM looks like that knows nothing of the
    class. Any method worth its cost must be told apart from it.

    Formula:
        L = \mathrm{ReLU}\Big(\sum_k w_k A_k\Big), \qquad w_k \sim U(-1, 1)

        $w_k$: a random weight, the same for every picture.
        $U$: the uniform distribution.
        $L$: the map.

    Returns:
        (N, h, w), at least 0, in units of the activations.

    Cost:
        1 forward.

    Source:
        pytorch-grad-cam's RandomCAM, there drawn from the global random state.

    Strengths:
        A floor: what it reaches by a metric, the layer alone reaches.
        Drawn from a seed, so it is the same each time.

    Weaknesses:
        Explains nothing, by design.

    Pitfalls:
        pytorch-grad-cam draws from the global random state, so its maps change from call to call.

    See Also:
        grad-cam, eigen-cam, mprt

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
