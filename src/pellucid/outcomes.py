"""What comes of requests: an attribution of each image, or the reason why it has none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.cost import Cost
from pellucid.engine.run import Engine
from pellucid.errors import ModelFailed, PellucidError
from pellucid.methods.finding import Finding, concatenated
from pellucid.prediction import Prediction
from pellucid.request import Request
from pellucid.target import TargetFn


@dataclass(frozen=True)
class Attribution:
    """What one request gave for one target: of some of the images, the tensors where they were computed.

    Attributes:
        images: which, counted from 0, in order.
        finding: the method's map, standard error, details.
        target_fn: the target, resolved for these images.
        score: (N,) the explained number of each.
        predictions: the classes of the highest probability of each.
        notes: what was said of each.
        lowered: whether some scores that count were had in bfloat16, of each.
        chosen: what was inferred, and what else there was.
        precision: what the model ran in, unless lowered.
        cost: what the request would have cost alone.
        seed: of everything drawn.
    """

    images: tuple[int, ...]
    finding: Finding
    target_fn: TargetFn
    score: Float[Tensor, " N"]
    predictions: Sequence[list[Prediction]]
    notes: Sequence[list[str]]
    lowered: Sequence[bool]
    chosen: Mapping[str, Any]
    precision: str = "float32"
    cost: Cost = field(default_factory=Cost)
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What one request gave for one target.

    Attributes:
        request: what was asked.
        answer: the `Attribution` of some images, or, where no image has one, the reason why.
        failures: the other images, counted from 0, and why they have none.
    """

    request: Request
    answer: Attribution | PellucidError
    failures: Mapping[int, PellucidError] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """What one request gave for a chunk of images, and those of the chunk for which it failed."""

    found: Attribution
    failures: Mapping[int, PellucidError]


@dataclass
class Answer:
    """What has come of one request for one target.

    `refused` is an error that is about the request or the model, `first` that of several images together.
    """

    parts: list[Part] = field(default_factory=list)
    failures: dict[int, PellucidError] = field(default_factory=dict)
    refused: PellucidError | None = None
    first: PellucidError | None = None
    cost: Cost = field(default_factory=Cost)

    def take(self, images: range, found: Part | PellucidError | None, cost: Cost) -> None:
        """Adds what came of some images; None where each of them is to be run alone."""
        self.cost += cost
        if found is None:
            return
        if isinstance(found, Part):
            self.parts.append(found)
            self.failures |= found.failures
        elif len(images) == 1:
            self.failures[images[0]] = found
        else:
            self.first = self.first or found
        if self.refuses(found):
            self.refused = found

    def refuses(self, found: Part | PellucidError) -> TypeGuard[PellucidError]:
        """Whether an error is about the request or the model, whatever the image."""
        return isinstance(found, PellucidError) and not isinstance(found, ModelFailed) and not self.parts


def outcome_of(request: Request, answer: Answer, engine: Engine, seed: int) -> Outcome:
    """The outcome of all images, from what came of each chunk."""
    total = engine.images or 0
    parts = sorted((part.found for part in answer.parts), key=lambda part: part.images[0])
    images = tuple(image for part in parts for image in part.images)
    known, refused = answer.failures, answer.refused
    failures = {i: known.get(i) or refused for i in range(total) if i not in images}
    reasons = {i: error for i, error in failures.items() if error is not None}
    if not parts:
        return Outcome(request, answer.first or refused or reasons[min(reasons)], reasons)
    found = Attribution(
        images,
        concatenated([part.finding for part in parts]),
        TargetFn.concatenated([part.target_fn for part in parts]),
        torch.cat([part.score for part in parts]),
        [row for part in parts for row in part.predictions],
        [notes for part in parts for notes in part.notes],
        [lowered for part in parts for lowered in part.lowered],
        # The first chunk speaks for all.
        {what: choice for part in reversed(parts) for what, choice in part.chosen.items()},
        engine.ran_in(),
        answer.cost,
        seed,
    )
    return Outcome(request, found, reasons)
