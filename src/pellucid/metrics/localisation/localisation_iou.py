"""Localisation by intersection over union: whether the largest strong region is the object."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.metrics.definition import undefined
from pellucid.metrics.localisation.energy_pointing_game import box
from pellucid.metrics.objects import of_each_object
from pellucid.metrics.options import Share
from pellucid.metrics.registry import metric
from pellucid.probe import Probe


@metric(
    "localisation-iou",
    paper="Zhou et al. 2016, arXiv:1512.04150",
    higher_is_better=True,
    range=(0.0, 1.0),
)
def localisation_iou(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    truth: Bool[Tensor, "N H W"],
    *,
    threshold: Share = 0.2,
    region: Literal["box", "mask"] = "box",
) -> Float[Tensor, " N"]:
    r"""|B ∩ T| / |B ∪ T|, B the box of the largest connected part of {A >= threshold max A}, T the object's.

    Draw a box around the strongest part of the map, and compare it with the object's.

    Evidence is the channels' sum; pixels are connected along their sides, and of parts of equal size the
    one with most evidence counts. The papers call 0.5 and more a hit.

    Formula:
        \frac{|B \cap T|}{|B \cup T|}

        $B$: the box of the largest connected part of {A >= threshold max A}.
        $T$: the object's box.

    Args:
        probe: the evidence.
        attribution: the maps.
        truth: where the object is: its box or its mask.
        threshold: share of the map's maximum (CAM 0.2; Grad-CAM, arXiv:1610.02391, 0.15).
        region: "box" compares the smallest boxes around both, as the papers do; "mask" the pixels themselves.

    Returns:
        (N,); a map without positive evidence has no value.

    Cost:
        None.

    Source:
        section 3.2.

    Strengths:
        The measure of weakly supervised localisation: comparable with that literature.

    Weaknesses:
        It cannot tell whether the model uses the object: a model may decide by its head alone, of which
            the right map has a low value. It depends much on the threshold, whose best value differs
            from method to method.

    See Also:
        pointing-game, localisation-auc

    Example:
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> truth = torch.zeros(1, 8, 8, dtype=torch.bool)
        >>> truth[0, 2:4, 2:4] = True
        >>> map = torch.zeros(1, 1, 8, 8)
        >>> map[0, 0, 2:4, 2:6], map[0, 0, 7, 7] = 1.0, 3.0
        >>> measure(net, torch.rand(1, 3, 8, 8), map, "localisation-iou", truth=truth).value
        tensor([0.5000], dtype=torch.float64)
    """

    def overlap(evidence: Tensor, inside: Tensor) -> Tensor:
        if evidence.max() <= 0:
            raise undefined("localisation-iou", "it has no positive evidence")
        found = _largest(evidence, evidence >= threshold * evidence.max())
        if region == "box":
            found, inside = box(found), box(inside)
        return (found & inside).sum().double() / (found | inside).sum()

    return of_each_object("localisation-iou", probe, attribution, truth, overlap)


def _largest(evidence: Float[Tensor, "H W"], strong: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    from scipy.ndimage import label

    numbers, count = label(strong.numpy())
    parts = torch.from_numpy(numbers).long()
    sizes = parts.flatten().bincount(minlength=count + 1)[1:]
    sums = evidence.new_zeros(count + 1).index_add(0, parts.flatten(), evidence.flatten())[1:]
    largest = torch.where(sizes == sizes.max(), sums, -torch.inf).argmax()
    return parts == largest + 1
