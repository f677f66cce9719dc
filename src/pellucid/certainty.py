"""How well a sampled map is known, in one number, and what must be said of a map that says little."""

from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any

from jaxtyping import Float
from torch import Tensor

DOUBTFUL = 0.25
"""A sampled map whose relative error is larger says so."""
NEARLY = 0.1
"""A map whose values differ by no more than this share of the largest is called nearly constant."""


def height(value: Float[Tensor, "*shape"]) -> float:
    """How far the top decile of a map stands out from its median, which may be a mere constant.

    Example:
        >>> import torch
        >>> height(torch.tensor([7.0, 7.0, 7.0, 11.0]))
        4.0
    """
    return float(_top(value)[0].mean())


def relative_error(value: Float[Tensor, "*shape"], stderr: Float[Tensor, "*shape"]) -> float:
    """The standard error in the top decile of a map, as a share of that decile's height.

    Infinite for a constant map, in which nothing stands out.

    Example:
        >>> import torch
        >>> relative_error(torch.tensor([1.0, 1.0, 1.0, 5.0]), torch.tensor([0.5, 0.5, 0.5, 1.0]))
        0.25
    """
    apart, where = _top(value)
    stands = float(apart.mean())
    return float(stderr.flatten()[where].mean()) / stands if stands > 0 else float("inf")


def _top(value: Tensor) -> tuple[Tensor, Tensor]:
    """The tenth of a map that is farthest from its median: how far, and where."""
    apart = (value - value.median()).abs().flatten()
    values, indices = apart.topk(max(1, len(apart) // 10))
    return values, indices


def doubtful(error: float | None, stderr: Float[Tensor, "D H W"], options: Mapping[str, Any]) -> list[str]:
    """What to say of a sampled map that is hardly known, and how to know it better; else nothing.

    Args:
        error: its relative error; None for a constant map, and where it is unknown.
        stderr: its standard errors.
        options: those of the method.
    """
    more = "a larger smooth=" if options.get("smooth") else "more samples=, or samples='auto',"
    if not stderr.isfinite().all():
        return [f"How well the map is known cannot be told from so few samples: {more} would tell."]
    if error is None or error <= DOUBTFUL:
        return []
    return [
        f"The map is hardly known: where it is strongest its standard error is {error:.0%} of what stands "
        f"out. {more[0].upper()}{more[1:]} would lower it."
    ]


SURE, UNMOVED = 0.99, 1e-3
"""A probability from which on, and a change of it below which, its map says next to nothing."""


def flat(map: Float[Tensor, "*shape"], image: Float[Tensor, "C H W"]) -> str:
    """What to say of a map that prefers no place, and why where that is known; else nothing."""
    low, high = float(map.min()), float(map.max())
    top = max(abs(low), abs(high))
    if top == 0 or high - low > NEARLY * top:
        return ""
    if map.numel() == 1:
        return "The map is a single value: the layer has one cell for the whole image; choose an earlier one."
    why = ": the image is the same everywhere" if bool((image == image[:, :1, :1]).all()) else ""
    if low == high:
        return f"The map is constant: it prefers no place{why}."
    return (
        f"The map is nearly constant: its values differ by {(high - low) / top:.1%} of the largest, so that "
        f"the places it prefers say little{why}."
    )


def saturated(map: Float[Tensor, "*shape"], probability: float) -> str:
    """What to say of a map of changes of a probability that is near 1 and hardly changes; else nothing."""
    most = float(map.abs().max())
    if probability < SURE or most == 0 or most >= UNMOVED:
        return ""
    return (
        f"The probability is {probability:.4g} and hardly changes, whatever is hidden (at most {most:.1g} in "
        "the map): output='logit' says more."
    )


def typical(certainties: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The certainty of a batch, each image's being as in `Explanation.to_dict`: medians, None where unknown.

    Example:
        >>> some = {"relative_error": None, "r2": None, "relative_delta": None, "pixel_share": None}
        >>> typical([{"samples": n, **some} for n in (10, 30, 50)])["samples"]
        30
    """
    return {
        name: median_low(values)
        if (values := [c[name] for c in certainties if c[name] is not None])
        else None
        for name in ("samples", "relative_error", "r2", "relative_delta", "pixel_share")
    }
