"""Convergence of sampled maps: when the samples suffice, and drawing until they do."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.certainty import relative_error
from pellucid.errors import InvalidValue
from pellucid.probe.probe import Probe
from pellucid.ranks import rank_correlation


@dataclass(frozen=True)
class Estimate:
    """What a number of samples say: a map or coefficients, with standard errors, and what its halves say."""

    value: Tensor
    stderr: Tensor
    halves: Callable[[], tuple[Tensor, Tensor]]

    @property
    def relative_error(self) -> float:
        """The standard error in the top decile, as a share of what that decile stands out from the median."""
        return relative_error(self.value, self.stderr)

    @property
    def stability(self) -> float:
        """Spearman's rank correlation between the halves."""
        return float(rank_correlation(torch.stack([half.flatten() for half in self.halves()]))[0, 1])

    def converged(self, tolerance: float) -> bool:
        """Whether the top decile is known to `tolerance` and the halves' order to 1 - tolerance."""
        return self.relative_error <= tolerance and self.stability >= 1 - tolerance


def sample_until_converged(
    probe: Probe, upto: Callable[[int], Estimate], *, first: int, most: int, tolerance: float
) -> tuple[Estimate, int]:
    """Draws until the estimate of a single image has converged, or `most` samples are drawn, which is noted.

    It has converged when the standard error in the top decile is `tolerance` of what the decile stands out
    from the median, and the two halves of the samples order the map alike: rank correlation 1 - `tolerance`.

    Args:
        probe: of a single image.
        upto: what the first samples say; it is asked for more and more of them.
        first: the number of samples after which this is asked for the first time.
        most: where it gives up.
        tolerance: see above.

    Returns:
        The estimate, and of how many samples.
    """
    count = min(first, most)
    while not (found := upto(count)).converged(tolerance) and count < most:
        needed = count * min(2.0, max(1.1, (found.relative_error / tolerance) ** 2))
        count = min(most, max(count + 2, 2 * int(needed / 2)))
    if not found.converged(tolerance):
        probe.note(
            f"The map has not converged after {count} samples: its relative standard error is "
            f"{found.relative_error:.0%} and its halves correlate {found.stability:.2f} "
            f"(tolerance {tolerance:.0%})."
        )
    return found, count


def check(samples: int | str, tolerance: float) -> None:
    """Refuses a number of samples or a tolerance that does not hold.

    Raises:
        InvalidValue: fewer than one sample, a tolerance outside (0, 1).
    """
    if isinstance(samples, int) and samples < 1:
        raise InvalidValue(f"samples must be 'auto' or at least 1; got {samples}.")
    if not 0 < tolerance < 1:
        raise InvalidValue(f"tolerance must be between 0 and 1; got {tolerance}.")
