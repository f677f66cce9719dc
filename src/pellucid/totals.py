"""Sums over pictures that add up exactly, whatever shards they were made in."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import torch
from jaxtyping import Float
from torch import Tensor

BINS = 256


@dataclass(frozen=True)
class Totals:
    """Count, sum, sum of squares and histogram of a metric's values within its range.

    Sums are fractions, which nothing rounds: those of shards are those of the whole, however it was divided.
    Values outside are counted in the bins at both ends. Where a range has no end, the histogram is of
    tanh(value), so that shards agree on their bins.

    Example:
        >>> values = torch.tensor([0.25, 0.75], dtype=torch.float64)
        >>> both = Totals.of(values[:1], (0.0, 1.0)) + Totals.of(values[1:], (0.0, 1.0))
        >>> both.count, both.mean
        (2, 0.5)
    """

    range: tuple[float, float]
    count: int
    sum: Fraction
    squares: Fraction
    histogram: tuple[int, ...]

    @classmethod
    def of(cls, values: Float[Tensor, " N"], range: tuple[float, float]) -> "Totals":
        """The totals of values; those that are not finite are not counted."""
        known = values[values.isfinite()].double()
        low, high = cls._ends(range)
        placed = known if low == range[0] and high == range[1] else known.tanh()
        counts = torch.histc(placed.clamp(low, high), BINS, low, high)
        return cls(
            range, len(known), exact_sum(known.tolist()), exact_sum((known**2).tolist()),
            tuple(int(n) for n in counts.tolist()),
        )  # fmt: skip

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.range,
            self.count + other.count,
            self.sum + other.sum,
            self.squares + other.squares,
            tuple(a + b for a, b in zip(self.histogram, other.histogram, strict=True)),
        )

    @property
    def mean(self) -> float | None:
        """None of no value."""
        return float(self.sum / self.count) if self.count else None

    @property
    def std(self) -> float | None:
        """The standard deviation; None of fewer than two values."""
        if self.count < 2:
            return None
        return math.sqrt(max(0.0, float((self.squares - self.sum**2 / self.count) / (self.count - 1))))

    def quantile(self, share: float) -> float | None:
        """The value below which a share lies, to the width of a bin; None of no value."""
        if not self.count:
            return None
        low, high = self._ends(self.range)
        seen = 0
        for i, count in enumerate(self.histogram):
            seen += count
            if seen >= share * self.count:
                at = low + (i + 0.5) * (high - low) / BINS
                return at if (low, high) == self.range else math.atanh(at)
        return None

    @staticmethod
    def _ends(range: tuple[float, float]) -> tuple[float, float]:
        return range if all(map(math.isfinite, range)) else (-1.0, 1.0)


_SMALLEST = 1074  # every float is a whole multiple of 2 to the power of minus this


def exact_sum(values: Iterable[float]) -> Fraction:
    """The sum of floats, which nothing rounds.

    >>> exact_sum([1e30, 0.5, -1e30])
    Fraction(1, 2)
    """
    total = 0
    for value in values:
        numerator, denominator = value.as_integer_ratio()
        total += numerator << (_SMALLEST + 1 - denominator.bit_length())
    return Fraction(total, 1 << _SMALLEST)
