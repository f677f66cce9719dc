"""The lesson: a network's answers on held-out digits, explained by many methods, and the methods judged."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8

from pellucid.compare import compare
from pellucid.comparison import Comparison
from pellucid.digits.data import Digits
from pellucid.digits.training import scores
from pellucid.errors import ModelError
from pellucid.images import Picture, open_picture
from pellucid.intervals import Interval, proportion
from pellucid.model import Model
from pellucid.networks.digits import SIDE

METHODS = (
    *("grad-cam", "grad-cam++", "layer-cam", "score-cam"),
    *("lime:segments=grid:7,baseline=black", "rise", "occlusion"),  # a cell's mean would hide next to nothing
    *("saliency", "input-x-gradient", "smooth-grad", "integrated-gradients", "lrp", "guided-backprop"),
    "random-cam",
)
"""What the lesson compares on every network: the last, which knows nothing, shows what that looks like."""

SUITED: Mapping[str, tuple[str, ...]] = {
    "cnn": (),
    "residual": ("cam",),
    "vit": ("attention-rollout", "transformer-attribution", "attn-lrp"),
}
"""What it compares besides, by architecture."""

MISTAKES = 4
"""How many of the network's worst mistakes are explained."""


@dataclass(frozen=True)
class Answer:
    """What a network said of one held-out picture.

    Attributes:
        index: of the picture among those held out.
        picture: it.
        label: the name of its class.
        predicted: the name of the class that the network took it for.
        probability: that the network gave this class.
    """

    index: int
    picture: Picture
    label: str
    predicted: str
    probability: float

    @property
    def right(self) -> bool:
        """Whether the network recognised it."""
        return self.label == self.predicted


@dataclass(frozen=True)
class Lesson:
    """All that the lesson's page shows.

    Attributes:
        digits: the pictures.
        model: the network, as a model.
        training: how it was trained, as its file says it.
        architecture: its name.
        accuracy: on held-out pictures.
        confusion: (K, K), how many of each class (rows) were taken for which (columns).
        answers: the pictures that are explained: one of each class, then the worst mistakes.
        comparison: their explanations by all methods, with verdicts and curves.
        seconds: that explaining and judging took.
    """

    digits: Digits
    model: Model
    training: Mapping[str, Any]
    architecture: str
    accuracy: Interval
    confusion: Int[np.ndarray, "K K"]
    answers: tuple[Answer, ...]
    comparison: Comparison
    seconds: float

    @property
    def mistakes(self) -> int:
        """How many held-out pictures the network does not recognise."""
        return int(self.confusion.sum() - self.confusion.trace())


def make_lesson(
    model: Model,
    digits: Digits,
    *,
    architecture: str,
    training: Mapping[str, Any],
    methods: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Lesson:
    """Explains one picture of each class and the worst mistakes by many methods, and judges the methods.

    Args:
        model: a network that reads one channel of 28 by 28 pixels.
        digits: the pictures; those held out are explained.
        architecture: the network's name.
        training: how it was trained.
        methods: those that are compared; `METHODS` and `SUITED` unless given.
        seed: of everything drawn at random.
        progress: whether a bar is shown; None where there is a terminal.

    Raises:
        ModelError: the network reads other inputs, or has another number of classes.
    """
    began = time.monotonic()
    outputs = _outputs(model, digits)
    predicted = outputs.argmax(1).numpy()
    labels = digits.test.labels
    confusion = np.zeros((len(digits.labels),) * 2, np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    chosen = _one_of_each(labels, predicted) + _worst(outputs, labels)
    answers = tuple(_answer(digits, int(i), outputs[i]) for i in chosen)
    asked = methods if methods is not None else (*METHODS, *SUITED.get(architecture, ()))
    comparison = compare(
        model,
        [answer.picture for answer in answers],
        list(asked),
        seed=seed,
        progress=progress,
        verdict=True,
        curves=True,
    )
    return Lesson(
        digits,
        model,
        training,
        architecture,
        proportion(int(confusion.trace()), len(labels)),
        confusion,
        answers,
        comparison,
        time.monotonic() - began,
    )


def _outputs(model: Model, digits: Digits) -> torch.Tensor:
    """What the network says of all held-out pictures."""
    try:
        outputs = scores(model.network, digits.test.inputs)
    except RuntimeError as error:
        raise ModelError(
            f"{model.name} must read one channel of {SIDE} by {SIDE} pixels: train such a network with "
            "`pellucid train digits`."
        ) from error
    if outputs.shape != (len(digits.test), len(digits.labels)):
        raise ModelError(
            f"{model.name} must have {len(digits.labels)} classes, as {digits.name} has; it gives "
            f"{tuple(outputs.shape[1:])}."
        )
    return outputs


def _one_of_each(labels: UInt8[np.ndarray, " N"], predicted: Int[np.ndarray, " N"]) -> list[int]:
    """The first picture of each class that is recognised."""
    right = np.flatnonzero(labels == predicted)
    return [int(right[labels[right] == k][0]) for k in np.unique(labels[right])]


def _worst(outputs: torch.Tensor, labels: UInt8[np.ndarray, " N"]) -> list[int]:
    """The mistakes of which the network is surest."""
    sure, predicted = outputs.softmax(1).max(1)
    wrong = np.flatnonzero(predicted.numpy() != labels)
    return [int(i) for i in wrong[np.argsort(-sure.numpy()[wrong], kind="stable")][:MISTAKES]]


def _answer(digits: Digits, index: int, outputs: torch.Tensor) -> Answer:
    predicted = int(outputs.argmax())
    picture = replace(open_picture(digits.test.picture(index)), name=f"test {index}")
    return Answer(
        index,
        picture,
        digits.labels[digits.test.labels[index]],
        digits.labels[predicted],
        float(outputs.softmax(0)[predicted]),
    )
