"""Axes of operations on each number by itself: shapes stay, or broadcast."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pellucid.engine.axes.kinds import Axes, Axis, spatial
from pellucid.engine.axes.operands import Operands


def elementwise(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Each axis is that of the operands that have its size.

    One of unknown axes follows the others only where it has a single place along their rows and columns.
    """
    values = [*args, *kwargs.values()]
    operands = [v for v in values if isinstance(v, Tensor)] + [
        v for value in values if isinstance(value, (list, tuple)) for v in value if isinstance(v, Tensor)
    ]
    return merged(on, [(t, tuple(t.shape)) for t in operands if id(t) in on.axes], tuple(out.shape))


def merged(
    on: Operands, operands: Sequence[tuple[Tensor, tuple[int, ...]]], shape: Sequence[int]
) -> Axes | None:
    """The axes of operands, aligned at the last, that have the sizes of `shape`."""
    found: list[Axis] = ["-"] * len(shape)
    unknown: list[tuple[int, ...]] = []
    seen = False
    for tensor, sizes in operands:
        axes = on.axes[id(tensor)]
        if axes is None:
            if id(tensor) not in on.mixed:  # windows of attention are put back where they were
                unknown.append(sizes)
            continue
        if len(axes) > len(shape):
            continue
        seen = seen or spatial(axes)
        for i in range(1, len(axes) + 1):
            axis, old = axes[-i], found[-i]
            if axis == "-" or (sizes[-i] != shape[-i]):
                continue
            if old not in ("-", axis):
                return None
            found[-i] = axis
    for sizes in unknown:
        if any(size > 1 and spatial((axis,)) for size, axis in zip(sizes[::-1], found[::-1], strict=False)):
            return None
    return tuple(found) if seen else None


ELEMENTWISE = {
    "add", "sub", "rsub", "mul", "div", "rdiv", "pow", "rpow", "neg", "abs", "exp", "exp2", "log", "log1p",
    "log2", "log10", "expm1", "sqrt", "rsqrt", "square", "sin", "cos", "tan", "tanh", "sigmoid", "relu",
    "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid",
    "hardtanh",
    "softplus", "softsign", "prelu", "rrelu", "threshold", "logsigmoid", "tanhshrink", "softshrink",
    "hardshrink", "clamp", "clamp_min", "clamp_max", "maximum", "minimum", "where", "masked_fill", "dropout",
    "dropout1d", "dropout2d", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "clone", "detach",
    "contiguous", "to", "float", "double", "half", "bfloat16", "type", "type_as", "cpu", "cuda",
    "requires_grad", "lerp", "addcmul", "addcdiv", "sign", "floor", "ceil", "round", "trunc", "nan_to_num",
    "reciprocal", "erf", "erfc", "atan", "arctan", "atan2", "softmax", "softmin", "log_softmax", "normalize",
    "layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm", "local_response_norm",
    "logical_and", "logical_or", "logical_not", "eq", "ne", "gt", "lt", "ge", "le", "__eq__", "__ne__",
    "__gt__", "__lt__", "__ge__", "__le__", "isnan", "isfinite", "bernoulli", "remainder", "fmod", "copy",
    "get data", "hypot", "fill", "bool", "long", "int", "__pow__", "__rpow__", "floor_divide", "__floordiv__",
    "__mod__", "logit", "sinh", "cosh", "asinh", "float_power", "sgn",
}  # fmt: skip
"""Each number of the result belongs to the place of the operands' own."""
