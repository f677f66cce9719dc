"""Linear surrogates over interpretable representations: LIME's, BayLIME's and KernelSHAP's regressions.

A sample is a row of z: which words, superpixels or conditions it keeps (1) or lost (0), or scaled values of
a table; row 0 is what is explained. No model and no random numbers here: rows, scores and weights come in,
coefficients go out, in float64. All work on the samples is matrix products, O(n d^2).

Standard errors are HC3 sandwiches: the squared residuals of a surrogate grow where the model bends, so the
usual homoscedastic formula is wrong here, and the weights let a few near samples dominate, which HC0 and HC1
do not see. HC3 divides each residual by one minus its leverage, the closed form of the jackknife. They say
how far the coefficients would move if other samples had been drawn, not how well a linear surrogate fits.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.errors import InvalidValue

Selection = Literal["auto", "forward", "highest", "none"]
"""How LIME chooses features: forward selection, the highest |coefficient x value|, or by their number."""

FORWARD_AT_MOST = 6  # features up to which "auto" means "forward", as in the lime package


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
class Posterior:
    """A Bayesian surrogate: the fit at the posterior mean, and what the posterior knows besides.

    Attributes:
        fit: the surrogate at the posterior mean.
        deviation: (d,) posterior standard deviations of the coefficients; zero where not chosen.
        noise_precision: alpha, one over the variance of scores around the surrogate.
        prior_precision: lambda, one over the prior variance of coefficients.
    """

    fit: Fit
    deviation: Float[Tensor, "d"]
    noise_precision: float
    prior_precision: float


# --- distances and weights -------------------------------------------------------------------------------


def cosine_distance(z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
    """Cosine distance of binary rows to the all-ones row: 1 - sqrt(m / d) for m ones; 1 for none.

    >>> cosine_distance(torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])).tolist()
    [0.0, 0.5, 1.0]
    """
    return 1 - z.double().mean(1).sqrt()


def euclidean_distance(z: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
    """Euclidean distance of rows to row 0, the one that is explained."""
    z = z.double()
    return (z - z[0]).square().sum(1).sqrt()


def kernel(distance: Float[Tensor, "n"], width: float) -> Float[Tensor, "n"]:
    """LIME's exponential kernel sqrt(exp(-distance^2 / width^2)), the weights of samples."""
    return torch.exp(-(distance.double() ** 2) / (2 * width**2))


# --- LIME ------------------------------------------------------------------------------------------------


def fit(
    z: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
    weights: Float[Tensor, "n"],
    *,
    ridge: float = 1.0,
    features: int | None = None,
    selection: Selection = "auto",
    groups: Int[Tensor, "n"] | None = None,
) -> Fit:
    """LIME's surrogate: argmin_b sum_i w_i (y_i - b_0 - z_i b)^2 + ridge |b|^2, over chosen features.

    Args:
        z: rows of the interpretable representation; row 0 is what is explained.
        y: scores of the samples.
        weights: their weights, at least 0.
        ridge: the penalty; the intercept is free of it.
        features: how many features may have a coefficient; None means all.
        selection: how they are chosen, see `select`.
        groups: for rows that were not drawn independently, a number per row, equal within a group (antithetic
            pairs, say), negative for rows that were not left to chance; it only enters the standard errors.

    >>> z = torch.tensor([[1.0, 1], [0, 1], [1, 0], [0, 0]])
    >>> fit(z, 2 * z[:, 0] - z[:, 1] + 3, torch.ones(4), ridge=0.0).coefficients.round(decimals=9).tolist()
    [2.0, -1.0]
    """
    chosen = select(z, y, weights, features, selection)
    centred = _Centred.of(z[:, chosen], y, weights)
    inverse = _inverse(centred.gram + ridge * torch.eye(len(chosen), dtype=torch.float64, device="cpu"))
    return _finished(centred, inverse @ centred.moment, inverse, chosen, z.shape[1], groups)


def select(
    z: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
    weights: Float[Tensor, "n"],
    features: int | None,
    selection: Selection = "auto",
) -> Int[Tensor, "k"]:
    """The features that get a coefficient, chosen as the lime package chooses them.

    "forward" adds, one by one, the feature that raises the weighted R2 of an unpenalised fit most; "highest"
    takes the largest |coefficient x value in row 0| of a ridge of 0.01 on all features; "auto" is "forward"
    up to 6 features and "highest" above; "none" keeps all, in their order.
    """
    d = z.shape[1]
    if features is None or selection == "none":
        return torch.arange(d, dtype=torch.long, device="cpu")
    if features < 1:
        raise InvalidValue(f"features must be at least 1, or None for all; got {features}.")
    if selection == "forward" or (selection == "auto" and features <= FORWARD_AT_MOST):
        return _forward(_Centred.of(z, y, weights), min(features, d))
    strength = (fit(z, y, weights, ridge=0.01).coefficients * z[0]).abs()
    return strength.sort(descending=True, stable=True).indices[:features]


def _forward(centred: "_Centred", count: int) -> Int[Tensor, "k"]:
    """Forward selection by sweeping the Gram matrix: what is left of it is orthogonal to those chosen."""
    gram, moment = centred.gram.clone(), centred.moment.clone()
    floor = 1e-10 * gram.diagonal()  # below it, a feature is a combination of those chosen: it gains nothing
    free = torch.ones(len(moment), dtype=torch.bool, device="cpu")
    chosen = []
    for _ in range(count):
        spread = gram.diagonal()
        gain = torch.where(spread > floor, moment**2 / spread, 0.0).masked_fill(~free, -1.0)
        best = int(gain.argmax())
        chosen.append(best)
        free[best] = False
        if gain[best] > 0:
            share = gram[:, best] / gram[best, best]
            moment = moment - share * moment[best]
            gram = gram - torch.outer(share, gram[best])
    return torch.tensor(chosen, dtype=torch.long, device="cpu")


# --- BayLIME ---------------------------------------------------------------------------------------------


def bayes_fit(
    z: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
    weights: Float[Tensor, "n"],
    *,
    prior_mean: Float[Tensor, "d"] | None = None,
    prior_precision: float | None = None,
    noise_precision: float | None = None,
    features: int | None = None,
    selection: Selection = "auto",
    groups: Int[Tensor, "n"] | None = None,
) -> Posterior:
    """BayLIME's surrogate (arXiv:2012.03058): mu_n = (lambda I + alpha X'WX)^-1 (lambda mu_0 + alpha X'W y).

    Precisions that are None are fitted by maximising the evidence (MacKay's fixed point, as scikit-learn's
    BayesianRidge). The paper's modes: "non-informative", both fitted and no prior mean; "informative", all
    given; "informative with alpha fitted", `prior_mean` and `prior_precision` given. With lambda / alpha = 1
    and no prior mean it is LIME's ridge; as lambda grows, it becomes the prior mean.

    This is the exact posterior mean. The authors' code fits around zero and adds lambda sigma_ii mu_0
    afterwards, which ignores how features covary.

    Args:
        z: rows of the interpretable representation, as of `fit`.
        y: scores of the samples.
        weights: their weights.
        prior_mean: mu_0; None means 0.
        prior_precision: lambda > 0.
        noise_precision: alpha > 0.
        features: how many features may have a coefficient; None means all.
        selection: how they are chosen, see `select`.
        groups: rows that were drawn together.

    Raises:
        InvalidValue: a precision that is not positive.
    """
    for name, value in (("prior_precision", prior_precision), ("noise_precision", noise_precision)):
        if value is not None and not 0 < value < float("inf"):
            raise InvalidValue(f"{name} must be positive and finite, or None to be fitted; got {value}.")
    chosen = select(z, y, weights, features, selection)
    centred = _Centred.of(z[:, chosen], y, weights)
    mean = torch.zeros(len(chosen), dtype=torch.float64, device="cpu")
    if prior_mean is not None:
        mean = prior_mean.double()[chosen]
    # Around the prior mean the prior is centred: the difference is found and added back.
    around = centred.residualise(mean)
    alpha, lambda_ = _evidence(around, noise_precision, prior_precision)
    inverse = _inverse(
        around.gram + lambda_ / alpha * torch.eye(len(chosen), dtype=torch.float64, device="cpu")
    )
    found = _finished(centred, mean + inverse @ around.moment, inverse, chosen, z.shape[1], groups)
    deviation = _spread_out((inverse.diagonal() / alpha).sqrt(), chosen, z.shape[1])
    return Posterior(found, deviation, alpha, lambda_)


def _evidence(centred: "_Centred", alpha: float | None, lambda_: float | None) -> tuple[float, float]:
    """The precisions (alpha, lambda) that maximise the evidence; given ones stay."""
    if alpha is not None and lambda_ is not None:
        return alpha, lambda_
    vague = 1e-6  # the rate and shape of both Gamma hyperpriors, as in scikit-learn
    total = float(centred.w.sum())
    values, vectors = torch.linalg.eigh(centred.gram)
    values, moment = values.clamp(min=0), vectors.T @ centred.moment
    x = centred.x @ vectors
    a = alpha or 1 / (float((centred.w * centred.y**2).sum()) / total + torch.finfo(torch.float64).eps)
    b = lambda_ or 1.0
    before = torch.full_like(moment, torch.inf)
    for _ in range(1000):
        coefficients = moment / (values + b / a)
        if (coefficients - before).abs().sum() <= 1e-9 * coefficients.abs().sum():
            break
        before = coefficients
        determined = float((a * values / (b + a * values)).sum())  # MacKay's gamma
        misfit = float((centred.w * (centred.y - x @ coefficients) ** 2).sum())
        b = lambda_ or (determined + 2 * vague) / (float((coefficients**2).sum()) + 2 * vague)
        a = alpha or (total - determined + 2 * vague) / (misfit + 2 * vague)
    return a, b


# --- KernelSHAP ------------------------------------------------------------------------------------------


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
    inverse = _inverse(gram)
    others = inverse @ (x.T @ (w * left))
    coefficients = torch.cat([others, gain - others.sum(0, keepdim=True)])
    residual = y - empty - z @ coefficients
    influence = (x * w[:, None]) @ inverse  # (n, d - 1): how far a unit of residual moves each coefficient
    leverage = (influence * x).sum(1)
    errors = _sandwich(torch.cat([influence, -influence.sum(1, keepdim=True)], 1), residual, leverage, groups)
    return Fit(
        coefficients,
        float(empty),
        _r2(y, residual, w),
        errors,
        torch.arange(d, dtype=torch.long, device="cpu"),
    )


# --- what they share -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Centred:
    """Samples around their weighted means, which takes the free intercept out of the equations."""

    x: Tensor  # (n, k)
    y: Tensor  # (n,)
    w: Tensor  # (n,)
    x_mean: Tensor  # (k,)
    y_mean: Tensor  # ()
    gram: Tensor  # X'WX, (k, k)
    moment: Tensor  # X'Wy, (k,)

    @staticmethod
    def of(z: Tensor, y: Tensor, weights: Tensor) -> "_Centred":
        z, y, w = z.double(), y.double(), weights.double()
        share = w / w.sum()
        x_mean, y_mean = share @ z, share @ y
        x, y = z - x_mean, y - y_mean
        weighted = x * w[:, None]
        return _Centred(x, y, w, x_mean, y_mean, weighted.T @ x, weighted.T @ y)

    def residualise(self, coefficients: Tensor) -> "_Centred":
        """The same samples with what `coefficients` explain taken off their scores."""
        y = self.y - self.x @ coefficients
        y_mean = self.y_mean - self.x_mean @ coefficients
        return _Centred(
            self.x, y, self.w, self.x_mean, y_mean, self.gram, self.moment - self.gram @ coefficients
        )


def _finished(
    centred: _Centred, coefficients: Tensor, inverse: Tensor, chosen: Tensor, d: int, groups: Tensor | None
) -> Fit:
    """The `Fit` of d features with these coefficients of the chosen; `inverse` is of the penalised Gram."""
    residual = centred.y - centred.x @ coefficients
    influence = (centred.x * centred.w[:, None]) @ inverse  # (n, k)
    # The first term is the intercept's share.
    leverage = centred.w / centred.w.sum() + (influence * centred.x).sum(1)
    stderr = _sandwich(influence, residual, leverage, groups)
    return Fit(
        coefficients=_spread_out(coefficients, chosen, d),
        intercept=float(centred.y_mean - centred.x_mean @ coefficients),
        r2=_r2(centred.y + centred.y_mean, residual, centred.w),
        stderr=_spread_out(stderr, chosen, d),
        chosen=chosen,
    )


def _sandwich(influence: Tensor, residual: Tensor, leverage: Tensor, groups: Tensor | None) -> Tensor:
    """HC3 standard errors: sqrt(sum_g (sum_{i in g} pull_i residual_i / (1 - leverage_i))^2).

    Where some rows were not drawn, what those drawn pull does not add up to zero, and only its spread counts.
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


def _r2(y: Tensor, residual: Tensor, w: Tensor) -> float:
    spread = float((w * (y - (w @ y) / w.sum()) ** 2).sum())
    # Constant scores differ from their mean by rounding only; there is nothing left to explain.
    rounding = (len(y) * torch.finfo(torch.float64).eps * float(y.abs().max())) ** 2 * float(w.sum())
    return 1.0 if spread <= rounding else 1 - float((w * residual**2).sum()) / spread


def _inverse(gram: Tensor) -> Tensor:
    """The inverse of a symmetric matrix, or its pseudoinverse where it has none."""
    factor, failed = torch.linalg.cholesky_ex(gram)
    # A pivot of rounding size means that the column follows from those before it.
    regular = not int(failed) and bool((factor.diagonal() ** 2 > 1e-11 * gram.diagonal()).all())
    inverse: Tensor = torch.cholesky_inverse(factor) if regular else torch.linalg.pinv(gram, hermitian=True)
    return inverse


def _spread_out(values: Tensor, chosen: Tensor, d: int) -> Tensor:
    """Values of the chosen among d features, zero elsewhere."""
    return torch.zeros(d, dtype=torch.float64, device="cpu").index_copy_(0, chosen, values)
