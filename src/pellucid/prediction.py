"""One class of a model's answer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """One class of a model's answer; `probability` in [0, 1]."""

    index: int
    label: str
    probability: float
