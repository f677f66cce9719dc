"""Screening: every copy is scored in low precision, and those that carry the map again in full precision."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.engine.pace import BFLOAT16_SHARE
from pellucid.engine.perturb import Copies
from pellucid.probe.probe import Probe
from pellucid.probe.sampling import affine_fit

WITHIN = 1e-3
"""How far a screened map may be from the float32 one, as a share of its largest value."""
SURE = 4.0
"""How many standard errors of it must fit into WITHIN."""
PILOT = 64
PAYS = 0.8
"""It is screened if that takes less than this share of the time of scoring all in float32."""


@dataclass(frozen=True)
class ScoreUse:
    """What a map makes of the scores of its copies.

    Attributes:
        map: the map that weights give; linear in them but for a constant.
        variance: the variance of the map at each pixel, for given variances of the weights.
        max_effect: the most that a weight counts at any pixel.
        weight: what a score weighs: itself, or its exponential under a softmax.
    """

    map: Callable[[Float[Tensor, " S"]], Tensor]
    variance: Callable[[Float[Tensor, " S"]], Tensor]
    max_effect: Float[Tensor, " S"]
    weight: Callable[[Float[Tensor, " S"]], Float[Tensor, " S"]] = torch.clone

    def order(self, weights: Float[Tensor, " S"]) -> Int[Tensor, " S"]:
        """The copies, those first whose errors matter most."""
        return (weights.abs() * self.max_effect).argsort(descending=True)

    def needed(self, weights: Float[Tensor, " S"], order: Int[Tensor, " S"], error: float) -> int:
        """How many of `order` must be exact so that the errors of the rest do not show in the map."""
        allowed = WITHIN * float(self.map(weights).abs().max()) / SURE

        def hides(exact: int) -> bool:
            spread = (error * weights) ** 2
            spread[order[:exact]] = 0
            return bool(self.variance(spread).max() <= allowed**2)

        low, high = 0, len(weights)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if hides(middle) else (middle + 1, high)
        return low


def screened(probe: Probe, copies: Copies, use: ScoreUse, key: Hashable) -> Float[Tensor, " S"]:
    """The scores of all copies of one image.

    The errors of scores in bfloat16 grow with the score; a pilot scored in both precisions tells by how much.
    The scores that matter most are then had again in float32, until the errors of the others, added up at
    every pixel, are four times smaller than what the map may be off: a thousandth of its maximum. Where that
    would save nothing all scores are float32 from the start.
    """
    total = len(use.max_effect)
    pilot = min(PILOT, total)
    exact = probe.score_perturbed(copies, 0, pilot, key=key)
    rest = None
    if probe.may_use_bf16 and total >= 4 * pilot:
        coarse = probe.score_perturbed_in_bf16(copies, 0, pilot, key=key)
        if coarse is not None:
            slope, offset = affine_fit(coarse, exact)
            weights = use.weight(exact)
            error = _relative(use.weight(slope * coarse + offset), weights)
            if _pays(use, weights.repeat(-(-total // pilot))[:total], error):
                rest = probe.score_perturbed_in_bf16(copies, pilot, total, key=key)
    if rest is None:
        return torch.cat([exact, probe.score_perturbed(copies, pilot, total, key=key)])
    probe.mark_bf16()
    scores = torch.cat([exact, slope * rest + offset])
    order, done = use.order(use.weight(scores)), 0
    while (wanted := use.needed(use.weight(scores), order, error)) > done:
        again = order[done:wanted]
        found = probe.score_perturbed(_picked(copies, again), 0, len(again))
        error = max(error, _relative(use.weight(scores[again]), use.weight(found)))
        scores[again], done = found, wanted
    return scores


def _pays(use: ScoreUse, typical: Float[Tensor, " S"], error: float) -> bool:
    """Whether screening would be clearly faster, if all weights were like the pilot's."""
    again = use.needed(typical, use.order(typical), error)
    return BFLOAT16_SHARE * len(typical) + again < PAYS * len(typical)


def _relative(coarse: Float[Tensor, " S"], exact: Float[Tensor, " S"]) -> float:
    """The root mean square of errors that grow with the score, as a share of it."""
    return float((coarse - exact).norm() / exact.norm()) if bool(exact.any()) else float("inf")


def _picked(copies: Copies, which: Int[Tensor, " S"]) -> Copies:
    """Copies of any numbers, numbered anew."""

    def some(start: int, stop: int) -> Tensor:
        return torch.cat([copies(one, one + 1) for one in which[start:stop].tolist()])

    return some
