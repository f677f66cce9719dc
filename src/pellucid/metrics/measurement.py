"""What a metric measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Measurement:
    """One number for each image, and what it was made of.

    Attributes:
        value: (N,) float64 on the CPU.
        details: tensors with the images first, such as a `curve` (N, S + 1) over `fractions` (N, S + 1).
    """

    value: Float[Tensor, " N"]
    details: Mapping[str, Tensor] = field(default_factory=dict)
