"""What a sample of pictures says of all: bootstrap intervals, paired differences, Holm's correction."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

RESAMPLES = 2000
_EXACT = 12  # pairs of which all signs are tried
_FLIPS = 10000
_Z = 1.959964


@dataclass(frozen=True)
class Interval:
    """A mean over pictures and both ends of its 95 % interval; of no picture, all three are None."""

    mean: float | None
    low: float | None
    high: float | None
    count: int

    def __str__(self) -> str:
        """As tables show it."""
        if self.mean is None or self.low is None or self.high is None:
            return "–"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(values: Float[Tensor, " N"], seed: int = 0) -> Interval:
    """The mean of values that are not NaN, and its 95 % percentile interval over pictures drawn anew.

    One picture has no interval: both ends are its value.

    Source:
        Efron 1979, Ann. Statist. 7(1).

    Example:
        >>> str(bootstrap(torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)))
        '1.000 [1.000, 1.000]'
    """
    known = values[values.isfinite()].double()
    if not len(known):
        return Interval(None, None, None, 0)
    source = torch.Generator(device="cpu").manual_seed(seed)
    drawn = torch.randint(
        len(known), (RESAMPLES, len(known)), generator=source, dtype=torch.long, device="cpu"
    )
    means = known[drawn].mean(1)
    low, high = torch.quantile(
        means, torch.tensor([0.025, 0.975], dtype=torch.float64, device="cpu")
    ).tolist()
    return Interval(float(known.mean()), low, high, len(known))


def mean_interval(values: Float[Tensor, " N"], seed: int = 0) -> Interval:
    """The mean of values that are not NaN, and its 95 % interval, whatever their number.

    Up to `RESAMPLES` values it is `bootstrap`'s; of more, the mean and 1.96 standard errors either way, which
    is what the bootstrap comes to, and takes memory for the values alone.

    Example:
        >>> str(mean_interval(torch.arange(10000.0, dtype=torch.float64) % 2))
        '0.500 [0.490, 0.510]'
    """
    known = values[values.isfinite()].double()
    if len(known) <= RESAMPLES:
        return bootstrap(known, seed)
    mean, reach = float(known.mean()), _Z * float(known.std()) / len(known) ** 0.5
    return Interval(mean, mean - reach, mean + reach, len(known))


def mcnemar(one: int, other: int) -> float:
    """McNemar's exact test of two classifiers on the same pictures: p of so unequal a number of changes.

    Where only one of them is right it is as likely the one as the other, if they are equally good: twice the
    lower tail of the binomial distribution of one half.

    Args:
        one: pictures that only the first classifier has right.
        other: those that only the second has right.

    Source:
        McNemar 1947, Psychometrika 12(2).

    Example:
        >>> round(mcnemar(1, 9), 6), mcnemar(4, 4), mcnemar(0, 0)
        (0.021484, 1.0, 1.0)
    """
    count, fewer = one + other, min(one, other)
    if one == other:
        return 1.0
    k = torch.arange(fewer + 1, dtype=torch.float64, device="cpu")
    n = torch.tensor(float(count), dtype=torch.float64, device="cpu")
    log = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1) - n * math.log(2)
    return min(1.0, 2 * float(log.exp().sum()))


def proportion(some: int, count: int) -> Interval:
    """A share and its 95 % interval by Wilson's score, which holds for few and for extreme shares too.

    Source:
        Wilson 1927, J. Am. Stat. Assoc. 22(158).

    Example:
        >>> str(proportion(98, 100))
        '0.980 [0.930, 0.994]'
    """
    if not count:
        return Interval(None, None, None, 0)
    share, z = some / count, _Z
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return Interval(share, middle - reach, middle + reach, count)


@dataclass(frozen=True)
class Difference:
    """By how much one method is above another on the same pictures.

    Attributes:
        a: one method; `b` the other; `metric` by which they were judged.
        mean: of a - b over the pictures that both have a value for, with its 95 % interval.
        p: of a two-sided test that flips signs at random.
        adjusted: p after Holm's correction for all pairs of one metric.
    """

    a: str
    b: str
    metric: str
    mean: Interval
    p: float
    adjusted: float


def paired(a: Float[Tensor, " N"], b: Float[Tensor, " N"], seed: int = 0) -> tuple[Interval, float]:
    """The mean difference over pictures that both have, and p of the test that flips each sign at random.

    Source:
        Fisher 1935, The Design of Experiments, section 21.

    Example:
        >>> a = torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64)
        >>> mean, p = paired(a, a - 1)
        >>> str(mean), p
        ('1.000 [1.000, 1.000]', 0.25)
    """
    differences = (a - b)[(a - b).isfinite()].double()
    mean = bootstrap(differences, seed)
    count = len(differences)
    if count == 0:
        return mean, 1.0
    if count <= _EXACT:
        bits = torch.arange(2**count, dtype=torch.long, device="cpu")[:, None]
        signs = 1.0 - 2.0 * ((bits >> torch.arange(count, dtype=torch.long, device="cpu")) & 1).double()
    else:
        source = torch.Generator(device="cpu").manual_seed(seed)
        flips = torch.randint(2, (_FLIPS, count), generator=source, dtype=torch.long, device="cpu")
        signs = torch.cat(
            [torch.ones(1, count, dtype=torch.float64, device="cpu"), 1.0 - 2.0 * flips.double()]
        )
    sums = (signs @ differences).abs()
    seen = differences.sum().abs() * (1 - 1e-9)
    return mean, float((sums >= seen).double().mean())


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for being several.

    Source:
        Holm 1979, Scand. J. Statist. 6(2).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, p[i] * (len(p) - rank)))
        adjusted[i] = highest
    return adjusted
