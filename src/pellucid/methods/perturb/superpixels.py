"""The interpretable representation of pictures: superpixels that are kept or hidden as wholes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.engine.perturb import Copies
from pellucid.methods.options import SEGMENT_MEAN
from pellucid.probe import Probe
from pellucid.segments import mean_colours, segment


@dataclass(frozen=True, eq=False)
class Superpixels:
    """One image cut into d segments, and what shows where a segment is hidden."""

    image: Float[Tensor, "1 C H W"]
    labels: Int[Tensor, "H W"]
    fill: Float[Tensor, "1 C H W"]

    @classmethod
    def of(cls, probe: Probe, segments: Any, baseline: Any) -> "Superpixels":
        """The segments of a single image.

        Raises:
            InvalidValue, InvalidType: segments that do not hold, see `pellucid.segments.segment`.
        """
        labels = segment(np.asarray(probe.pictures[0].rgb), segments)
        if isinstance(baseline, str) and baseline == SEGMENT_MEAN:
            fill = mean_colours(probe.inputs[0].cpu(), labels)[None].to(probe.inputs)
        else:
            fill = probe.baseline(baseline)
        return cls(probe.inputs, labels.to(probe.inputs.device), fill)

    @property
    def count(self) -> int:
        """d."""
        return int(self.labels.max()) + 1

    def hiding(self, rows: Float[Tensor, "n d"]) -> Copies:
        """Copies of the image that show the segments which `rows` keep."""

        def copies(start: int, stop: int) -> Tensor:
            kept = rows[start:stop].to(self.image)[:, self.labels]  # (B, H, W)
            return torch.lerp(self.fill, self.image, kept[:, None])

        return copies

    def painted(self, coefficients: Float[Tensor, " d"]) -> Float[Tensor, "1 H W"]:
        """A map that has each segment's coefficient at its pixels."""
        labels = self.labels.to(coefficients.device)
        return coefficients[labels][None]
