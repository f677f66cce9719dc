"""A task whose truth can be written down: a network that counts colours, and pictures of coloured dots."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from pellucid.model import Model
from pellucid.preprocess import Preprocess
from pellucid.truth.scenes import Element, Scene
from pellucid.truth.tasks import Subject


class Counting(nn.Module):
    """The score of a class is how much of its colour there is, strong colours above all."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square().sum((2, 3))


class Dots:
    """A black picture with a green pixel, and red dots that are so many pixels wide."""

    name, half = "dots", "development"

    def __init__(self, sizes: Sequence[int], localised: bool = True, side: int = 8) -> None:
        self.sizes, self.localised, self.side = sizes, localised, side
        preprocess = Preprocess(size=(side, side), scale_to=side, mean=(0.0,) * 3, std=(0.5,) * 3)
        self.model = Model(Counting(), preprocess=preprocess)

    def subject(self, *, progress: bool | None = None) -> Subject:
        return Subject(self.model)

    def scene(self, seed: int, number: int) -> Scene:
        dots = [
            Element(
                "other",
                "green",
                self.side - 1,
                self.side - 1,
                np.ones((1, 1), np.float32),
                colour(0, 1, 0, side=1),
            )
        ]
        for i, side in enumerate(self.sizes):
            alpha = np.ones((side, side), np.float32)
            dots.append(Element("class", "red", 1, 1 + 4 * i, alpha, colour(1, 0, 0, side=side)))
        return Scene(np.zeros((self.side, self.side, 3), np.float32), tuple(dots), (number % 2,))

    def targets(self, scores: Tensor, scene: Scene) -> Sequence[int]:
        return [int(scores.argmax())] if int(scores.argmax()) == scene.labels[0] else []

    def rival(self, scores: Tensor, scene: Scene, target: int) -> int:
        return 1


def colour(*channels: float, side: int) -> np.ndarray:
    return np.broadcast_to(np.float32(channels), (side, side, 3))
