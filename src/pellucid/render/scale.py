"""From raw evidence to [0, 1]: the one normalisation in Pellucid."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import InvalidValue

Reduce = Literal["sum", "max-abs"]
Sign = Literal["positive", "negative", "absolute"]


def merge_channels(attribution: Float[Tensor, "N D H W"], reduce: Reduce = "sum") -> Float[Tensor, "N H W"]:
    """One signed value per pixel, in float64.

    `"sum"` adds the channels, so that totals (completeness) are kept; `"max-abs"` takes the channel of
    largest magnitude with its sign.

    >>> x = torch.tensor([1.0, -3.0, 1.0]).reshape(1, 3, 1, 1)
    >>> merge_channels(x).item(), merge_channels(x, "max-abs").item()
    (-1.0, -3.0)
    """
    exact = attribution.detach().to("cpu", torch.float64)
    match reduce:
        case "sum":
            return exact.sum(1)
        case "max-abs":
            return exact.gather(1, exact.abs().argmax(1, keepdim=True)).squeeze(1)
    raise InvalidValue(f'reduce must be "sum" or "max-abs"; got {reduce!r}.')


def magnitudes(values: Float[Tensor, "*shape"], sign: Sign = "positive") -> Float[Tensor, "*shape"]:
    """The part of signed `values` that `sign` asks for, as values >= 0; zero stays zero."""
    match sign:
        case "positive":
            return values.clamp(min=0)
        case "negative":
            return (-values).clamp(min=0)
        case "absolute":
            return values.abs()
    raise InvalidValue(f'sign must be "positive", "negative" or "absolute"; got {sign!r}.')


def limits(
    values: Float[Tensor, "N H W"],
    *,
    percentile: float = 100.0,
    shared: bool = False,
    vmax: float | None = None,
) -> Float[Tensor, "N"]:
    """The magnitude that becomes 1, for each image; 0 for a map that is zero everywhere.

    It is `vmax`, or else the `percentile` of the magnitudes: of each image, or of all of them together if
    `shared`. A map so sparse that its percentile is 0 is scaled by its maximum, so that it does not vanish.

    Raises:
        InvalidValue: `percentile` outside (0, 100], or `vmax` not positive and finite.
    """
    if not 0 < percentile <= 100:
        raise InvalidValue(f"percentile must be above 0 and at most 100; got {percentile}.")
    if vmax is not None:
        if not 0 < vmax < float("inf"):
            raise InvalidValue(f"vmax must be positive and finite; got {vmax}.")
        return torch.full((len(values),), float(vmax), dtype=torch.float64, device="cpu")
    flat = values.abs().double().reshape(1 if shared else len(values), -1).numpy()
    if flat.size == 0:
        return torch.zeros(len(values), dtype=torch.float64, device="cpu")
    clipped, highest = np.percentile(flat, percentile, axis=1), flat.max(1)
    return torch.from_numpy(np.where(clipped > 0, clipped, highest)).expand(len(values)).clone()


def normalise(values: Float[Tensor, "N H W"], limit: Float[Tensor, "N"]) -> Float[Tensor, "N H W"]:
    """`values / limit`, clipped to [-1, 1], as float32; zeros where the limit is zero, never NaN."""
    safe = limit.where(limit > 0, 1.0)[:, None, None]
    return (values.double() / safe).clamp(-1, 1).float()


def top_share(values: Float[Tensor, "H W"], share: float = 0.5) -> Bool[Tensor, "H W"]:
    """The strongest pixels that together hold `share` of the positive evidence.

    Pixels are taken from the highest value down until their sum reaches `share` of the sum of all positive
    values; pixels equal to the last one taken are taken too, so the answer does not depend on their order.
    Nothing is taken from a map without positive values.

    Raises:
        InvalidValue: `share` outside (0, 1].

    >>> top_share(torch.tensor([[4.0, 3.0], [3.0, -9.0]]), 0.4)
    tensor([[ True, False],
            [False, False]])
    """
    if not 0 < share <= 1:
        raise InvalidValue(
            f"share must be above 0 and at most 1, e.g. 0.5 for half of the evidence; got {share}."
        )
    positive = values.detach().cpu().double().clamp(min=0)
    ordered = positive.flatten().sort(descending=True).values
    running = ordered.cumsum(0)
    if running.numel() == 0 or running[-1] == 0:
        return torch.zeros_like(positive, dtype=torch.bool)
    last = int((running < share * running[-1]).sum())  # the first index at which the sum is reached
    return positive >= ordered[last].clamp(min=torch.finfo(torch.float64).tiny)


def bounding_box(values: Float[Tensor, "H W"], share: float = 0.5) -> tuple[int, int, int, int] | None:
    """The smallest box around `top_share(values, share)`: left, top, right, bottom in pixels, ends excluded.

    None for a map without positive values.

    >>> bounding_box(torch.eye(4)[1:3], share=1.0)
    (1, 0, 3, 2)
    """
    rows, columns = top_share(values, share).nonzero(as_tuple=True)
    if not len(rows):
        return None
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
