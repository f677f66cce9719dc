"""What a result cost: samples run forward and backward, and seconds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Samples run forward and backward through the model, and wall seconds.

    `resumed` counts the samples for which only the part of the model behind a layer ran.

    Example:
        >>> Cost(1, 1, 0.5) + Cost(50, 0, 1.0)
        Cost(forward=51, backward=1, seconds=1.5, resumed=0)
        >>> print(Cost(1, 1), "/", Cost(9, 0, resumed=2048))
        1 forward and 1 backward passes / 9 forward and 0 backward passes, 2048 from a layer on
    """

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0
    resumed: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.forward + other.forward,
            self.backward + other.backward,
            self.seconds + other.seconds,
            self.resumed + other.resumed,
        )

    def share(self, images: int) -> "Cost":
        """The share of each of several images that were run together.

        Example:
            >>> Cost(4, 4, 1.0).share(4)
            Cost(forward=1, backward=1, seconds=0.25, resumed=0)
        """
        return Cost(
            self.forward // images, self.backward // images, self.seconds / images, self.resumed // images
        )

    def __str__(self) -> str:
        resumed = f", {self.resumed} from a layer on" if self.resumed else ""
        return f"{self.forward} forward and {self.backward} backward passes{resumed}"
