"""BayLIME's linear surrogate: regression with a prior over the coefficients."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.perturb.least_squares import Centred, Fit, fit_of, inverse_of, spread_out
from pellucid.methods.perturb.surrogate import Selection, select


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
    centred = Centred.of(z[:, chosen], y, weights)
    mean = torch.zeros(len(chosen), dtype=torch.float64, device="cpu")
    if prior_mean is not None:
        mean = prior_mean.double()[chosen]
    # Around the prior mean the prior is centred: the difference is found and added back.
    around = centred.residualise(mean)
    alpha, lambda_ = _max_evidence(around, noise_precision, prior_precision)
    inverse = inverse_of(
        around.gram + lambda_ / alpha * torch.eye(len(chosen), dtype=torch.float64, device="cpu")
    )
    found = fit_of(centred, mean + inverse @ around.moment, inverse, chosen, z.shape[1], groups)
    deviation = spread_out((inverse.diagonal() / alpha).sqrt(), chosen, z.shape[1])
    return Posterior(found, deviation, alpha, lambda_)


def _max_evidence(centred: Centred, alpha: float | None, lambda_: float | None) -> tuple[float, float]:
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
