"""What can be put around any method: averaging its maps over noisy or flipped and scaled copies.

Copies of all images are made and run chunk by chunk, and only running sums are held. Each copy draws its
numbers from its own generator, so the result does not depend on the chunks, and all images of a batch get
the same noise, so it does not depend on the batch either.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.methods.finding import Finding, each
from pellucid.probe import Probe
from pellucid.probe.convergence import Estimate, check, sample_until_converged
from pellucid.probe.noise import noisy, sigma_of

Formula = Callable[[Probe], Finding]
Statistic = Literal["mean", "square", "variance"]

FIRST, MOST = 32, 1000
"""Copies after which convergence is looked at for the first time, and where "auto" gives up."""
COPIES = tuple((factor, flip) for factor in (1.0, 0.9, 1.1) for flip in (False, True))
"""The copies of `augment`: pixel values scaled, and mirrored left to right. The first is the image itself."""


def smooth(
    probe: Probe,
    formula: Formula,
    *,
    samples: int | str,
    noise: float,
    statistic: Statistic = "mean",
    tolerance: float = 0.1,
) -> Finding:
    """A statistic of a method's maps over copies x + e, e ~ N(0, (noise * (max x - min x))^2).

    The range is each image's own, in the space of the model's input; copies are not clamped. `mean` is
    SmoothGrad's, `square` the mean of squares, `variance` the (biased) variance.

    Args:
        probe: the evidence.
        formula: the method.
        samples: copies, or "auto" for as many as it takes until each image's map has converged, up to MOST.
        noise: standard deviation, as a share of the range.
        statistic: see above.
        tolerance: of "auto", see `sample_until_converged`.

    Returns:
        The statistic with its standard error, estimated from the same copies: close for the mean, somewhat
        low for squares and variances where few copies carry large gradients.

    Raises:
        InvalidValue: fewer than one sample, a tolerance outside (0, 1), or noise below zero.

    Cost:
        `samples` times the method's passes, and one forward pass.

    Source:
        Smilkov et al. 2017, arXiv:1706.03825; squares: Hooker et al. 2018, arXiv:1806.10758; variance:
        Adebayo et al. 2018, arXiv:1810.03307.
    """
    check(samples, tolerance)
    if not isinstance(samples, int):
        return each(probe, lambda one, _: _until_converged(one, formula, noise, statistic, tolerance))
    moments = probe.once(
        (moments_of, formula, samples, noise), lambda: moments_of(probe, formula, 0, samples, noise)
    )
    moments.record_notes(probe)
    value, stderr = (part.to(probe.inputs.dtype) for part in moments.estimate(statistic))
    counts = torch.full((len(probe.inputs),), samples, dtype=torch.long, device="cpu")
    return Finding(value, stderr if samples > 1 else None, {"samples": counts}, layers=moments.layers)


def _until_converged(
    probe: Probe, formula: Formula, noise: float, statistic: Statistic, tolerance: float
) -> Finding:
    """The statistic for one image, over as many copies as it takes to converge."""
    moments = moments_of(probe, formula, 0, FIRST, noise)

    def upto(count: int) -> Estimate:
        nonlocal moments
        if count > moments.count:
            moments = moments + moments_of(probe, formula, moments.count, count, noise)
        return Estimate(*moments.estimate(statistic), lambda: moments.halves(statistic))

    found, count = sample_until_converged(probe, upto, first=FIRST, most=MOST, tolerance=tolerance)
    moments.record_notes(probe)
    value, stderr = (part.to(probe.inputs.dtype) for part in (found.value, found.stderr))
    return Finding(
        value,
        stderr,
        {"samples": torch.tensor([count], dtype=torch.long, device="cpu")},
        layers=moments.layers,
    )


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums of a method's maps over noisy copies, of their squares, cubes and fourth powers, in float64.

    `sums` has those of the even draws and those of the odd ones; `said` counts what was noted of each image.
    """

    count: int
    sums: tuple[Float[Tensor, "2 N *map"], ...]
    layers: tuple[str, ...]
    said: Counter[tuple[str, int]]

    def __add__(self, more: "Moments") -> "Moments":
        sums = tuple(a + b for a, b in zip(self.sums, more.sums, strict=True))
        return Moments(self.count + more.count, sums, self.layers, self.said + more.said)

    def estimate(self, statistic: Statistic) -> tuple[Tensor, Tensor]:
        """The statistic and its standard error; infinite for a single copy."""
        m1, m2, m3, m4 = (both.sum(0) / self.count for both in self.sums)
        variance = (m2 - m1**2).clamp(min=0)
        spread = {  # the variance of what the statistic is the mean of
            "mean": variance,
            "square": m4 - m2**2,
            "variance": m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4 - variance**2,
        }[statistic]
        return _statistic(m1, m2, statistic), (spread.clamp(min=0) / (self.count - 1)).sqrt()

    def halves(self, statistic: Statistic) -> tuple[Tensor, Tensor]:
        """The statistic of the even draws, and of the odd ones."""
        counts = (self.count + 1) // 2, self.count // 2
        first, second = (
            _statistic(self.sums[0][half] / counts[half], self.sums[1][half] / counts[half], statistic)
            for half in range(2)
        )
        return first, second

    def record_notes(self, probe: Probe) -> None:
        """Notes what was noted on every copy of an image."""
        for (text, image), times in self.said.items():
            if times == self.count:
                probe.note(text, torch.arange(len(probe.inputs), dtype=torch.long, device="cpu") == image)


def _statistic(m1: Tensor, m2: Tensor, statistic: Statistic) -> Tensor:
    return {"mean": m1, "square": m2, "variance": (m2 - m1**2).clamp(min=0)}[statistic]


def moments_of(probe: Probe, formula: Formula, start: int, stop: int, noise: float) -> Moments:
    """The moments of a method's maps over noisy copies number `start` to `stop`."""
    x, sigma = probe.inputs, sigma_of(probe.inputs, noise)

    def moments(first: int, last: int) -> Moments:
        numbers = range(start + first, start + last)
        seen = probe.perturbed(noisy(probe, sigma, numbers))
        found = formula(seen)
        said = Counter((text, i // len(numbers)) for text, about in seen.notes.items() for i in about)
        maps = found.map.unflatten(0, (len(x), -1)).double()  # (N, B, ...)
        halves = [maps[:, numbers[0] % 2 :: 2], maps[:, 1 - numbers[0] % 2 :: 2]]
        sums = tuple(torch.stack([(half**k).sum(1) for half in halves]) for k in range(1, 5))
        return Moments(len(numbers), sums, found.layers, said)

    return probe.sum_over(stop - start, moments)


def augment(probe: Probe, formula: Formula) -> Finding:
    """The mean of a method's maps over six copies: scaled by 0.9, 1 and 1.1, each also mirrored.

    Maps of mirrored copies are mirrored back. Each map keeps its own scale: nothing is normalised.

    Cost:
        Six times the method's passes.

    Source:
        pytorch-grad-cam's `aug_smooth`.
    """
    x = probe.inputs
    own = formula(probe)  # the copy that is the image itself

    def maps(start: int, stop: int) -> tuple[Tensor, ...]:
        """The sum of the maps, and that of their variances where there are such."""
        copies = [_flipped(x * factor, flip) for factor, flip in COPIES[1 + start : 1 + stop]]
        found = formula(probe.perturbed(torch.stack(copies, 1).flatten(0, 1)))
        parts = [found.map] if found.stderr is None else [found.map, found.stderr**2]
        flips = [flip for _, flip in COPIES[1 + start : 1 + stop]]
        return tuple(
            torch.stack([_flipped(part[i :: len(flips)], flip) for i, flip in enumerate(flips)]).sum(0)
            for part in parts
        )

    value, *variance = probe.sum_over(len(COPIES) - 1, maps)
    stderr = None if own.stderr is None else (variance[0] + own.stderr**2).sqrt() / len(COPIES)
    return Finding((value + own.map) / len(COPIES), stderr, layers=own.layers)


def _flipped(x: Tensor, flip: bool) -> Tensor:
    return x.flip(-1) if flip else x
