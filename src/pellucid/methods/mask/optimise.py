"""Masks found by descent: a whole batch at once, each image with its own line search and its own end.

What is minimised is `score(M) + penalty(M)` over masks in [0, 1]. The score is the model's and dear, the
penalty is a formula and cheap, so they are asked for apart: a penalty may be made lighter while a search goes
on, and a score is never asked for twice. Images whose search has ended are not asked about again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.errors import InvalidValue

ARMIJO, SHRINK, LEAST = 1e-4, 0.2, 1e-5
"""I-GOS's line search: the share of the promised decrease to be met, and the factor and end of steps."""
TRIALS = 4
"""Points tried along one direction where each of them costs a gradient."""
FIRST_STEP = 0.2
"""How far some value of a mask moves at first in a search whose steps are all alike."""
PATIENCE, MIN_IMPROVEMENT = 2, 0.01
"""A search ends when so many steps in a row each brought less than this share of all that was gained."""


@dataclass(frozen=True)
class Evaluation:
    """What the model says of masks: their score, what else is recorded, and the score's slope if known."""

    score: Float[Tensor, " A"]
    extras: Mapping[str, Float[Tensor, " A"]] = field(default_factory=dict)
    slope: Float[Tensor, "A K h w"] | None = None

    @property
    def finite(self) -> Bool[Tensor, " A"]:
        """For which images it can be used."""
        slopes = self.score if self.slope is None else self.slope.flatten(1).sum(1)
        return self.score.isfinite() & slopes.isfinite()


@runtime_checkable
class Objective(Protocol):
    """What is minimised, for the images of a batch that are named by number."""

    def evaluate(
        self, masks: Float[Tensor, "A K h w"], images: Int[Tensor, " A"], with_gradients: bool
    ) -> Evaluation:
        """The scores of masks, and their gradients if asked for and the objective gives them."""

    def penalty(self, masks: Float[Tensor, "A K h w"], images: Int[Tensor, " A"]) -> Float[Tensor, " A"]:
        """What is added to the scores; gradients pass through it."""


L1Schedule = Callable[[int, "SearchState"], Bool[Tensor, " N"]]
"""`schedule(step, state)` may make penalties lighter before a step; tells of which images it did."""


class SearchState:
    """A search: where each image's masks are, the best they have been, and every frame on the way there.

    Attributes:
        masks: (N, K, h, w), the present ones.
        best: the masks of least loss, under the penalties as they are now.
        active: whose search goes on.
        lost: whose search met a score or a slope that is not finite.
        frames: per image, what was recorded of each mask on the way, `masks` and `loss` among it.

    Raises:
        InvalidValue: the score or slope of the first masks is not finite.
    """

    def __init__(self, masks: Float[Tensor, "N K h w"], objective: Objective) -> None:
        n = len(masks)
        self.objective, self.masks, self.best = objective, masks.clone(), masks.clone()
        self.score = masks.new_full((n,), torch.inf)
        self.slope = torch.zeros_like(masks)
        self.best_score = self.score.clone()
        self.active = torch.ones(n, dtype=torch.bool, device=masks.device)
        self.lost = torch.zeros_like(self.active)
        self.frames: list[dict[str, list[Tensor]]] = [{} for _ in range(n)]
        images = self.searching
        evaluation = objective.evaluate(masks, images, True)
        if not evaluation.finite.all():
            raise InvalidValue(
                "Scores and gradients must be finite; image "
                f"{int((~evaluation.finite).nonzero()[0])} of its batch has others where it fades into its "
                "baseline: choose another baseline, or run it in float32."
            )
        self.move(images, masks, evaluation)

    @property
    def searching(self) -> Int[Tensor, " A"]:
        """The numbers of the images whose search goes on."""
        return self.active.nonzero()[:, 0]

    def loss(self, images: Int[Tensor, " A"]) -> Float[Tensor, " A"]:
        """The loss where they are, under the penalties as they are now."""
        return self.score[images] + self.objective.penalty(self.masks[images], images)

    def gradient(self, images: Int[Tensor, " A"]) -> Float[Tensor, "A K h w"]:
        """The loss's gradient where they are."""
        masks = self.masks[images].requires_grad_()
        (slope,) = torch.autograd.grad(self.objective.penalty(masks, images).sum(), masks)
        return self.slope[images] + slope

    def lose(self, images: Int[Tensor, " A"]) -> None:
        """Ends searches that met what is not finite."""
        self.active[images], self.lost[images] = False, True

    def move(
        self, images: Int[Tensor, " A"], masks: Float[Tensor, "A K h w"], evaluation: Evaluation
    ) -> None:
        """Takes a step, and keeps it as a frame."""
        self.masks[images], self.score[images] = masks, evaluation.score
        if evaluation.slope is not None:
            self.slope[images] = evaluation.slope
        loss = self.loss(images)
        least = self.best_score[images] + self.objective.penalty(self.best[images], images)
        better = images[loss < least]
        self.best[better], self.best_score[better] = self.masks[better], self.score[better]
        recorded = {"masks": masks, "loss": loss, **evaluation.extras}
        for i, image in enumerate(images.tolist()):
            for name, values in recorded.items():
                self.frames[image].setdefault(name, []).append(values[i].clone())

    def resume(self, images: Bool[Tensor, " N"]) -> None:
        """Goes on with images, of which penalties were made lighter."""
        self.active |= images & ~self.lost

    def finish(self, images: Int[Tensor, " A"]) -> None:
        """Ends the searches whose last steps brought little."""
        for image in images.tolist():
            losses = torch.stack(self.frames[image]["loss"])
            gains = losses[-1 - PATIENCE : -1] - losses[-PATIENCE:]
            if len(losses) > PATIENCE and (gains < MIN_IMPROVEMENT * (losses[0] - losses[-1])).all():
                self.active[image] = False


def spectral(state: SearchState, steps: int, schedule: L1Schedule) -> None:
    """Spectral projected gradient: Barzilai and Borwein's steps, each held to Armijo's condition.

    For objectives that give gradients: that of a trial is the next step's, so a step that is accepted at
    once, as most are, costs nothing but that. The first step is as long as moves some value of the mask by 1.

    Source:
        Birgin, Martinez and Raydan 2000, SIAM J. Optim. 10(4), with a monotone line search.
    """
    rate = torch.full_like(state.score, torch.nan)
    for step in range(steps):
        lightened = schedule(step, state)
        state.resume(lightened)
        rate[lightened] = torch.nan
        images = state.searching
        if not len(images):
            return
        gradient, loss = state.gradient(images), state.loss(images)
        rate[images] = torch.where(rate[images].isnan(), _first(state.masks[images], gradient), rate[images])
        start = state.masks[images].clone()
        way = (start - _wide(rate[images]) * gradient).clamp(0, 1) - start
        promised = (gradient * way).flatten(1).sum(1)
        left, length = promised < 0, torch.ones_like(loss)
        state.active[images[~left]] = False
        for _ in range(TRIALS):
            some = left.nonzero()[:, 0]
            if not len(some):
                break
            trial, who = start[some] + _wide(length[some]) * way[some], images[some]
            evaluation = state.objective.evaluate(trial, who, step < steps - 1)
            reached = evaluation.score + state.objective.penalty(trial, who)
            met = evaluation.finite & (reached <= loss[some] + ARMIJO * length[some] * promised[some])
            state.lost[who] = ~evaluation.finite
            state.move(who[met], trial[met], _only(evaluation, met))
            left[some[met]] = False
            length[some[~met]] *= SHRINK
        state.active[images[left]] = False
        state.lost[images[~left]] = False  # it was met on the way only
        moved, turned = state.masks[images] - start, state.gradient(images) - gradient
        along, bent = (moved**2).flatten(1).sum(1), (moved * turned).flatten(1).sum(1)
        rate[images] = torch.where(bent > 0, along / bent, rate[images] / SHRINK)
        state.finish(images[~left])


def backtracking(
    state: SearchState, steps: int, schedule: L1Schedule, slope: "Slope", longest: float
) -> None:
    """I-GOS's own: a long step each time, made shorter until Armijo's condition holds of the score.

    For objectives without gradients. As in the authors' code, the decrease that is promised ignores that
    masks end at 0 and 1, and a step that has become too short is taken nevertheless.
    """
    for step in range(steps):
        state.resume(schedule(step, state))
        images = state.searching
        if not len(images):
            return
        state.slope[images] = slope(state.masks[images], images, step)
        bad = ~state.slope[images].flatten(1).sum(1).isfinite()
        state.lose(images[bad])
        images = images[~bad]
        gradient, loss, start = state.gradient(images), state.loss(images), state.masks[images].clone()
        promised = (gradient**2).flatten(1).sum(1)
        left, rate = torch.ones_like(loss, dtype=torch.bool), torch.full_like(loss, longest)
        while left.any():
            some = left.nonzero()[:, 0]
            trial, who = (start[some] - _wide(rate[some]) * gradient[some]).clamp(0, 1), images[some]
            evaluation = state.objective.evaluate(trial, who, False)
            reached = evaluation.score + state.objective.penalty(trial, who)
            short = rate[some] < LEAST
            met = evaluation.finite & ((reached <= loss[some] - ARMIJO * rate[some] * promised[some]) | short)
            state.move(who[met], trial[met], _only(evaluation, met))
            state.lose(who[short & ~met])
            left[some[met | short]] = False
            rate[some[~met]] *= SHRINK


def nesterov(state: SearchState, steps: int, schedule: L1Schedule) -> None:
    """Nesterov's accelerated gradient: z' = M - a g, M' = z' + k/(k + 3) (z' - z), clamped to [0, 1].

    For objectives that give gradients. The step is as long as moves some value of the first mask by 1/5;
    nothing is held to a condition, so a loss may rise, and it is the best mask that counts.

    Source:
        Khorram et al.'s code, with a step of each image's own in place of one number.
    """
    images = state.searching
    rate = FIRST_STEP * _first(state.masks, state.gradient(images))
    before = state.masks.clone()
    for step in range(steps):
        state.resume(schedule(step, state))
        images = state.searching
        if not len(images):
            return
        ahead = state.masks[images] - _wide(rate[images]) * state.gradient(images)
        masks = (ahead + step / (step + 3) * (ahead - before[images])).clamp(0, 1)
        before[images] = ahead
        evaluation = state.objective.evaluate(masks, images, step < steps - 1)
        state.lose(images[~evaluation.finite])
        state.move(images[evaluation.finite], masks[evaluation.finite], _only(evaluation, evaluation.finite))


Slope = Callable[[Float[Tensor, "A K h w"], Int[Tensor, " A"], int], Float[Tensor, "A K h w"]]
"""`slope(masks, images, step)` gives the direction that a search without gradients follows."""


def _first(masks: Float[Tensor, "A K h w"], gradient: Float[Tensor, "A K h w"]) -> Float[Tensor, " A"]:
    """The step that moves some value of a mask by 1 as far as its bounds allow any to move."""
    free = torch.where(gradient > 0, masks > 0, masks < 1)
    steepest = (gradient.abs() * free).flatten(1).amax(1)
    return torch.where(steepest > 0, 1 / steepest, torch.ones_like(steepest))


def _only(evaluation: Evaluation, some: Bool[Tensor, " A"]) -> Evaluation:
    extras = {name: values[some] for name, values in evaluation.extras.items()}
    return Evaluation(
        evaluation.score[some], extras, None if evaluation.slope is None else evaluation.slope[some]
    )


def _wide(values: Float[Tensor, " A"]) -> Float[Tensor, "A 1 1 1"]:
    return values[:, None, None, None]
