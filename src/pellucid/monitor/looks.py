"""What a watch saw: one look at all pictures, and the history of all looks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

KEPT = 64
"""Cells of a kept map along its longer side: finer maps are averaged, so that many fit in memory."""


@dataclass(frozen=True)
class Seen:
    """One picture in one look; what it does not have is None.

    Attributes:
        name: of the picture.
        target: the class that was explained, `label` its name.
        score: the explained number.
        prediction: the class predicted, `predicted` its name, `probability` its probability.
        agreement: of the map with that of the look before: see `pellucid.agreement`.
        notes: what a reader should know of the map.
        error: why there is no map.
    """

    name: str
    target: int | None = None
    label: str | None = None
    score: float | None = None
    prediction: int | None = None
    predicted: str | None = None
    probability: float | None = None
    agreement: float | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None

    @property
    def right(self) -> bool:
        """Whether the class that was explained is the one that is predicted."""
        return self.target is not None and self.target == self.prediction

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> "Seen":
        """One picture as `Look.to_dict` wrote it."""
        known: dict[str, Any] = {name: written[name] for name in cls.__dataclass_fields__ if name in written}
        return cls(**{**known, "notes": tuple(known.get("notes", ()))})


@dataclass(frozen=True, eq=False)
class Look:
    """All pictures at one step.

    Attributes:
        step: how many optimiser steps were done.
        maps: (N, h, w) their evidence, channels summed, at most `KEPT` cells to a side; NaN where there is
            none.
        pictures: the numbers of each.
        seconds: that the look took.
        per_pixel: whether the method speaks of the input's own pixels.
    """

    step: int
    maps: Float[Tensor, "N h w"]
    pictures: tuple[Seen, ...]
    seconds: float = 0.0
    per_pixel: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Everything but the maps, as plain JSON."""
        return {
            "step": self.step,
            "seconds": round(self.seconds, 4),
            "per_pixel": self.per_pixel,
            "pictures": [{**asdict(one), "notes": list(one.notes)} for one in self.pictures],
        }

    @classmethod
    def of(cls, written: Mapping[str, Any], maps: Float[Tensor, "N h w"]) -> "Look":
        """A look as `to_dict` wrote it, and its maps."""
        pictures = tuple(Seen.of(one) for one in written["pictures"])
        return cls(
            int(written["step"]), maps, pictures, float(written["seconds"]), bool(written["per_pixel"])
        )


class History:
    """All looks in the order of their steps, as tensors on the CPU.

    A look at a step takes the place of earlier ones at that step or behind it, which are of a course that
    training did not take: it was resumed from before them.

    Attributes:
        names: of the N pictures.
        looks: the T looks.
        failures: {step: why there is no look, or why it could not be written}.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.looks: list[Look] = []
        self.failures: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.looks)

    def add(self, look: Look) -> None:
        """Takes a look."""
        self.looks = [*(one for one in self.looks if one.step < look.step), look]

    @property
    def last(self) -> Look | None:
        """The latest look."""
        return self.looks[-1] if self.looks else None

    @property
    def steps(self) -> Int[Tensor, " T"]:
        """The step of each look."""
        return torch.tensor([look.step for look in self.looks], dtype=torch.long, device="cpu")

    @property
    def maps(self) -> Float[Tensor, "T N h w"]:
        """The evidence of each picture in each look; NaN where there is none."""
        if not self.looks:
            return torch.zeros(0, len(self.names), 0, 0, dtype=torch.float32, device="cpu")
        return torch.stack([look.maps for look in self.looks])

    @property
    def scores(self) -> Float[Tensor, "T N"]:
        """The explained number; NaN where there is none."""
        return self._numbers(lambda one: one.score)

    @property
    def probabilities(self) -> Float[Tensor, "T N"]:
        """Of the predicted class; NaN where there is none."""
        return self._numbers(lambda one: one.probability)

    @property
    def agreements(self) -> Float[Tensor, "T N"]:
        """Of each map with the one of the look before; NaN in the first look."""
        return self._numbers(lambda one: one.agreement)

    @property
    def predictions(self) -> Int[Tensor, "T N"]:
        """The predicted class; -1 where there is none."""
        return self._classes(lambda one: one.prediction)

    @property
    def targets(self) -> Int[Tensor, "T N"]:
        """The explained class; -1 where there is none."""
        return self._classes(lambda one: one.target)

    @property
    def seconds(self) -> float:
        """That all looks took together."""
        return sum(look.seconds for look in self.looks)

    def _numbers(self, of: Callable[[Seen], float | None]) -> Tensor:
        rows = [
            [float("nan") if (value := of(one)) is None else value for one in look.pictures]
            for look in self.looks
        ]
        return torch.tensor(rows, dtype=torch.float64, device="cpu").reshape(len(rows), len(self.names))

    def _classes(self, of: Callable[[Seen], int | None]) -> Tensor:
        rows = [[-1 if (value := of(one)) is None else value for one in look.pictures] for look in self.looks]
        return torch.tensor(rows, dtype=torch.long, device="cpu").reshape(len(rows), len(self.names))
