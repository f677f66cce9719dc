"""The interpretable representation of pictures: superpixels that are kept or hidden as wholes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.engine.perturb import Copies
from pellucid.errors import InvalidValue
from pellucid.options.parts import SEGMENT_MEAN
from pellucid.probe import Probe
from pellucid.segments import cells, mean_colours, segment, superpixels

_SMALL, _FEW = 64, 8
"""Pictures up to this side are cut into a grid where an algorithm finds fewer segments than this in them."""


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
        labels = _labels(probe, segments)
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


def _labels(probe: Probe, segments: Any) -> Int[Tensor, "H W"]:
    """The segments of a single image; of a picture in which an algorithm finds too few, a grid's cells."""
    rgb = np.asarray(probe.pictures[0].rgb)
    if not isinstance(segments, str) or segments.startswith("grid"):
        return segment(rgb, segments)
    found = torch.from_numpy(superpixels(rgb, segments))
    height, width = rgb.shape[:2]
    small, grid = max(height, width) <= _SMALL, cells(height, width)
    count, instead = (len(labels.unique()) for labels in (found, grid))
    if count == 1 or (small and count < min(_FEW, instead)):
        if instead == 1:
            raise InvalidValue("Segments need an input of at least 2 pixels; it has 1.")
        rows, columns = (len(side.unique()) for side in (grid[:, 0], grid[0]))
        text = f"a grid of {rows} x {columns} cells"
        probe.note(
            f"{segments} finds {count} segment{'s' * (count > 1)} in the {height} x {width} pixels of the "
            f"input, too few: {text} is explained instead."
        )
        probe.choose("segments", text)
        return grid
    return segment(rgb, found)
