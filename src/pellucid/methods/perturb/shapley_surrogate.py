"""KernelSHAP's linear surrogate: least squares whose coefficients sum to what all features add."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.perturb.least_squares import Fit, hc3_errors, inverse_of, r_squared


def shapley_fit(
    z: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
    weights: Float[Tensor, "n"],
    empty: float,
    full: float,
    *,
    groups: Int[Tensor, "n"] | None = None,
) -> Fit:
    """KernelSHAP's surrogate (arXiv:1705.07874): least squares whose coefficients sum to full - empty.

    With all 2^d - 2 coalitions, weighted by the Shapley kernel, the coefficients are the Shapley values. Then
    nothing is left to chance: the standard errors, which take the rows for random draws, do not apply.

    Args:
        z: coalitions, rows of 0 and 1.
        y: their scores.
        weights: their weights; a constant factor is free.
        empty: the score of no feature, the intercept.
        full: the score of all features.
        groups: as of `fit`.

    Raises:
        InvalidValue: fewer independent coalitions than the d - 1 that determine the coefficients.
    """
    d, gain = z.shape[1], full - empty
    z, y, w = z.double(), y.double(), weights.double()
    # The last coefficient is what the others leave of the gain, so it drops out of the least squares.
    x = z[:, :-1] - z[:, -1:]
    left = y - empty - gain * z[:, -1]
    gram = (x * w[:, None]).T @ x
    rank = int(torch.linalg.matrix_rank(gram, hermitian=True)) if d > 1 else 0
    if rank < d - 1:
        raise InvalidValue(
            f"{d} features need at least {d - 1} independent coalitions; the {len(z)} drawn hold {rank}: "
            "raise samples, or use fewer segments."
        )
    inverse = inverse_of(gram)
    others = inverse @ (x.T @ (w * left))
    coefficients = torch.cat([others, gain - others.sum(0, keepdim=True)])
    residual = y - empty - z @ coefficients
    influence = (x * w[:, None]) @ inverse  # (n, d - 1): how far a unit of residual moves each coefficient
    leverage = (influence * x).sum(1)
    errors = hc3_errors(
        torch.cat([influence, -influence.sum(1, keepdim=True)], 1), residual, leverage, groups
    )
    return Fit(
        coefficients,
        float(empty),
        r_squared(y, residual, w),
        errors,
        torch.arange(d, dtype=torch.long, device="cpu"),
    )
