"""What LIME found out, as plain records: the features of a text or row, and the surrogate of one class."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Feature:
    """A word, with where it stands (start, end), or a condition on a row, with the row's value."""

    name: str
    value: str = ""
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, eq=False)
class LabelExplanation:
    """The surrogate of one class.

    Attributes:
        label, name: the class; for regression 0 and "prediction".
        prediction: what the model says of the input; `local_prediction`: what the surrogate says.
        coefficients: (d,) the weight of each feature, zero for those not chosen.
        intercept: what the surrogate says of an input without any feature.
        r2: the share of how the model varies near the input that the surrogate explains.
        stderr: (d,) standard errors of `coefficients` over draws of neighbours.
        chosen: indices of the features with a weight, the largest first.
    """

    label: int
    name: str
    prediction: float
    local_prediction: float
    coefficients: Float[Tensor, "d"]
    intercept: float
    r2: float
    stderr: Float[Tensor, "d"]
    chosen: list[int]
