"""Axes of products with matrices, of attention, and of recurrences."""

from typing import Any

from torch import Tensor

from pellucid.engine.axes.kinds import Axes, Axis, spatial
from pellucid.engine.axes.operands import Operands, first_argument

RECURRENT = "they are steps of a recurrence"


def linear(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """A product with a matrix along the last axis."""
    axes = on.of(first_argument(args, kwargs))
    return None if axes is None else (*axes[:-1], "-")


def attention(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Attention gives something for each query: where queries are learned, they have no place."""
    query = args[0] if args else kwargs.get("query")
    axes = on.of(query)
    if number or axes is None:
        return None if not number else ("-",) * out.ndim
    if not spatial(axes):
        on.why = "they are read by queries that have no place in the picture"
    return (*axes[:-1], "-")


def matmul(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Rows of the first factor, columns of the second."""
    a, b = args[0], args[1] if len(args) > 1 else kwargs.get("mat2", kwargs.get("other"))
    left, right = on.of(a), on.of(b)
    if left is None or right is None or min(len(left), len(right)) < 2:
        return None
    leading = max(len(left), len(right)) - 2
    found: list[Axis] = ["-"] * leading
    for axes, tensor in ((left, a), (right, b)):
        for i in range(1, len(axes) - 1):
            axis = axes[-2 - i]
            if axis != "-" and tensor.shape[-2 - i] == out.shape[-2 - i]:
                if found[-i] not in ("-", axis):
                    return None
                found[-i] = axis
    axes = (*found, left[-2], right[-1])
    if not spatial(axes):
        on.why = "positions are summed by learned weights"
    return axes


def einsum(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """By its letters."""
    equation, *operands = args
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = list(operands[0])
    if not isinstance(equation, str) or "." in equation or "->" not in equation:
        return None
    before, after = equation.replace(" ", "").split("->")
    letters: dict[str, Axis] = {}
    for word, operand in zip(before.split(","), operands, strict=True):
        axes = on.of(operand)
        if axes is None:
            return None
        for letter, axis in zip(word, axes, strict=True):
            if axis != "-":
                if letters.get(letter, axis) != axis:
                    return None
                letters[letter] = axis
    return tuple(letters.get(letter, "-") for letter in after)


def glu(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Half of the channels gates the other."""
    axes = on.of(first_argument(args, kwargs))
    d = args[1] if len(args) > 1 else kwargs.get("dim", -1)
    return axes if axes is not None and axes[d] == "-" else None


def recurrent(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Steps of a recurrence: each depends on the others."""
    on.why = RECURRENT
    return ("-",) * out.ndim
