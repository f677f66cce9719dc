"""Axes merged and split by a reshape."""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor

from pellucid.engine.axes.kinds import Axes, Axis, Fine, Tokens, spatial
from pellucid.engine.axes.operands import Operands, first_argument


def reshape(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Axes merged and split."""
    x = first_argument(args, kwargs)
    axes = on.of(x)
    if axes is None or x.numel() != out.numel():
        return None
    found: list[Axis] = []
    for old, new in _with_single(on, axes, aligned(x.shape, out.shape)):
        part = _regrouped(on, [axes[i] for i in old], [x.shape[i] for i in old], [out.shape[i] for i in new])
        if part is None:
            return None
        found += part
    return tuple(found)


def _with_single(
    on: Operands, axes: Axes, groups: list[tuple[list[int], list[int]]]
) -> list[tuple[list[int], list[int]]]:
    """Groups in which a side of one pixel, left out or put in, goes with the other side."""
    found: list[tuple[list[int], list[int]]] = []
    for old, new in groups:
        before = found[-1] if found else ([], [])
        last, first = ([axes[i] for i in group] for group in (before[0], old))
        rows = (last, before[1], first[:1]) == (["h"], [], ["w"])
        columns = (last[-1:], new, first) == (["h"], [], ["w"])
        made = not last and any(isinstance(axis, Tokens) and axis.grid[0] == 1 for axis in first)
        behind = not first and any(isinstance(axis, Tokens) and axis.grid[1] == 1 for axis in last)
        if found and (rows or columns or made or behind):
            old, new = before[0] + old, before[1] + new
            found.pop()
        found.append((old, new))
    return found


def _regrouped(on: Operands, axes: list[Axis], sizes: list[int], new: list[int]) -> list[Axis] | None:
    """The axes of one group of sizes that becomes another of the same product."""
    if not new:
        if any(axis in ("h", "w") or isinstance(axis, Tokens) for axis in axes):
            on.why = "a side of one pixel is left out"
        return []
    if not axes:
        return ["-"] * len(new)
    if len(axes) == 1 and len(new) == 1:
        return axes
    rest: list[Axis] = ["-"] * (len(new) - 1)
    wide = [(axis, size) for axis, size in zip(axes, sizes, strict=True) if size > 1 or axis != "-"]
    words = [axis for axis, _ in wide]
    if words[:1] in (["n"], ["N"]):
        if not all(axis == "-" for axis in words[1:]):
            return None  # positions among the samples
        return ["n" if new[0] == on.batch else "N", *rest]
    if not spatial(tuple(words)):
        return None if {"n", "N"} & set(words) else ["-", *rest]
    first = words[0]
    if first == "-" or {"n", "N"} & set(words):
        if {"n", "N"} & set(words):
            return None
        on.why = "rows or columns are merged with channels"
        return ["-", *rest]
    if isinstance(first, Tokens):
        if len(words) == 1 and tuple(new) == first.grid and not first.before + first.after:
            return ["h", "w"]
        return None
    if isinstance(first, Fine):
        return None
    if all(axis == "-" for axis in words[1:]):  # one side, with or without what is finer than it
        return split_side(first, new) if len(words) == 1 else [first, *rest]
    at = words.index("w") if first == "h" and "w" in words else len(words)
    if not whole(wide[:at]) or not whole(wide[at:]):
        return None
    if at == len(words):
        return split_side(first, new)
    grid = prod(s for _, s in wide[:at]), prod(s for _, s in wide[at:])
    if len(new) == 1:
        return [Tokens(grid)]
    return ["h", "w"] if tuple(new) == grid else None


def split_side(side: Axis, sizes: Sequence[int]) -> list[Axis]:
    """The axes of rows or columns that are split into parts of these sizes, the coarsest first.

    Example:
        >>> split_side("h", (2, 3, 4))
        ['h', Fine(side='h', step=4), Fine(side='h', step=1)]
    """
    return [side, *(Fine(str(side), prod(sizes[i + 1 :])) for i in range(1, len(sizes)))]


def whole(parts: Sequence[tuple[Axis, int]]) -> bool:
    """Whether axes, with their sizes, are one side's from its coarsest part to its finest."""
    if not parts:
        return True
    side, step = parts[0][0], 1
    for axis, size in reversed(parts[1:]):
        if axis != Fine(str(side), step):
            return False
        step *= size
    return True


def aligned(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The smallest groups of neighbouring axes with the same product on both sides of a reshape.

    Example:
        >>> aligned((2, 6, 5, 1), (2, 2, 3, 5))
        [([0], [0]), ([1], [1, 2]), ([2], [3]), ([3], [])]
    """
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        if i < len(old) and old[i] == 1 and (j == len(new) or new[j] != 1):
            groups.append(([i], []))
            i += 1
            continue
        if j < len(new) and new[j] == 1 and (i == len(old) or old[i] != 1):
            groups.append(([], [j]))
            j += 1
            continue
        a, b, x, y = [i], [j], old[i], new[j]
        i, j = i + 1, j + 1
        while x != y:
            if x < y:
                a.append(i)
                x *= old[i]
                i += 1
            else:
                b.append(j)
                y *= new[j]
                j += 1
        groups.append((a, b))
    return groups
