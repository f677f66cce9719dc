"""Means over maps with intervals over pictures: maps of one picture are not independent of each other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pellucid.intervals import RESAMPLES


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        value: the mean; NaN of nothing.
        low, high: the ends of the interval.
        count: of how many maps, or pictures.
        pictures: of how many pictures.
    """

    value: float
    low: float
    high: float
    count: int
    pictures: int

    def __str__(self) -> str:
        """As tables show it.

        >>> str(Interval(0.5, 0.25, 0.75, 12, 4)), str(Interval(float("nan"), 0.0, 0.0, 0, 0))
        ('.500 [.250, .750]', '–')
        """
        if not self.count:
            return "–"
        value, low, high = (
            f"{v:.3f}".replace("0.", ".", 1) if abs(v) < 1 else f"{v:.3f}" for v in self._ends
        )
        return f"{value} [{low}, {high}]"

    @property
    def _ends(self) -> tuple[float, float, float]:
        return self.value, self.low, self.high


def mean_over_pictures(groups: Sequence[Sequence[float]], seed: int = 0) -> Interval:
    """The mean of all numbers, and how it varies when pictures, each with all its numbers, are drawn anew.

    Args:
        groups: for each picture its numbers; it may have none.
        seed: of the drawing.

    Example:
        >>> mean_over_pictures([[1.0, 0.0], [1.0], []]).value
        0.6666666666666666
    """
    some = [group for group in groups if len(group)]
    if not some:
        return Interval(float("nan"), float("nan"), float("nan"), 0, 0)
    sums = np.array([np.sum(group) for group in some])
    counts = np.array([len(group) for group in some])
    drawn = np.random.default_rng(seed).integers(len(some), size=(RESAMPLES, len(some)))
    means: NDArray[np.float64] = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = (float(end) for end in np.percentile(means, [2.5, 97.5]))
    return Interval(float(sums.sum() / counts.sum()), low, high, int(counts.sum()), len(some))


def rate_over_pictures(groups: Sequence[Sequence[bool]], seed: int = 0) -> Interval:
    """How often something was so: `mean_over_pictures` of yes and no.

    Where it was always so, or never, drawing anew tells nothing: the interval then reaches as far as the rule
    of three says, by which a rate of up to 3 / n may well give none in n pictures.

    Example:
        >>> rate_over_pictures([[False]] * 30).high
        0.1
    """
    found = mean_over_pictures([list(map(float, group)) for group in groups], seed)
    if found.value not in (0.0, 1.0):
        return found
    reach = min(1.0, 3 / found.pictures)
    low, high = (0.0, reach) if found.value == 0 else (1 - reach, 1.0)
    return replace(found, low=low, high=high)
