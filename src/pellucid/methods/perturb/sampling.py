"""How sampled methods draw: until the map is settled, and in low precision only while that does no harm."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.certainty import relative_error
from pellucid.engine.pace import pace_of
from pellucid.engine.perturb import Copies
from pellucid.errors import InvalidValue
from pellucid.probe import Probe
from pellucid.ranks import rank_correlation

FIRST = 128
"""Samples after which it is asked for the first time whether a map is settled."""
ALLOWED = 0.25
"""The share of a map's own standard error that low precision may bring as an error."""
PAYS = 0.8
"""Low precision is used if it takes less than this share of the time."""


@dataclass(frozen=True)
class Estimate:
    """What a number of scores say: a map or coefficients, with standard errors, and what its halves say."""

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

    def settled(self, tolerance: float) -> bool:
        """Whether the top decile is known to `tolerance` and the halves' order to 1 - tolerance."""
        return self.relative_error <= tolerance and self.stability >= 1 - tolerance


Estimator = Callable[[Float[Tensor, " S"]], Estimate]
"""What the scores of the first S samples say."""


@dataclass(frozen=True)
class Sampled:
    """The outcome of sampling: the scores, and what they say."""

    scores: Float[Tensor, " S"]
    estimate: Estimate


def sample(
    probe: Probe,
    copies: Copies,
    estimate: Estimator,
    *,
    samples: int | str,
    tolerance: float,
    most: int,
    key: Hashable,
    least: int = FIRST,
) -> Sampled:
    """Scores as many copies of one image as asked for, or, for "auto", as settle the estimate.

    "auto" stops when the standard error in the top decile is `tolerance` of what the decile stands out from
    the median, and the two halves of the samples order the map alike: rank correlation 1 - `tolerance`.

    Args:
        probe: of a single image.
        copies: the altered copies.
        estimate: what scores say.
        samples: how many, or "auto".
        tolerance: see above.
        most: where "auto" gives up, with a note.
        key: what the copies depend on besides the image.
        least: the fewest samples of which an estimate can be made.
    """
    if not 0 < tolerance < 1:
        raise InvalidValue(f"tolerance must be between 0 and 1; got {tolerance}.")
    if isinstance(samples, int):
        scores = _scored(probe, copies, estimate, samples, key, max(FIRST, least))
        return Sampled(scores, estimate(scores))
    count, scores = min(most, max(FIRST, least)), torch.empty(0, dtype=torch.float64)
    while True:
        scores = torch.cat([scores, probe.scores(copies, len(scores), count, key=key)])
        found = estimate(scores)
        if found.settled(tolerance) or count >= most:
            break
        needed = count * min(2.0, max(1.1, (found.relative_error / tolerance) ** 2))
        count = min(most, 2 * int(needed / 2))
    probe.engine.progress.expect(count - most)
    if not found.settled(tolerance):
        probe.note(
            f"The map is not settled after {count} samples: its relative standard error is "
            f"{found.relative_error:.0%} and its halves correlate {found.stability:.2f} "
            f"(tolerance {tolerance:.0%})."
        )
    return Sampled(scores, found)


def _scored(
    probe: Probe, copies: Copies, estimate: Estimator, samples: int, key: Hashable, pilot: int
) -> Float[Tensor, " S"]:
    """The scores of the first `samples` copies.

    A pilot is scored in float32 and in bfloat16; the rest in bfloat16 if that is faster, and if the error it
    brings to the estimate stays below a quarter of the estimate's own standard error.
    """
    engine = probe.engine
    pilot = min(pilot, samples)
    exact = probe.scores(copies, 0, pilot, key=key)
    low = False
    if engine.precision == "auto" and engine.may_lower(probe.inputs) and samples >= 4 * pilot:
        coarse = probe.scores(copies, 0, pilot, key=key, low=True)
        slope, offset = line(coarse, exact)
        low = lowering_pays(probe) and (brought(estimate, exact, slope * coarse + offset, samples) <= ALLOWED)
        engine.keep_high = not low  # what one image does not allow is not tried on the next
    rest = probe.scores(copies, pilot, samples, key=key, low=low)
    if low:
        probe.lower()
        rest = slope * rest + offset
    return torch.cat([exact, rest])


def lowering_pays(probe: Probe) -> bool:
    """Whether bfloat16 has proved clearly faster on this machine."""
    module, batch_size = probe.engine.model.module, probe.engine.batch_size
    high, low = (pace_of(module, probe.inputs, p, batch_size) for p in ("float32", "bfloat16"))
    return low.sample_seconds(low.fastest) < PAYS * high.sample_seconds(high.fastest)


def line(x: Float[Tensor, " S"], y: Float[Tensor, " S"]) -> tuple[float, float]:
    """The straight line through scores that takes out what low precision does to all of them alike."""
    spread = x - x.mean()
    slope = float((spread * (y - y.mean())).sum() / (spread**2).sum()) if bool((spread != 0).any()) else 1.0
    return slope, float(y.mean() - slope * x.mean())


def brought(
    estimate: Estimator, exact: Float[Tensor, " S"], coarse: Float[Tensor, " S"], samples: int
) -> float:
    """The error that coarse scores bring to an estimate of `samples`, in units of its own standard error.

    Part of it is noise and falls with the number of samples, as the estimate's own error does; the rest is a
    bias and stays. A pilot's error holds both. Its bias is known only to within the pilot's noise, so two
    standard errors of the mean square are added to it.
    """
    own, share = estimate(exact), len(exact) / samples
    error = estimate(coarse).value - own.value
    noise = float((estimate(coarse - exact).stderr ** 2).mean())
    doubt = 2 * noise * (2 / min(len(exact), error.numel())) ** 0.5
    bias = max(0.0, float((error**2).mean()) - noise) + doubt
    allowed = float((own.stderr**2).mean()) * share
    return ((bias + noise * share) / allowed) ** 0.5 if allowed > 0 else float("inf")
