"""How a tensor holds the grid, by its axes."""

from collections.abc import Sequence
from typing import Literal

from pellucid.engine.axes.kinds import Axes, Tokens, spatial
from pellucid.engine.axes.trace import Trace
from pellucid.layers import Layout


def layout_of(trace: Trace, shape: Sequence[int], images: int) -> Layout | None:
    """How a tensor holds the grid, if it does in one of the ways that feature maps are read."""
    axes = trace.axes
    if axes is None or not spatial(axes):
        return None
    batch = [i for i, axis in enumerate(axes) if axis == "n" or (images == shape[i] == 1 and axis == "-")]
    if len(shape) == 4 and 0 in batch:
        if axes[1:] == ("-", "h", "w"):
            grid = shape[2], shape[3]
            return Layout("NCHW", grid, flips=trace.flips) if grid[0] * grid[1] > 1 else None
        if axes[1:] == ("h", "w", "-"):
            grid = shape[1], shape[2]
            return Layout("NHWC", grid, flips=trace.flips) if grid[0] * grid[1] > 1 else None
    if len(shape) == 3 and axes[2] == "-":
        for axis, other in ((1, 0), (0, 1)):
            tokens = axes[axis]
            if isinstance(tokens, Tokens) and other in batch and tokens.grid[0] * tokens.grid[1] > 1:
                kind: Literal["NTC", "TNC"] = "NTC" if axis else "TNC"
                return Layout(kind, tokens.grid, tokens.before, trace.flips)
    return None


def turned(axes: Axes | None) -> bool:
    """Whether columns stand where rows should."""
    return axes is not None and len(axes) == 4 and axes[1:] in (("-", "w", "h"), ("w", "h", "-"))
