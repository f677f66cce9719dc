"""How sampled methods draw: until the map has converged, and in bfloat16 only while that does little harm.

Everything is decided by the image's own scores: neither the clock nor another image has a say.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.perturb import Copies
from pellucid.probe.convergence import Estimate, check, sample_until_converged
from pellucid.probe.probe import Probe

FIRST = 128
"""Samples after which it is asked for the first time whether a map has converged."""
ALLOWED = 0.5
"""The share of a map's own standard error that bfloat16 may add as an error: together 1.12 of it."""


Estimator = Callable[[Float[Tensor, " S"]], Estimate]
"""What the scores of the first S samples say."""


@dataclass(frozen=True)
class Sampled:
    """The outcome of sampling: the scores, and what they say.

    `estimate.stderr` holds the error of bfloat16 too; it is `widened` times that of the samples alone.
    """

    scores: Float[Tensor, " S"]
    estimate: Estimate
    widened: float = 1.0


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
    """Scores as many copies of one image as asked for, or, for "auto", until the estimate has converged.

    Args:
        probe: of a single image.
        copies: the perturbed inputs.
        estimate: what scores say.
        samples: how many, or "auto".
        tolerance: of "auto", see `sample_until_converged`.
        most: where "auto" gives up, with a note.
        key: what the copies depend on besides the image.
        least: the fewest samples of which an estimate can be made.
    """
    check(samples, tolerance)
    least = max(FIRST, least)
    if isinstance(samples, int):
        scores, error = _scored(probe, copies, estimate, samples, key, least)
        found, widened = estimate(scores), (1 + error**2) ** 0.5
        return Sampled(scores, replace(found, stderr=found.stderr * widened), widened)
    scores = torch.empty(0, dtype=torch.float64, device="cpu")

    def upto(count: int) -> Estimate:
        nonlocal scores
        scores = torch.cat([scores, probe.score_perturbed(copies, len(scores), count, key=key)])
        return estimate(scores)

    found, _ = sample_until_converged(probe, upto, first=least, most=most, tolerance=tolerance)
    return Sampled(scores, found)


def _scored(
    probe: Probe, copies: Copies, estimate: Estimator, samples: int, key: Hashable, pilot: int
) -> tuple[Float[Tensor, " S"], float]:
    """The scores of the first `samples` copies, and bfloat16's error in units of the standard error.

    Where the device is faster in bfloat16, a pilot is scored in both precisions, and the rest in bfloat16 if
    the error that brings to the estimate stays within half of the estimate's own standard error. A model that
    cannot run in bfloat16 runs in float32.
    """
    pilot = min(pilot, samples)
    exact = probe.score_perturbed(copies, 0, pilot, key=key)
    if probe.may_use_bf16 and samples >= 4 * pilot:
        coarse = probe.score_perturbed_in_bf16(copies, 0, pilot, key=key)
        if coarse is not None:
            slope, offset = affine_fit(coarse, exact)
            error = bf16_error(estimate, exact, slope * coarse + offset, samples)
            rest = None
            if error <= ALLOWED:
                rest = probe.score_perturbed_in_bf16(copies, pilot, samples, key=key)
            if rest is not None:
                probe.mark_bf16()
                return torch.cat([exact, slope * rest + offset]), error
    return torch.cat([exact, probe.score_perturbed(copies, pilot, samples, key=key)]), 0.0


def affine_fit(x: Float[Tensor, " S"], y: Float[Tensor, " S"]) -> tuple[float, float]:
    """The straight line through scores that takes out what low precision does to all of them alike."""
    spread = x - x.mean()
    slope = float((spread * (y - y.mean())).sum() / (spread**2).sum()) if bool((spread != 0).any()) else 1.0
    return slope, float(y.mean() - slope * x.mean())


def bf16_error(
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
