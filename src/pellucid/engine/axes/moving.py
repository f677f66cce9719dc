"""Axes in another order, or run backwards."""

from typing import Any

from torch import Tensor

from pellucid.engine.axes.kinds import Axes, Fine, Tokens
from pellucid.engine.axes.operands import Operands, first_argument


def permute(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Axes in another order."""
    axes = on.of(first_argument(args, kwargs))
    dims = kwargs.get("dims", args[1:])
    dims = dims[0] if len(dims) == 1 and isinstance(dims[0], (list, tuple)) else dims
    return None if axes is None else tuple(axes[d] for d in dims)


def transpose(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Two axes, of two the only ones, in each other's place."""
    axes = on.of(first_argument(args, kwargs))
    if axes is None:
        return None
    pair = [*args[1:], *(kwargs[k] for k in ("dim0", "dim1", "axis0", "axis1") if k in kwargs)]
    a, b = pair if len(pair) == 2 else (-2, -1)
    if not axes:
        return axes
    found = list(axes)
    found[a], found[b] = found[b], found[a]
    return tuple(found)


def flip(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Rows or columns run backwards; positions in a row of tokens cannot be followed then."""
    axes = on.of(first_argument(args, kwargs))
    return None if axes is None or any(isinstance(axis, Tokens | Fine) for axis in axes) else axes


def flipped(on: Operands, name: str, args: Any, kwargs: Any, flips: tuple[bool, bool]) -> tuple[bool, bool]:
    """Which of rows and columns run backwards behind a flip."""
    axes = on.of(first_argument(args, kwargs)) or ()
    dims = kwargs.get("dims", args[1:])
    dims = dims[0] if len(dims) == 1 and isinstance(dims[0], (list, tuple)) else dims
    dims = {"fliplr": (1,), "flipud": (0,)}.get(name, (dims,) if isinstance(dims, int) else dims)
    turned = [axes[d] for d in dims]
    return flips[0] ^ ("h" in turned), flips[1] ^ ("w" in turned)
