"""The pointing game: whether the strongest evidence lies on the object."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.metrics.objects import of_each_object
from pellucid.metrics.options import Magnitude
from pellucid.metrics.registry import metric
from pellucid.probe import Probe


@metric(
    "pointing-game",
    paper="Zhang et al. 2016, arXiv:1608.00507",
    higher_is_better=True,
    range=(0.0, 1.0),
)
def pointing_game(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    truth: Bool[Tensor, "N H W"],
    *,
    tolerance: Magnitude = 15.0,
) -> Float[Tensor, " N"]:
    r"""1 if the pixel of most evidence is on the object, or less than `tolerance` pixels from it; else 0.

    Does the strongest pixel hit the object?

    Where pixels tie for the maximum, the share of them that hit counts: what a tie broken at random
    gives on average.

    Formula:
        \mathbb{1}\big[\mathrm{dist}(\arg\max_i A_i,\, T) < \tau\big]

        $A_i$: the evidence of pixel i, its channels' sum.
        $T$: the object.
        $\tau$: `tolerance`, in pixels.
        $\mathrm{dist}$: the distance.

    Args:
        probe: the evidence.
        attribution: the maps.
        truth: where the object is.
        tolerance: in pixels of the input, which the paper's were some 224 of: a disc of this radius around
            the maximum must meet the object.

    Returns:
        (N,), 0 or 1, or between them for ties. The paper's accuracy is its mean over the pictures of a class,
        and then over classes.

    Cost:
        None.

    Source:
        the section on the pointing game; the disc is that of TorchRay's `PointingGame`,
        |x - maximum|^2 < tolerance^2.

    Strengths:
        One bit, easily read, with a long record of published numbers.

    Weaknesses:
        It cannot tell a map of the object from one that marks the centre, where photographs have their
            objects (a blob in the centre hits 70 of 100 in VOC 2007), and does not look at any pixel
            but the strongest.

    See Also:
        energy-pointing-game, localisation-auc

    Example:
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> map, truth = torch.zeros(1, 1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.bool)
        >>> map[0, 0, 2, 3], truth[0, 2:4, 5:8] = 1.0, True
        >>> x = torch.rand(1, 3, 8, 8)
        >>> [measure(net, x, map, "pointing-game", truth=truth, tolerance=t).value for t in (0, 3)]
        [tensor([0.], dtype=torch.float64), tensor([1.], dtype=torch.float64)]
    """
    from scipy.ndimage import distance_transform_edt

    def hits(evidence: Tensor, inside: Tensor) -> Tensor:
        away = torch.from_numpy(distance_transform_edt((~inside).numpy()))
        hit = inside | (away < tolerance)
        return hit[evidence == evidence.max()].double().mean()

    return of_each_object("pointing-game", probe, attribution, truth, hits)
