"""DeepLIFT's multipliers of single functions: m with sum(m (x - x')) = f(x) - f(x'), exactly.

Each gives a surrogate of the function: linear in x, in its graph, with the multipliers as coefficients. Its
value is not the function's. x0 and y0 are the reference's x' and y'.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def quotient(x: Tensor, x0: Tensor, y: Tensor, y0: Tensor, slope: Tensor) -> Tensor:
    """(y - y0) / (x - x0), or the slope in between where that explains the change as well as rounding allows.

    There the quotient is one of rounding errors. Where the slope does not, as across a kink, the change is
    larger than they are.

    Example:
        >>> x, x0 = torch.tensor([3.0, 1.0]), torch.tensor([-1.0, 1.0])
        >>> quotient(x, x0, x.relu(), x0.relu(), torch.tensor([1.0, 1.0]))
        tensor([0.7500, 1.0000])
    """
    change, gained, rounding = y - y0, x - x0, 4 * torch.finfo(y.dtype).eps
    slope = torch.where(slope.isfinite(), slope, 0)
    same = gained.abs() <= (x.abs() + x0.abs()).mul_(rounding)
    same |= torch.addcmul(change, slope, gained, value=-1).abs_() <= (y.abs() + y0.abs()).mul_(rounding)
    return torch.where(same, slope, change.div_(gained))


def divided(a: Tensor, a0: Tensor, b: Tensor, b0: Tensor) -> Tensor:
    """q = a / b: as q b = a, dq = (da - (q + q') / 2 db) / ((b + b') / 2), as small as q and 1 / b are.

    Where b changes its sign, a / b is a times 1 / b.
    """
    with torch.no_grad():
        same_sign = b * b0 > 0
        of_a = torch.where(same_sign, 2 / (b + b0), (1 / b + 1 / b0) / 2)
        of_b = torch.where(same_sign, (a / b + a0 / b0) / (b + b0), (a + a0) / (2 * b * b0))
    return of_a * a - of_b * b


def log_sum_exp(z: Tensor, z0: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """log(sum(exp(z))): both sums are taken relative to the larger of both maxima."""
    x, x0 = _finite(z), _finite(z0)
    top = torch.maximum(x, x0).amax(dim, keepdim=True)
    e, e0 = (x - top).exp(), (x0 - top).exp()
    s, s0 = e.sum(dim, keepdim=True), e0.sum(dim, keepdim=True)
    log, log0 = (values.logsumexp(dim, keepdim=True) - top for values in (x, x0))
    outer = quotient(s, s0, log, log0, 2 / (s + s0))
    inner = quotient(x, x0, e, e0, (torch.lerp(x, x0, 0.5) - top).exp())
    return outer * (inner * z).sum(dim, keepdim=True)


def softmax(z: Tensor, z0: Tensor, dim: int) -> Tensor:
    """exp(z - log(sum(exp(z))))."""
    u, u0 = (_finite(values).log_softmax(dim) for values in (z, z0))
    return quotient(u, u0, u.exp(), u0.exp(), torch.lerp(u, u0, 0.5).exp()) * (z - log_sum_exp(z, z0, dim))


def chosen(x: Tensor, x0: Tensor, place: Tensor, change: Tensor) -> Tensor:
    """A maximum's whole change goes to where the larger one was found, along the last axis.

    There x - x' is at least as large and of the same sign, so the multiplier lies between 0 and 1.
    """
    largest = x.gather(-1, place)
    gained = largest.detach() - x0.gather(-1, place)
    return torch.where(gained == 0, 1, change / gained) * largest


def maximum(x: Tensor, x0: Tensor, dims: int | Sequence[int], keepdim: bool) -> Tensor:
    """The maximum over axes, of all if there are none."""
    axes = sorted(d % x.ndim for d in ((dims,) if isinstance(dims, int) else dims or range(x.ndim)))
    others = [d for d in range(x.ndim) if d not in axes]
    flat, flat0 = (values.permute(*others, *axes).flatten(len(others)) for values in (x, x0))
    (y, at), (y0, at0) = (values.detach().max(-1, keepdim=True) for values in (flat, flat0))
    shape = [1 if d in axes else size for d, size in enumerate(x.shape) if keepdim or d not in axes]
    return chosen(flat, flat0, torch.where(y >= y0, at, at0), y - y0).view(shape)


def _finite(z: Tensor) -> Tensor:
    """Scores of what is hidden, minus infinity, as a number that can be subtracted."""
    return z.detach().clamp(min=torch.finfo(z.dtype).min / 4)
