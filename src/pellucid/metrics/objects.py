"""Where an object is, and how much of the evidence lies there."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.metrics.definition import undefined
from pellucid.metrics.pixels import per_pixel
from pellucid.probe import Probe, of_each


def of_each_object(
    name: str,
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    truth: Bool[Tensor, "N H W"],
    judge: Callable[[Float[Tensor, "H W"], Bool[Tensor, "H W"]], Float[Tensor, ""] | float],
    pool: Callable[[Float[Tensor, "N D H W"]], Float[Tensor, "N H W"]] = per_pixel,
) -> Float[Tensor, " N"]:
    """What `judge(evidence of each pixel, object)` gives for each image that has an object.

    Raises:
        InvalidValue: `truth` is of another size than the maps.
    """
    maps = pool(attribution)
    if truth.shape != maps.shape:
        raise InvalidValue(
            f"truth must say of each pixel whether it is the object's, {tuple(maps.shape)}; "
            f"got {tuple(truth.shape)}."
        )

    def one(probe: Probe, image: int) -> Tensor:
        if not truth[image].any():
            raise undefined(name, "the picture has no object")
        return torch.as_tensor(judge(maps[image], truth[image]), dtype=torch.float64, device="cpu")

    return torch.stack(of_each(probe, one))


def share_inside(name: str, evidence: Float[Tensor, "H W"], inside: Bool[Tensor, "H W"]) -> Float[Tensor, ""]:
    """The share of positive evidence that lies inside.

    Raises:
        InvalidValue: there is none.
    """
    positive = evidence.clamp(min=0)
    total = positive.sum()
    if total == 0:
        raise undefined(name, "it has no positive evidence")
    return positive[inside].sum() / total


def share_of_top(
    evidence: Float[Tensor, "H W"], inside: Bool[Tensor, "H W"], count: int
) -> Float[Tensor, ""]:
    """The share of the `count` pixels of most evidence that lie inside.

    Where pixels tie for the last places, each has the same chance of one: the mean over all orders.

    Example:
        >>> inside = torch.tensor([[True, False, False]])
        >>> share_of_top(torch.tensor([[1.0, 1.0, 0.0]]), inside, 1)
        tensor(0.5000, dtype=torch.float64)
    """
    least = evidence.flatten().topk(count).values[-1]
    above, tied = evidence > least, evidence == least
    places = (count - above.sum()).double() / tied.sum()
    return ((above & inside).sum() + places * (tied & inside).sum()) / count
