"""Which layer, and how its output becomes feature maps (N, K, h, w).

Outputs come as NCHW, as NHWC, or as tokens with class, distillation or register tokens before them. Which
one it is follows from what the model does with its input (`engine.axes`, `engine.tracing`), never from
numbers that happen to fit; `layout=` says it where nothing proves it.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.errors import InvalidValue

Order = Literal["NCHW", "NHWC", "NTC", "TNC"]
ORDERS: tuple[Order, ...] = get_args(Order)


@dataclass(frozen=True)
class Layout:
    """How a layer's output holds its (h, w) grid.

    `NTC`: (N, T, K) tokens, of which `prefix` come before the h*w of the grid, and the rest behind it; `TNC`:
    the same with the batch second. `flips` tells whether rows and columns run backwards in the output, as in
    a pass over the flipped picture.
    """

    kind: Order
    grid: tuple[int, int]
    prefix: int = 0
    flips: tuple[bool, bool] = (False, False)

    def maps(self, output: Tensor) -> Float[Tensor, "N K h w"]:
        """The output, or its gradient, as feature maps the picture's way round; other tokens are left out.

        Example:
            >>> Layout("NTC", grid=(2, 3), prefix=1).maps(torch.zeros(1, 7, 5)).shape
            torch.Size([1, 5, 2, 3])
        """
        maps = self.view(output)
        backwards = [dim for dim, flip in zip((2, 3), self.flips, strict=True) if flip]
        return maps.flip(backwards) if backwards else maps

    def view(self, output: Tensor) -> Float[Tensor, "N K h w"]:
        """The same as they lie in the output, flipped or not: writing to them writes to it."""
        cells = slice(self.prefix, self.prefix + self.grid[0] * self.grid[1])
        match self.kind:
            case "NCHW":
                return output
            case "NHWC":
                return output.permute(0, 3, 1, 2)
            case "NTC":
                tokens = output[:, cells].transpose(1, 2)
            case "TNC":
                tokens = output[cells].permute(1, 2, 0)
        return tokens.unflatten(2, self.grid)  # type: ignore[no-any-return]

    @property
    def batch_axis(self) -> int:
        """Which axis of the output is the batch's."""
        return int(self.kind == "TNC")

    @property
    def channel_axis(self) -> int:
        """Which axis of the output is the channels'."""
        return 1 if self.kind == "NCHW" else -1

    def __str__(self) -> str:
        tokens = f", {self.prefix} prefix tokens" if self.prefix else ""
        ways = [way for way, flip in zip(("upside down", "mirrored"), self.flips, strict=True) if flip]
        return ", ".join([f"{self.kind} {self.grid[0]}x{self.grid[1]}{tokens}", *ways])


def other_tokens(shape: Sequence[int], layout: Layout) -> int:
    """How many tokens of an output are not of the grid: class, distillation and register tokens."""
    if layout.kind in ("NCHW", "NHWC"):
        return 0
    return int(shape[1 - layout.batch_axis]) - layout.grid[0] * layout.grid[1]


class Given(NamedTuple):
    """A layout as `layout=` gives it; prefix and grid may be left to what the output's shape leaves."""

    kind: Order
    prefix: int | None
    grid: tuple[int, int] | None

    def of(self, name: str, shape: torch.Size, images: int) -> Layout:
        """The layout of an output of this shape.

        Raises:
            InvalidValue: the output cannot be read so.
        """
        tokens = self.kind in ("NTC", "TNC")
        if len(shape) != len(self.kind) or shape[int(self.kind == "TNC")] != images:
            raise InvalidValue(
                f"layout {self} needs an output of {len(self.kind)} axes with the {images} images at N; "
                f"{name!r} gives {tuple(shape)}."
            )
        if not tokens:
            h, w = shape[2:] if self.kind == "NCHW" else shape[1:3]
            if h * w < 2 or self.grid not in (None, (h, w)):
                raise InvalidValue(
                    f"layout {self} needs a grid of more than one cell that is the output's own; "
                    f"{name!r} gives {tuple(shape)}."
                )
            return Layout(self.kind, (h, w))
        count, prefix = shape[0] if self.kind == "TNC" else shape[1], self.prefix or 0
        side = isqrt(max(count - prefix, 0))
        grid = self.grid or (side, side)
        if grid[0] * grid[1] < 2 or (
            grid[0] * grid[1] != count - prefix if self.grid is None else grid[0] * grid[1] + prefix > count
        ):
            raise InvalidValue(
                f"layout {self} must account for the {count} tokens of {name!r}: say how many come before "
                f"the grid, and the grid where it is no square, as in {self.kind}:1:7x7."
            )
        return Layout(self.kind, grid, prefix)

    def __str__(self) -> str:
        grid = [f"{self.grid[0]}x{self.grid[1]}"] if self.grid else []
        prefix = [str(self.prefix or 0)] if self.prefix is not None or (grid and "T" in self.kind) else []
        return ":".join([self.kind, *prefix, *grid])


_WRITTEN = re.compile(r"(NCHW|NHWC|NTC|TNC)(?::(\d+))?(?::(\d+)x(\d+))?")


def read_layout(text: str) -> Given:
    """A layout as it is written: "NCHW", "NHWC", "NTC", "NTC:1" (a prefix token), "NTC:1:7x7" (and the grid).

    Raises:
        InvalidValue: it is none of these.

    Example:
        >>> read_layout("NTC:1:7x7")
        Given(kind='NTC', prefix=1, grid=(7, 7))
    """
    match = _WRITTEN.fullmatch(text.strip())
    if match is None or (match[2] and "T" not in match[1]):
        raise InvalidValue(
            "layout must be NCHW, NHWC, NTC or TNC, tokens with how many come before the grid and, if it is "
            f"no square, the grid, as in NTC:1:7x7; got {text!r}."
        )
    kind, prefix, h, w = match.groups()
    return Given(kind, None if prefix is None else int(prefix), (int(h), int(w)) if h else None)  # type: ignore[arg-type]


def quantised_layer(module: object) -> str | None:
    """The first layer that computes with integers, in torch's own quantisation: it has no gradient."""
    if not isinstance(module, nn.Module):
        return None
    kinds = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")
    return next((n for n, child in module.named_modules() if type(child).__module__.startswith(kinds)), None)


def first_tensor(output: Any) -> Tensor | None:
    """The tensor of a layer's output: itself, or the first in a tuple, mapping or ModelOutput."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (tuple, list)):
        return next((item for item in output if isinstance(item, Tensor)), None)
    return None


def with_first_tensor(output: Any, tensor: Tensor) -> Any:
    """A layer's output with its first tensor replaced, of the same type."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, dict):  # transformers' ModelOutput is one too
        key = next(key for key, item in output.items() if isinstance(item, Tensor))
        return type(output)(**{**output, key: tensor})
    at = next(i for i, item in enumerate(output) if isinstance(item, Tensor))
    items = [*output[:at], tensor, *output[at + 1 :]]
    return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)


LayerSpec = str | nn.Module | Sequence[str | nn.Module]


class Asked(NamedTuple):
    """A layer as it was asked for: its name, which of its calls (None: all), and its layout, where given."""

    name: str
    call: int | None
    layout: Given | None


def read_layer(text: str) -> Asked:
    """A layer as `layer_names` writes it.

    Example:
        >>> read_layer("conv#2@NHWC")
        Asked(name='conv', call=2, layout=Given(kind='NHWC', prefix=None, grid=None))
    """
    text, _, layout = text.partition("@")
    name, _, call = text.partition("#")
    return Asked(name, int(call) if call else None, read_layout(layout) if layout else None)


def layer_name(module: nn.Module, layer: str | nn.Module) -> str:
    """The dotted name of a layer given as a name, with or without a call ("conv#2"), or as the module itself.

    Raises:
        InvalidValue: the model has no such layer; the message lists the closest names.
    """
    if isinstance(layer, nn.Module):
        for name, candidate in module.named_modules():
            if candidate is layer and name:
                return str(name)
        raise InvalidValue(f"layer must be a module inside the model; this {type(layer).__name__} is not.")
    names: list[str] = [name for name, _ in module.named_modules() if name]
    bare, mark, call = layer.partition("#")
    if mark and (not call.isdecimal() or int(call) < 1):
        raise InvalidValue(f"A layer's call is counted from 1, as in {bare}#1; got {layer!r}.")
    if bare not in names:
        close = difflib.get_close_matches(bare, names, n=4, cutoff=0.3)
        hint = f"; the closest are {', '.join(close)}" if close else ""
        raise InvalidValue(f"The model has no layer {bare!r}{hint}. `pellucid doctor --layers` lists them.")
    return layer


def layer_names(module: nn.Module, layer: LayerSpec, layout: str | None = None) -> tuple[str, ...]:
    """The layers a `layer=` option names, and the `layout=` of all of them, written as `read_layer` reads.

    'auto' stands for itself; a list, or commas, for several.

    Raises:
        InvalidValue: a layer that the model does not have; no layer; a layout that is none, or of "auto".
    """
    if isinstance(layer, str):
        layer = [part.strip() for part in layer.split(",")]
    layers = [layer] if isinstance(layer, nn.Module) else list(layer)
    if not layers:
        raise InvalidValue("layer must name at least one layer; got an empty list.")
    names = tuple("auto" if name == "auto" else layer_name(module, name) for name in layers)
    if layout is None:
        return names
    if "auto" in names:
        raise InvalidValue('layout says how a named layer holds its grid: name one with layer=; got "auto".')
    return tuple(f"{name}@{read_layout(layout)}" for name in names)
