"""How well a sampled map is known, in one number."""

from jaxtyping import Float
from torch import Tensor


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
