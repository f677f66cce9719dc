"""Axes of convolutions, poolings, paddings and pixel shuffles."""

from typing import Any, NamedTuple

from torch import Tensor

from pellucid.engine.axes.kinds import BORDER, PADDING, Axes, Edges, Tokens
from pellucid.engine.axes.operands import Operands, first_argument


def windows(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Convolutions, poolings and resizing keep the axes that they slide along."""
    axes = on.of(first_argument(args, kwargs))
    if axes is None or len(axes) != 4 or out.ndim != 4:
        return None
    if any(isinstance(axis, Tokens) for axis in axes):
        return None
    x = first_argument(args, kwargs)
    for side, axis in enumerate(axes[2:]):
        window = window_of(on.name, args, kwargs, side) if axis in ("h", "w") else None
        if window is not None:
            on.edges[axis] = window.edges(x.shape[2 + side], out.shape[2 + side])
    return (axes[0], "-", axes[2], axes[3])


def pad(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """A small border around rows and columns, or more tokens."""
    x = first_argument(args, kwargs)
    axes, amounts = on.of(x), args[1] if len(args) > 1 else kwargs.get("pad")
    if axes is None or not isinstance(amounts, (list, tuple)) or len(axes) != out.ndim:
        return None
    found = list(axes)
    for i in range(len(amounts) // 2):
        low, high = (int(amount) for amount in amounts[2 * i : 2 * i + 2])
        axis, size = axes[-1 - i], x.shape[-1 - i]
        if isinstance(axis, Tokens) and min(low, high) >= 0:
            found[-1 - i] = Tokens(axis.grid, axis.before + low, axis.after + high)
        elif axis in ("h", "w"):
            on.edges[axis] = low, high, size
            if abs(low) + abs(high) > max(2, 2 * PADDING * size) and not (
                abs(low - high) <= 1 and 0 <= low + high <= BORDER
            ):
                on.why = "the picture is padded or cropped inside the model"
                return None
        elif axis != "-" and (low or high):
            return None
    return tuple(found)


def pixel_shuffle(on: Operands, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
    """Channels to positions, or back."""
    axes = on.of(first_argument(args, kwargs))
    return axes if axes is not None and axes[-3] == "-" else None


class Window(NamedTuple):
    """What slides along a side: `kernel` cells, `dilation` apart, in steps of `stride` (of 1 / `stride` cells
    if `up`, for a transposed convolution), from `padding` cells before the first."""

    kernel: int
    stride: int
    padding: float
    dilation: int = 1
    up: bool = False

    def edges(self, size: int, made: int) -> Edges:
        """How much further `made` cells reach than the `size` they are made of, each being the middle of
        what it sees.

        Example:
            >>> Window(kernel=3, stride=1, padding=1).edges(8, 8), Window(5, 1, 0).edges(8, 4)
            ((0.0, 0.0, 8), (-2.0, -2.0, 8))
        """
        middle = (self.kernel - 1) * self.dilation / 2 - self.padding
        cell = 1 / self.stride if self.up else self.stride
        low = (middle + 0.5) * cell - 0.5 if self.up else (cell - 1) / 2 - middle
        return low, made * cell - size - low, size


SLIDING = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation"),
    "conv_transpose2d": (
        "input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation",
    ),
    "max_pool2d": ("input", "kernel_size", "stride", "padding", "dilation"),
    "max_pool2d_with_indices": ("input", "kernel_size", "stride", "padding", "dilation"),
    "avg_pool2d": ("input", "kernel_size", "stride", "padding"),
    "lp_pool2d": ("input", "norm_type", "kernel_size", "stride"),
}  # fmt: skip
"""The parameters of the operations that slide a window, in order."""


def window_of(name: str, args: Any, kwargs: Any, side: int) -> Window | None:
    """The window of an operation along one side; None for one that resizes the side as a whole."""
    if name not in SLIDING:
        return None
    given = {**dict(zip(SLIDING[name], args, strict=False)), **kwargs}

    def along(key: str, default: int) -> int:
        value = given.get(key)
        value = default if value is None or value == () or value == [] else value
        return int(value if isinstance(value, int) else value[side % len(value)])

    weight = given.get("weight")
    kernel = int(weight.shape[2 + side]) if weight is not None else along("kernel_size", 1)
    stride, dilation = along("stride", 1 if weight is not None else kernel), along("dilation", 1)
    if isinstance(given.get("padding"), str):
        padding = (kernel - 1) * dilation / 2 if given["padding"] == "same" else 0.0
    else:
        padding = along("padding", 0)
    return Window(kernel, stride, padding, dilation, up=name == "conv_transpose2d")


POOLS = {
    "max_pool2d", "max_pool2d_with_indices", "avg_pool2d", "lp_pool2d", "adaptive_avg_pool2d",
    "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices", "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
}  # fmt: skip
