"""What is known of a tensor that depends on the picture."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pellucid.engine.axes.kinds import Axes, Edges, spatial

Interval = tuple[float, float]
WHOLE: Interval = (0.0, 1.0)


class Trace(NamedTuple):
    """What is known of a tensor that depends on the picture.

    `axes` has a word for each of its axes, or is None where they are unknown; `flips` tells whether rows and
    columns run backwards; `pooled` whether a pooling gave it; `attends` whether it is a softmax's weights;
    `cover` from where to where rows and columns reach, the picture being from 0 to 1 in their own direction;
    `mixed` whether attention had a part in it;
    `paths` are the bits of the layers through which the picture last came, by group (see `Follower.group`),
    `behind` those of all calls of layers that it depends on; `why` says how the axes were lost.
    """

    axes: Axes | None
    flips: tuple[bool, bool] = (False, False)
    pooled: bool = False
    attends: bool = False
    paths: int = 0
    behind: int = 0
    why: str = ""
    cover: tuple[Interval, Interval] = (WHOLE, WHOLE)
    mixed: bool = False


_KEPT: Mapping[Any, Edges] = {}


def joined(
    before: Sequence[Trace],
    axes: Axes | None,
    flips: tuple[bool, bool] = (False, False),
    pooled: bool = False,
    attends: bool = False,
    why: str = "",
    edges: Mapping[Any, Edges] = _KEPT,
) -> Trace:
    """What is known of the result of an operation, from what is known of its operands `before`."""
    paths = behind = 0
    for trace in before:
        paths |= trace.paths
        behind |= trace.behind
    known = [trace for trace in before if trace.axes is not None and spatial(trace.axes)]
    covers = [max((t.cover[i] for t in known), key=_beyond, default=WHOLE) for i in (0, 1)]
    rows, columns = (_moved(cover, edges.get(axis)) for cover, axis in zip(covers, "hw", strict=True))
    mixed = any(trace.mixed for trace in before)
    return Trace(axes, flips, pooled, attends, paths, behind, why, (rows, columns), mixed)


def _beyond(cover: Interval) -> float:
    return max(abs(cover[0]), abs(cover[1] - 1))


def _moved(cover: Interval, edges: Edges | None) -> Interval:
    """What rows or columns reach over after cells were put before and behind them, or cut off."""
    if edges is None:
        return cover
    low, high, size = edges
    cell = (cover[1] - cover[0]) / size
    return cover[0] - low * cell, cover[1] + high * cell


def mirrored(trace: Trace, before: tuple[bool, bool]) -> Trace:
    """What is flipped reaches as far, from its other end."""
    if trace.flips == before:
        return trace
    rows, columns = (
        (1 - cover[1], 1 - cover[0]) if flip != old else cover
        for cover, flip, old in zip(trace.cover, trace.flips, before, strict=True)
    )
    return trace._replace(cover=(rows, columns))


def shift(cover: Interval, cells: int) -> float:
    """By how many of its cells a side's middle lies beside the picture's."""
    return abs(cover[0] + cover[1] - 1) / 2 * cells


def stretch(cover: Interval, cells: int) -> float:
    """By how many cells the first or last one lies beside where it is drawn, the cells tiling the picture."""
    half = 0.5 / cells
    first = cover[0] + (cover[1] - cover[0]) * half
    last = cover[1] - (cover[1] - cover[0]) * half
    return max(abs(first - half), abs(last - 1 + half)) * cells
