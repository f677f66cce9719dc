"""LIME's linear surrogate over an interpretable representation, and its choice of features.

A sample is a row of z: which words, superpixels or conditions it keeps (1) or lost (0), or scaled values of
a table; row 0 is what is explained. No model and no random numbers here: rows, scores and weights come in,
coefficients go out, in float64. All work on the samples is matrix products, O(n d^2).
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.perturb.least_squares import Centred, Fit, fit_of, inverse_of

Selection = Literal["auto", "forward", "highest", "none"]
"""How LIME chooses features: forward selection, the highest |coefficient x value|, or by their number."""
FORWARD_AT_MOST = 6  # features up to which "auto" means "forward", as in the lime package


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
    centred = Centred.of(z[:, chosen], y, weights)
    inverse = inverse_of(centred.gram + ridge * torch.eye(len(chosen), dtype=torch.float64, device="cpu"))
    return fit_of(centred, inverse @ centred.moment, inverse, chosen, z.shape[1], groups)


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
        return _forward(Centred.of(z, y, weights), min(features, d))
    strength = (fit(z, y, weights, ridge=0.01).coefficients * z[0]).abs()
    return strength.sort(descending=True, stable=True).indices[:features]


def _forward(centred: Centred, count: int) -> Int[Tensor, "k"]:
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
