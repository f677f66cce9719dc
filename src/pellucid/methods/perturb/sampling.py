"""How sampled methods draw: until the map is settled, and in low precision only while that does no harm."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.pace import pace_of
from pellucid.engine.perturb import Copies
from pellucid.methods.settling import Estimate, check, until_settled
from pellucid.probe import Probe

FIRST = 128
"""Samples after which it is asked for the first time whether a map is settled."""
ALLOWED = 0.25
"""The share of a map's own standard error that low precision may bring as an error."""
PAYS = 0.8
"""Low precision is used if it takes less than this share of the time."""


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

    Args:
        probe: of a single image.
        copies: the altered copies.
        estimate: what scores say.
        samples: how many, or "auto".
        tolerance: of "auto", see `until_settled`.
        most: where "auto" gives up, with a note.
        key: what the copies depend on besides the image.
        least: the fewest samples of which an estimate can be made.
    """
    check(samples, tolerance)
    least = max(FIRST, least)
    if isinstance(samples, int):
        scores = _scored(probe, copies, estimate, samples, key, least)
        return Sampled(scores, estimate(scores))
    scores = torch.empty(0, dtype=torch.float64)

    def upto(count: int) -> Estimate:
        nonlocal scores
        scores = torch.cat([scores, probe.scores(copies, len(scores), count, key=key)])
        return estimate(scores)

    found, _ = until_settled(probe, upto, first=least, most=most, tolerance=tolerance)
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
    if engine.may_lower(probe.inputs) and samples >= 4 * pilot:
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
    high, low = pass_seconds(probe)
    return low < PAYS * high


def pass_seconds(probe: Probe) -> tuple[float, float]:
    """Seconds per copy in float32 and in bfloat16, as far as they are known."""
    module, batch_size = probe.engine.model.module, probe.engine.batch_size
    high, low = (pace_of(module, probe.inputs, p, batch_size) for p in ("float32", "bfloat16"))
    return high.sample_seconds(high.fastest), low.sample_seconds(low.fastest)


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
