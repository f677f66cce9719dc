"""Axes of which a part is taken, or that are summed over."""

from typing import Any

from torch import Tensor

from pellucid.engine.axes.broadcasting import elementwise
from pellucid.engine.axes.kinds import PADDING, Axes, Axis, Fine, Tokens
from pellucid.engine.axes.operands import Operands, first_argument


def reduce(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Sums, means, maxima: the axes that are summed over are gone."""
    if len(args) > 1 and isinstance(args[1], Tensor):  # max(x, y)
        return elementwise(on, args, kwargs, out)
    x = first_argument(args, kwargs)
    axes = on.of(x)
    if axes is None:
        return None
    ordered = len(args) > 1 and isinstance(args[1], (float, str))  # a norm's order comes before its axes
    place = args[2:3] if ordered else args[1:2]
    given = next((a for a in place if not isinstance(a, bool)), None)
    dims = kwargs.get("dim", kwargs.get("axis", given))
    dims = range(x.ndim) if dims is None else (dims,) if isinstance(dims, int) else dims
    gone = {d % x.ndim for d in dims} if x.ndim else set()
    kept = tuple(axis for i, axis in enumerate(axes) if i not in gone)
    if out.ndim == len(kept):
        return kept
    return tuple("-" if i in gone else a for i, a in enumerate(axes)) if out.ndim == x.ndim else None


def getitem(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Parts of a tensor, by slices and whole numbers."""
    x, index = args[0], args[1] if isinstance(args[1], tuple) else (args[1],)
    axes = on.of(x)
    if axes is None or not all(i is None or i is Ellipsis or type(i) in (int, slice) for i in index):
        return None
    taken = sum(i is not None and i is not Ellipsis for i in index)
    if Ellipsis in [i for i in index if i is Ellipsis]:
        at = next(n for n, i in enumerate(index) if i is Ellipsis)
        index = (*index[:at], *[slice(None)] * (x.ndim - taken), *index[at + 1 :])
    else:
        index = (*index, *[slice(None)] * (x.ndim - taken))
    found: list[Axis] = []
    d = 0
    for i in index:
        if i is None:
            found.append("-")
            continue
        axis, size = axes[d], x.shape[d]
        d += 1
        if isinstance(i, int):
            if axis in ("n", "N") and size > 1:
                return None
            continue
        part = sliced(on, axis, size, *i.indices(size))
        if part is None:
            return None
        found.append(part)
    return tuple(found)


def sliced(on: Operands, axis: Axis, size: int, start: int, stop: int, step: int = 1) -> Axis | None:
    """An axis of which a part is taken."""
    if axis == "-" or (start == 0 and stop >= size and step == 1):
        return axis
    if isinstance(axis, Fine):
        return None
    if isinstance(axis, Tokens):
        least, most = axis.before, size - axis.after
        if step == 1 and start <= least and stop >= most:
            return Tokens(axis.grid, least - start, stop - most)
        return "-" if stop <= least or start >= most else None
    if axis in ("h", "w"):
        lost = start + max(0, size - stop)
        if (step > 1 and start < step and size - stop < step) or lost <= max(1, PADDING * size / 2):
            if step == 1:
                on.edges[axis] = -start, min(0, stop - size), size
            return axis
        on.why = "the picture is padded or cropped inside the model"
    return None


def narrow(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """A part of one axis."""
    x = first_argument(args, kwargs)
    axes = on.of(x)
    names = ("dim", "start", "length")
    given = [args[i] if len(args) > i else kwargs.get(name) for i, name in enumerate(names, 1)]
    if axes is None or not all(isinstance(g, int) for g in given):
        return None
    d, start, length = given
    part = sliced(on, axes[d], x.shape[d], start % x.shape[d], start % x.shape[d] + length)
    d %= x.ndim
    return None if part is None else (*axes[:d], part, *axes[d + 1 :])


def select(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """One place of an axis, which is gone."""
    axes = on.of(first_argument(args, kwargs))
    d = args[1] if len(args) > 1 else kwargs.get("dim", 0)
    if axes is None or not isinstance(d, int) or axes[d] in ("n", "N"):
        return None
    return tuple(axis for i, axis in enumerate(axes) if i != d % len(axes))


def split(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """One of the parts, or places, that an axis is split into."""
    x = first_argument(args, kwargs)
    axes = on.of(x)
    if axes is None:
        return None
    gone = out.ndim < x.ndim  # unbind
    d = kwargs.get("dim", args[1 if gone else 2] if len(args) > (1 if gone else 2) else 0) % x.ndim
    if axes[d] != "-" and not isinstance(axes[d], Fine):
        sizes = args[1] if len(args) > 1 else next((v for k, v in kwargs.items() if k != "dim"), None)
        if gone or not isinstance(axes[d], Tokens) or not isinstance(sizes, (list, tuple)):
            return None
        start = sum(sizes[:number])
        part = sliced(on, axes[d], x.shape[d], start, start + sizes[number])
        return None if part is None else (*axes[:d], part, *axes[d + 1 :])
    return (*axes[:d], *axes[d + 1 :]) if gone else axes


DROPPED = {"mean": "they are averaged over positions", "sum": "they are summed over positions"}
"""How positions are lost, in words."""
