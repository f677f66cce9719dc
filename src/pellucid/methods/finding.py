"""What a method found."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Finding:
    """A method's raw, signed map, and what it can tell besides.

    Attributes:
        map: (N, h, w) at a layer's resolution or (N, C, H, W) at the input's, in the model's precision.
        stderr: the standard error of `map`, of its shape, for sampled methods.
        details: tensors with the images first, such as a CAM's channel `weights`.
        layers: the names of the layers that were read.
    """

    map: Tensor
    stderr: Tensor | None = None
    details: Mapping[str, Tensor] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
