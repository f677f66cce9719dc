"""Weighted least squares with HC3 standard errors: what all linear surrogates share.

Standard errors are HC3 sandwiches: the squared residuals of a surrogate grow where the model bends, so the
usual homoscedastic formula is wrong here, and the weights let a few near samples dominate, which HC0 and HC1
do not see. HC3 divides each residual by one minus its leverage, the closed form of the jackknife. They say
how far the coefficients would move if other samples had been drawn, not how well a linear surrogate fits.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Fit:
    """A weighted linear surrogate.

    Attributes:
        coefficients: (d,), zero for features that were not chosen.
        intercept: what the surrogate says of an all-zero row.
        r2: weighted coefficient of determination, LIME's measure of local fidelity; 1 for constant scores.
        stderr: (d,) standard errors of `coefficients`, given the choice; zero where not chosen, infinite
            where they rest on a single sample.
        chosen: indices of the chosen features, in the order they were chosen.
    """

    coefficients: Float[Tensor, "d"]
    intercept: float
    r2: float
    stderr: Float[Tensor, "d"]
    chosen: Int[Tensor, "k"]

    def predict(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """What the surrogate says of rows."""
        return self.intercept + z.double() @ self.coefficients


@dataclass(frozen=True, eq=False)
class Centred:
    """Samples around their weighted means, which takes the free intercept out of the equations."""

    x: Tensor  # (n, k)
    y: Tensor  # (n,)
    w: Tensor  # (n,)
    x_mean: Tensor  # (k,)
    y_mean: Tensor  # ()
    gram: Tensor  # X'WX, (k, k)
    moment: Tensor  # X'Wy, (k,)

    @staticmethod
    def of(z: Tensor, y: Tensor, weights: Tensor) -> "Centred":
        """Rows z, their scores y and weights, around the weighted means."""
        z, y, w = z.double(), y.double(), weights.double()
        share = w / w.sum()
        x_mean, y_mean = share @ z, share @ y
        x, y = z - x_mean, y - y_mean
        weighted = x * w[:, None]
        return Centred(x, y, w, x_mean, y_mean, weighted.T @ x, weighted.T @ y)

    def residualise(self, coefficients: Tensor) -> "Centred":
        """The same samples with what `coefficients` explain taken off their scores."""
        y = self.y - self.x @ coefficients
        y_mean = self.y_mean - self.x_mean @ coefficients
        return Centred(
            self.x, y, self.w, self.x_mean, y_mean, self.gram, self.moment - self.gram @ coefficients
        )


def fit_of(
    centred: Centred, coefficients: Tensor, inverse: Tensor, chosen: Tensor, d: int, groups: Tensor | None
) -> Fit:
    """The `Fit` of d features with these coefficients of the chosen; `inverse` is of the penalised Gram."""
    residual = centred.y - centred.x @ coefficients
    influence = (centred.x * centred.w[:, None]) @ inverse  # (n, k)
    # The first term is the intercept's share.
    leverage = centred.w / centred.w.sum() + (influence * centred.x).sum(1)
    stderr = hc3_errors(influence, residual, leverage, groups)
    return Fit(
        coefficients=spread_out(coefficients, chosen, d),
        intercept=float(centred.y_mean - centred.x_mean @ coefficients),
        r2=r_squared(centred.y + centred.y_mean, residual, centred.w),
        stderr=spread_out(stderr, chosen, d),
        chosen=chosen,
    )


def hc3_errors(influence: Tensor, residual: Tensor, leverage: Tensor, groups: Tensor | None) -> Tensor:
    """HC3 standard errors: sqrt(sum_g (sum_{i in g} influence_i residual_i / (1 - leverage_i))^2).

    Where some rows were not drawn, the influence of those drawn does not sum to zero, and only its spread
    counts.
    """
    if groups is not None:
        drawn = groups >= 0
        influence, residual, leverage = influence[drawn], residual[drawn], leverage[drawn]
    if (leverage > 1 - 1e-9).any():  # the surrogate passes through a sample, so its residual says nothing
        return torch.full_like(influence[0], torch.inf)
    moves = influence * (residual / (1 - leverage))[:, None]
    if groups is not None:
        ids, which = groups[drawn].unique(return_inverse=True)
        moves = torch.zeros(len(ids), moves.shape[1], dtype=moves.dtype, device="cpu").index_add_(
            0, which, moves
        )
        if not drawn.all():
            moves = moves - moves.mean(0) if len(ids) != 1 else moves + torch.inf
    return moves.square().sum(0).sqrt()


def r_squared(y: Tensor, residual: Tensor, w: Tensor) -> float:
    """The weighted coefficient of determination; 1 for constant scores."""
    spread = float((w * (y - (w @ y) / w.sum()) ** 2).sum())
    # Constant scores differ from their mean by rounding only; there is nothing left to explain.
    rounding = (len(y) * torch.finfo(torch.float64).eps * float(y.abs().max())) ** 2 * float(w.sum())
    return 1.0 if spread <= rounding else 1 - float((w * residual**2).sum()) / spread


def inverse_of(gram: Tensor) -> Tensor:
    """The inverse of a symmetric matrix, or its pseudoinverse where it has none."""
    factor, failed = torch.linalg.cholesky_ex(gram)
    # A pivot of rounding size means that the column follows from those before it.
    regular = not int(failed) and bool((factor.diagonal() ** 2 > 1e-11 * gram.diagonal()).all())
    inverse: Tensor = torch.cholesky_inverse(factor) if regular else torch.linalg.pinv(gram, hermitian=True)
    return inverse


def spread_out(values: Tensor, chosen: Tensor, d: int) -> Tensor:
    """Values of the chosen among d features, zero elsewhere."""
    return torch.zeros(d, dtype=torch.float64, device="cpu").index_copy_(0, chosen, values)
