"""Means over pairs of random draws, whose standard error holds for stratified draws too.

The two draws of a pair are independent of each other and from the same stratum. What differs between strata
is in both alike, so the difference within pairs tells of just that part of the variance which is left when
every stratum has its pair: the mean of K draws y, y' has stderr^2 = sum over pairs of (y - y')^2 / K^2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.methods.finding import Finding, each
from pellucid.probe import Probe
from pellucid.probe.convergence import Estimate, check, sample_until_converged

Evaluate = Callable[[int, int], tuple[Float[Tensor, "N B C H W"], Float[Tensor, "N B"]]]
"""The maps of some draws, and by how much each misses the change of the score that it should sum to."""


@dataclass(frozen=True, eq=False)
class Paired:
    """Sums over the first and over the second draws of all pairs, and of their squared differences."""

    count: int
    halves: Float[Tensor, "2 N *rest"]
    squares: Float[Tensor, "N *rest"]

    @classmethod
    def of(cls, values: Float[Tensor, "N B *rest"]) -> "Paired":
        """The sums of B draws, the two of a pair next to each other; in float64."""
        first, second = values[:, ::2].double(), values[:, 1::2].double()
        halves = torch.stack([first.sum(1), second.sum(1)])
        return cls(values.shape[1], halves, ((first - second) ** 2).sum(1))

    def __add__(self, more: "Paired") -> "Paired":
        return Paired(self.count + more.count, self.halves + more.halves, self.squares + more.squares)

    @property
    def mean(self) -> Float[Tensor, "N *rest"]:
        """The mean of all draws."""
        return self.halves.sum(0) / self.count

    @property
    def stderr(self) -> Float[Tensor, "N *rest"]:
        """Its standard error."""
        return self.squares.sqrt() / self.count


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a number of draws gave: their maps, and what these miss of the score's changes."""

    maps: Paired
    missed: Paired

    def __add__(self, more: "Drawn") -> "Drawn":
        return Drawn(self.maps + more.maps, self.missed + more.missed)

    @property
    def estimate(self) -> Estimate:
        """The mean map, and those of the pairs' halves."""
        first, second = 2 * self.maps.halves / self.maps.count
        return Estimate(self.maps.mean, self.maps.stderr, lambda: (first, second))

    def finding(self, dtype: torch.dtype) -> Finding:
        """The mean map with its completeness error, both with their standard errors."""
        parts = (self.maps.mean, self.maps.stderr, self.missed.mean, self.missed.stderr)
        map, stderr, delta, delta_stderr = (part.to(dtype) for part in parts)
        samples = torch.full((len(map),), self.maps.count, dtype=torch.long, device="cpu")
        return Finding(map, stderr, {"samples": samples, "delta_stderr": delta_stderr}, delta=delta)


def draw_pairs(probe: Probe, count: int, evaluate: Evaluate, size: int = 1) -> Drawn:
    """What `count` draws give; `evaluate(start, stop)` makes some, each of which runs `size` inputs."""
    size *= len(probe.inputs)

    def pairs(start: int, stop: int) -> Drawn:
        maps, missed = probe.concat_over(
            2 * (stop - start),
            lambda first, last: evaluate(2 * start + first, 2 * start + last),
            dim=1,
            size=size,
        )
        return Drawn(Paired.of(maps), Paired.of(missed))

    return probe.sum_over(count // 2, pairs, size=2 * size)


def even(samples: int) -> int:
    """How many are drawn where so many are asked for: draws come in pairs."""
    return samples + samples % 2


def mean_of_draws(
    probe: Probe,
    draw: Callable[[Probe, slice, int, int], Drawn],
    *,
    samples: int | str,
    tolerance: float,
    first: int,
    most: int,
) -> Finding:
    """The mean of as many draws as are asked for, or, for "auto", until each image's map has converged.

    Args:
        probe: the evidence.
        draw: draws number `start` to `stop`, given a probe of some of the images and which images these are.
        samples: how many, or "auto".
        tolerance: of "auto", see `sample_until_converged`.
        first: the draws after which "auto" asks for the first time whether a map has converged.
        most: where it gives up, with a note.

    Raises:
        InvalidValue: fewer than one sample, a tolerance outside (0, 1).
    """
    check(samples, tolerance)
    dtype = probe.inputs.dtype
    if isinstance(samples, int):
        return draw(probe, slice(None), 0, even(samples)).finding(dtype)

    def converged(one: Probe, image: int) -> Finding:
        images = slice(image, image + 1)
        drawn = draw(one, images, 0, first)

        def upto(count: int) -> Estimate:
            nonlocal drawn
            if count > drawn.maps.count:
                drawn = drawn + draw(one, images, drawn.maps.count, count)
            return drawn.estimate

        sample_until_converged(one, upto, first=first, most=most, tolerance=tolerance)
        return drawn.finding(dtype)

    return each(probe, converged)
