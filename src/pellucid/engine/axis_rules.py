"""What each operation makes of the axes that hold a picture's rows and columns.

An axis is "n" (the batch), "h" (rows), "w" (columns), `Tokens` (all positions, row by row), `Fine` (a finer
part of rows or columns that were split), "N" (the batch with other axes behind it), or "-" (anything else:
channels, heads, steps of a recurrence). A rule gives the axes of what an operation made, or None where it
cannot tell.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

from torch import Tensor


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
RECURRENT = "they are steps of a recurrence"
BORDER = 6
"""Pixels of an even border, such as a convolution of up to 7 x 7 takes up again."""
PADDING = 1 / 8
"""Of the size of a side: what a padding, or its removal, may take before positions no longer fit."""


def spatial(axes: Axes) -> bool:
    """Whether rows or columns are among the axes."""
    return any(axis in ("h", "w") or isinstance(axis, Tokens) for axis in axes)


class Rules:
    """The axes of the tensors that one operation was given.

    `why` says how some were lost, `edges` by how many cells rows or columns reach further at their beginning
    and end than before (less far, if below 0), of how many.
    """

    def __init__(self, batch: int, axes: dict[int, Axes | None], name: str = "") -> None:
        self.batch, self.axes, self.name, self.why = batch, axes, name, ""
        self.edges: dict[Any, Edges] = {}
        self.mixed: set[int] = set()  # operands in which attention had a part

    def of(self, value: Any) -> Axes | None:
        """The axes of an operand: all "-" for one that does not depend on the picture."""
        if not isinstance(value, Tensor):
            return None
        return self.axes.get(id(value), ("-",) * value.ndim)

    # Shapes stay, or broadcast

    def elementwise(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Each axis is that of the operands that have its size.

        One of unknown axes follows the others only where it has a single place along their rows and columns.
        """
        values = [*args, *kwargs.values()]
        operands = [v for v in values if isinstance(v, Tensor)] + [
            v for value in values if isinstance(value, (list, tuple)) for v in value if isinstance(v, Tensor)
        ]
        return self.merged([(t, tuple(t.shape)) for t in operands if id(t) in self.axes], tuple(out.shape))

    def merged(self, operands: Sequence[tuple[Tensor, tuple[int, ...]]], shape: Sequence[int]) -> Axes | None:
        """The axes of operands, aligned at the last, that have the sizes of `shape`."""
        found: list[Axis] = ["-"] * len(shape)
        unknown: list[tuple[int, ...]] = []
        seen = False
        for tensor, sizes in operands:
            axes = self.axes[id(tensor)]
            if axes is None:
                if id(tensor) not in self.mixed:  # windows of attention are put back where they were
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
            if any(
                size > 1 and spatial((axis,)) for size, axis in zip(sizes[::-1], found[::-1], strict=False)
            ):
                return None
        return tuple(found) if seen else None

    # Convolutions and poolings

    def windows(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Convolutions, poolings and resizing keep the axes that they slide along."""
        axes = self.of(_first(args, kwargs))
        if axes is None or len(axes) != 4 or out.ndim != 4:
            return None
        if any(isinstance(axis, Tokens) for axis in axes):
            return None
        x = _first(args, kwargs)
        for side, axis in enumerate(axes[2:]):
            window = window_of(self.name, args, kwargs, side) if axis in ("h", "w") else None
            if window is not None:
                self.edges[axis] = window.edges(x.shape[2 + side], out.shape[2 + side])
        return (axes[0], "-", axes[2], axes[3])

    def pad(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """A small border around rows and columns, or more tokens."""
        x = _first(args, kwargs)
        axes, amounts = self.of(x), args[1] if len(args) > 1 else kwargs.get("pad")
        if axes is None or not isinstance(amounts, (list, tuple)) or len(axes) != out.ndim:
            return None
        found = list(axes)
        for i in range(len(amounts) // 2):
            low, high = (int(amount) for amount in amounts[2 * i : 2 * i + 2])
            axis, size = axes[-1 - i], x.shape[-1 - i]
            if isinstance(axis, Tokens) and min(low, high) >= 0:
                found[-1 - i] = Tokens(axis.grid, axis.before + low, axis.after + high)
            elif axis in ("h", "w"):
                self.edges[axis] = low, high, size
                if abs(low) + abs(high) > max(2, 2 * PADDING * size) and not (
                    abs(low - high) <= 1 and 0 <= low + high <= BORDER
                ):
                    self.why = "the picture is padded or cropped inside the model"
                    return None
            elif axis != "-" and (low or high):
                return None
        return tuple(found)

    def pixel_shuffle(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Channels to positions, or back."""
        axes = self.of(_first(args, kwargs))
        return axes if axes is not None and axes[-3] == "-" else None

    # Moved

    def permute(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Axes in another order."""
        axes = self.of(_first(args, kwargs))
        dims = kwargs.get("dims", args[1:])
        dims = dims[0] if len(dims) == 1 and isinstance(dims[0], (list, tuple)) else dims
        return None if axes is None else tuple(axes[d] for d in dims)

    def transpose(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Two axes, of two the only ones, in each other's place."""
        axes = self.of(_first(args, kwargs))
        if axes is None:
            return None
        pair = [*args[1:], *(kwargs[k] for k in ("dim0", "dim1", "axis0", "axis1") if k in kwargs)]
        a, b = pair if len(pair) == 2 else (-2, -1)
        if not axes:
            return axes
        found = list(axes)
        found[a], found[b] = found[b], found[a]
        return tuple(found)

    def flip(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Rows or columns run backwards; positions in a row of tokens cannot be followed then."""
        axes = self.of(_first(args, kwargs))
        return None if axes is None or any(isinstance(axis, Tokens | Fine) for axis in axes) else axes

    def flipped(self, name: str, args: Any, kwargs: Any, flips: tuple[bool, bool]) -> tuple[bool, bool]:
        """Which of rows and columns run backwards behind a flip."""
        axes = self.of(_first(args, kwargs)) or ()
        dims = kwargs.get("dims", args[1:])
        dims = dims[0] if len(dims) == 1 and isinstance(dims[0], (list, tuple)) else dims
        dims = {"fliplr": (1,), "flipud": (0,)}.get(name, (dims,) if isinstance(dims, int) else dims)
        turned = [axes[d] for d in dims]
        return flips[0] ^ ("h" in turned), flips[1] ^ ("w" in turned)

    # In other shapes

    def reshape(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Axes merged and split."""
        x = _first(args, kwargs)
        axes = self.of(x)
        if axes is None or x.numel() != out.numel():
            return None
        found: list[Axis] = []
        for old, new in self._with_single(axes, aligned(x.shape, out.shape)):
            part = self._regrouped(
                [axes[i] for i in old], [x.shape[i] for i in old], [out.shape[i] for i in new]
            )
            if part is None:
                return None
            found += part
        return tuple(found)

    def _with_single(
        self, axes: Axes, groups: list[tuple[list[int], list[int]]]
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

    def _regrouped(self, axes: list[Axis], sizes: list[int], new: list[int]) -> list[Axis] | None:
        """The axes of one group of sizes that becomes another of the same product."""
        if not new:
            if any(axis in ("h", "w") or isinstance(axis, Tokens) for axis in axes):
                self.why = "a side of one pixel is left out"
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
            return ["n" if new[0] == self.batch else "N", *rest]
        if not spatial(tuple(words)):
            return None if {"n", "N"} & set(words) else ["-", *rest]
        first = words[0]
        if first == "-" or {"n", "N"} & set(words):
            if {"n", "N"} & set(words):
                return None
            self.why = "rows or columns are merged with channels"
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

    # Less, and more

    def reduce(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Sums, means, maxima: the axes that are summed over are gone."""
        if len(args) > 1 and isinstance(args[1], Tensor):  # max(x, y)
            return self.elementwise(args, kwargs, out)
        x = _first(args, kwargs)
        axes = self.of(x)
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

    def getitem(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Parts of a tensor, by slices and whole numbers."""
        x, index = args[0], args[1] if isinstance(args[1], tuple) else (args[1],)
        axes = self.of(x)
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
            part = self.sliced(axis, size, *i.indices(size))
            if part is None:
                return None
            found.append(part)
        return tuple(found)

    def sliced(self, axis: Axis, size: int, start: int, stop: int, step: int = 1) -> Axis | None:
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
                    self.edges[axis] = -start, min(0, stop - size), size
                return axis
            self.why = "the picture is padded or cropped inside the model"
        return None

    def narrow(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """A part of one axis."""
        x = _first(args, kwargs)
        axes = self.of(x)
        names = ("dim", "start", "length")
        given = [args[i] if len(args) > i else kwargs.get(name) for i, name in enumerate(names, 1)]
        if axes is None or not all(isinstance(g, int) for g in given):
            return None
        d, start, length = given
        part = self.sliced(axes[d], x.shape[d], start % x.shape[d], start % x.shape[d] + length)
        d %= x.ndim
        return None if part is None else (*axes[:d], part, *axes[d + 1 :])

    def select(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """One place of an axis, which is gone."""
        axes = self.of(_first(args, kwargs))
        d = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        if axes is None or not isinstance(d, int) or axes[d] in ("n", "N"):
            return None
        return tuple(axis for i, axis in enumerate(axes) if i != d % len(axes))

    def split(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """One of the parts, or places, that an axis is split into."""
        x = _first(args, kwargs)
        axes = self.of(x)
        if axes is None:
            return None
        gone = out.ndim < x.ndim  # unbind
        d = kwargs.get("dim", args[1 if gone else 2] if len(args) > (1 if gone else 2) else 0) % x.ndim
        if axes[d] != "-" and not isinstance(axes[d], Fine):
            sizes = args[1] if len(args) > 1 else next((v for k, v in kwargs.items() if k != "dim"), None)
            if gone or not isinstance(axes[d], Tokens) or not isinstance(sizes, (list, tuple)):
                return None
            start = sum(sizes[:number])
            part = self.sliced(axes[d], x.shape[d], start, start + sizes[number])
            return None if part is None else (*axes[:d], part, *axes[d + 1 :])
        return (*axes[:d], *axes[d + 1 :]) if gone else axes

    def cat(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Side by side: more channels, or more tokens."""
        parts = list(args[0] if args else kwargs["tensors"])
        d = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0)) % out.ndim
        known = [self.of(part) for part in parts]
        if any(axes is None for axes in known):
            return None
        along = [axes[d] for axes in known if axes is not None and len(axes) == out.ndim]
        shape = list(out.shape)
        operands = []
        for part in parts:
            if id(part) in self.axes:
                sizes = list(part.shape)
                sizes[d] = shape[d] if all(axis == "-" for axis in along) else -1
                operands.append((part, tuple(sizes)))
        found = self.merged(operands, shape)
        cells = [i for i, axis in enumerate(along) if isinstance(axis, Tokens)]
        if not cells:
            if all(axis == "-" for axis in along):
                return found
            return None
        if len(cells) > 1:
            return None
        (at,) = cells
        rest, sizes = self.axes[id(parts[at])] or (), [part.shape[d] for part in parts]
        grid, before, after = rest[d] if isinstance(rest[d], Tokens) else Tokens((0, 0))
        more = Tokens(grid, before + sum(sizes[:at]), after + sum(sizes[at + 1 :]))
        return (*rest[:d], more, *rest[d + 1 :])

    def stack(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """One more axis."""
        parts = list(args[0] if args else kwargs["tensors"])
        d = kwargs.get("dim", args[1] if len(args) > 1 else 0) % out.ndim
        known = [(part, tuple(part.shape)) for part in parts if id(part) in self.axes]
        found = self.merged(known, tuple(parts[0].shape))
        return None if found is None else (*found[:d], "-", *found[d:])

    def repeat(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Copies along axes that hold no positions."""
        x = _first(args, kwargs)
        axes = self.of(x)
        if axes is None:
            return None
        wide = ("-",) * (out.ndim - len(axes)) + axes
        sizes = (1,) * (out.ndim - x.ndim) + tuple(x.shape)
        if any(axis != "-" and a != b for axis, a, b in zip(wide, sizes, out.shape, strict=True)):
            return None
        return wide

    # Products

    def linear(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """A product with a matrix along the last axis."""
        axes = self.of(_first(args, kwargs))
        return None if axes is None else (*axes[:-1], "-")

    def attention(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Attention gives something for each query: where queries are learned, they have no place."""
        query = args[0] if args else kwargs.get("query")
        axes = self.of(query)
        if number or axes is None:
            return None if not number else ("-",) * out.ndim
        if not spatial(axes):
            self.why = "they are read by queries that have no place in the picture"
        return (*axes[:-1], "-")

    def matmul(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Rows of the first factor, columns of the second."""
        a, b = args[0], args[1] if len(args) > 1 else kwargs.get("mat2", kwargs.get("other"))
        left, right = self.of(a), self.of(b)
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
            self.why = "positions are summed by learned weights"
        return axes

    def einsum(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """By its letters."""
        equation, *operands = args
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
        if not isinstance(equation, str) or "." in equation or "->" not in equation:
            return None
        before, after = equation.replace(" ", "").split("->")
        letters: dict[str, Axis] = {}
        for word, operand in zip(before.split(","), operands, strict=True):
            axes = self.of(operand)
            if axes is None:
                return None
            for letter, axis in zip(word, axes, strict=True):
                if axis != "-":
                    if letters.get(letter, axis) != axis:
                        return None
                    letters[letter] = axis
        return tuple(letters.get(letter, "-") for letter in after)

    def glu(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Half of the channels gates the other."""
        axes = self.of(_first(args, kwargs))
        d = args[1] if len(args) > 1 else kwargs.get("dim", -1)
        return axes if axes is not None and axes[d] == "-" else None

    def recurrent(self, args: Any, kwargs: Any, out: Tensor, number: int = 0) -> Axes | None:
        """Steps of a recurrence: each depends on the others."""
        self.why = RECURRENT
        return ("-",) * out.ndim


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


def _first(args: Any, kwargs: Any) -> Any:
    return args[0] if args else kwargs.get("input", kwargs.get("self"))


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


Rule = Callable[[Rules, Any, Any, Tensor, int], Axes | None]

POOLS = {
    "max_pool2d", "max_pool2d_with_indices", "avg_pool2d", "lp_pool2d", "adaptive_avg_pool2d",
    "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices", "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
}  # fmt: skip
MAKERS = {
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like",
    "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor", "new", "size", "dim",
}  # fmt: skip
"""Operations that only take a tensor's shape or type."""
LIKE = {"to", "type_as", "expand_as", "view_as", "reshape_as"}
"""Operations that only take the shape or type of what they are given second."""
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

KNOWN_RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, Rules.elementwise),
    **dict.fromkeys(
        (*POOLS, "conv2d", "conv_transpose2d", "interpolate", "upsample", "upsample_nearest",
         "upsample_bilinear"), Rules.windows),
    "pad": Rules.pad,
    **dict.fromkeys(("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"), Rules.pixel_shuffle),
    "permute": Rules.permute,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", "t", "get T", "get mT"), Rules.transpose),
    **dict.fromkeys(("flip", "fliplr", "flipud"), Rules.flip),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as",
                     "reshape_as"), Rules.reshape),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "prod", "std", "var", "norm", "logsumexp",
                     "linalg_vector_norm", "argmax", "argmin", "median", "any", "all", "nanmean", "std_mean",
                     "var_mean"), Rules.reduce),
    "getitem": Rules.getitem,
    "narrow": Rules.narrow,
    "select": Rules.select,
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "unbind", "tensor_split", "unsafe_chunk",
                     "unsafe_split"), Rules.split),
    "cat": Rules.cat,
    "stack": Rules.stack,
    **dict.fromkeys(("expand", "expand_as", "broadcast_to", "repeat", "tile"), Rules.repeat),
    "linear": Rules.linear,
    **dict.fromkeys(("scaled_dot_product_attention", "multi_head_attention_forward"), Rules.attention),
    "matmul": Rules.matmul,
    "einsum": Rules.einsum,
    "glu": Rules.glu,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell",
                     "rnn_relu_cell"), Rules.recurrent),
}  # fmt: skip
DROPPED = {"mean": "they are averaged over positions", "sum": "they are summed over positions"}
"""How positions are lost, in words."""
