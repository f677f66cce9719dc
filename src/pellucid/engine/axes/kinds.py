"""The axes of a tensor: the batch, rows, columns, tokens, or anything else.

An axis is "n" (the batch), "h" (rows), "w" (columns), `Tokens` (all positions, row by row), `Fine` (a finer
part of rows or columns that were split), "N" (the batch with other axes behind it), or "-" (anything else:
channels, heads, steps of a recurrence).
"""

from typing import NamedTuple


class Tokens(NamedTuple):
    """An axis of tokens: `before` of no position (class, registers), one for each cell, `after` of none."""

    grid: tuple[int, int]
    before: int = 0
    after: int = 0


class Fine(NamedTuple):
    """Where in each step of its side's coarse axis: every place is `step` rows, or columns, from the next."""

    side: str
    step: int


Axis = str | Tokens | Fine
Edges = tuple[float, float, int]
Axes = tuple[Axis, ...]
BORDER = 6
"""Pixels of an even border, such as a convolution of up to 7 x 7 takes up again."""
PADDING = 1 / 8
"""Of the size of a side: what a padding, or its removal, may take before positions no longer fit."""


def spatial(axes: Axes) -> bool:
    """Whether rows or columns are among the axes."""
    return any(axis in ("h", "w") or isinstance(axis, Tokens) for axis in axes)
