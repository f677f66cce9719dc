"""Axes of tensors put together, or repeated."""

from typing import Any

from torch import Tensor

from pellucid.engine.axes.broadcasting import merged
from pellucid.engine.axes.kinds import Axes, Tokens
from pellucid.engine.axes.operands import Operands, first_argument


def cat(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Side by side: more channels, or more tokens."""
    parts = list(args[0] if args else kwargs["tensors"])
    d = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0)) % out.ndim
    known = [on.of(part) for part in parts]
    if any(axes is None for axes in known):
        return None
    along = [axes[d] for axes in known if axes is not None and len(axes) == out.ndim]
    shape = list(out.shape)
    operands = []
    for part in parts:
        if id(part) in on.axes:
            sizes = list(part.shape)
            sizes[d] = shape[d] if all(axis == "-" for axis in along) else -1
            operands.append((part, tuple(sizes)))
    found = merged(on, operands, shape)
    cells = [i for i, axis in enumerate(along) if isinstance(axis, Tokens)]
    if not cells:
        if all(axis == "-" for axis in along):
            return found
        return None
    if len(cells) > 1:
        return None
    (at,) = cells
    rest, sizes = on.axes[id(parts[at])] or (), [part.shape[d] for part in parts]
    grid, before, after = rest[d] if isinstance(rest[d], Tokens) else Tokens((0, 0))
    more = Tokens(grid, before + sum(sizes[:at]), after + sum(sizes[at + 1 :]))
    return (*rest[:d], more, *rest[d + 1 :])


def stack(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """One more axis."""
    parts = list(args[0] if args else kwargs["tensors"])
    d = kwargs.get("dim", args[1] if len(args) > 1 else 0) % out.ndim
    known = [(part, tuple(part.shape)) for part in parts if id(part) in on.axes]
    found = merged(on, known, tuple(parts[0].shape))
    return None if found is None else (*found[:d], "-", *found[d:])


def repeat(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Copies along axes that hold no positions."""
    x = first_argument(args, kwargs)
    axes = on.of(x)
    if axes is None:
        return None
    wide = ("-",) * (out.ndim - len(axes)) + axes
    sizes = (1,) * (out.ndim - x.ndim) + tuple(x.shape)
    if any(axis != "-" and a != b for axis, a, b in zip(wide, sizes, out.shape, strict=True)):
        return None
    return wide
