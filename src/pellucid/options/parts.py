"""Options about parts of a picture: how it is cut, and what stands for a missing part."""

from collections.abc import Hashable
from typing import Annotated, Any

from pellucid import baselines, segments
from pellucid.options.types import Kind

Segments = Annotated[
    Any, Kind("quickshift | slic | felzenszwalb | grid:N", lambda _, how: segments.check(how))
]
"""Superpixels: a name, labels (H, W) or a callable that makes them; see `pellucid.segments.segment`."""

SEGMENT_MEAN = "segment-mean"
"""Each superpixel's own mean colour: LIME's default for the hidden ones."""

Baseline = Annotated[
    Any, Kind(f"{' | '.join(baselines.NAMES)} | number | picture", lambda _, spec: baselines.check(spec))
]
"""What replaces hidden parts: a name, a number, a tensor or a picture; see `pellucid.baselines.baseline`."""

SegmentBaseline = Annotated[
    Any,
    Kind(
        f"{SEGMENT_MEAN} | {' | '.join(baselines.NAMES)} | number | picture",
        lambda _, spec: spec if isinstance(spec, str) and spec == SEGMENT_MEAN else baselines.check(spec),
    ),
]
"""The same for superpixels, which can also be hidden behind their own mean colour."""


def same(spec: Any) -> Hashable:
    """What tells two values of such an option apart: themselves, or which object they are."""
    return spec if isinstance(spec, str | int | float) else id(spec)
