"""What a result cost: samples run forward and backward, and seconds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Samples run forward and backward through the model, and wall seconds.

    Example:
        >>> Cost(1, 1, 0.5) + Cost(50, 0, 1.0)
        Cost(forward=51, backward=1, seconds=1.5)
    """

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.forward + other.forward, self.backward + other.backward, self.seconds + other.seconds
        )
