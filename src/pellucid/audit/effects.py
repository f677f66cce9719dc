"""The mean of an effect over pictures, its interval, and how sure it is above 0 or below a limit."""

from dataclasses import dataclass
from math import sqrt

from jaxtyping import Float
from torch import Tensor

LEVEL = 0.05


@dataclass(frozen=True)
class Effect:
    """A mean over pictures, by Student's t.

    Attributes:
        mean: over pictures; `low` and `high` are the ends of its 95 % interval; of one picture both are the
            mean, which says nothing.
        count: pictures.
        p: of a mean of 0 or below giving as much: one-sided.
    """

    mean: float
    low: float
    high: float
    count: int
    p: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def effect(values: Float[Tensor, " N"]) -> Effect:
    """The effect that pictures had, one value each.

    mean +- t(0.975, N - 1) s / sqrt(N), s the standard deviation. A few pictures are enough where they agree,
    which a bootstrap of so few could not say.

    Source:
        Student 1908, Biometrika 6(1).

    Example:
        >>> import torch
        >>> str(effect(torch.tensor([1.0, 2.0, 3.0])))
        '2.00 [-0.48, 4.48]'
    """
    from scipy.stats import t

    known = values[values.isfinite()].double()
    count = len(known)
    if count == 0:
        return Effect(0.0, 0.0, 0.0, 0, 1.0)
    mean = float(known.mean())
    if count == 1:
        return Effect(mean, mean, mean, 1, 1.0)
    error = float(known.std()) / sqrt(count)
    if error <= 1e-12 * max(1.0, abs(mean)):
        return Effect(mean, mean, mean, count, 0.0 if mean > 0 else 1.0)
    reach = float(t.ppf(1 - LEVEL / 2, count - 1)) * error
    return Effect(mean, mean - reach, mean + reach, count, float(t.sf(mean / error, count - 1)))
