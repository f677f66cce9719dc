"""Which layer, and how its output becomes feature maps (N, K, h, w).

Outputs come as NCHW, as NHWC, or as tokens with class, distillation or register tokens before them.
Which one it is follows from the shapes of output and input alone, so no reshape function is ever asked
for: a grid is spatial when it has the input's aspect ratio.
"""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.errors import InvalidValue, ModelError

MOST_PREFIX_TOKENS = 16


@dataclass(frozen=True)
class Layout:
    """How a layer's output holds its (h, w) grid.

    `NTC`: (N, prefix + h*w, K) tokens; `TNC`: the same with the batch second.
    """

    kind: Literal["NCHW", "NHWC", "NTC", "TNC"]
    grid: tuple[int, int]
    prefix: int = 0

    def maps(self, output: Tensor) -> Float[Tensor, "N K h w"]:
        """The output, or its gradient, as feature maps; prefix tokens are left out.

        Example:
            >>> Layout("NTC", grid=(2, 3), prefix=1).maps(torch.zeros(1, 7, 5)).shape
            torch.Size([1, 5, 2, 3])
        """
        match self.kind:
            case "NCHW":
                return output
            case "NHWC":
                return output.permute(0, 3, 1, 2)
            case "NTC":
                return output[:, self.prefix :].transpose(1, 2).reshape(len(output), -1, *self.grid)
            case "TNC":
                return output[self.prefix :].permute(1, 2, 0).reshape(output.shape[1], -1, *self.grid)

    def __str__(self) -> str:
        tokens = f", {self.prefix} prefix tokens" if self.prefix else ""
        return f"{self.kind} {self.grid[0]}x{self.grid[1]}{tokens}"


@lru_cache(maxsize=4096)
def layout_of(shape: torch.Size, inputs: torch.Size, prefix: int | None = None) -> Layout | None:
    """The layout of an output of `shape` for inputs (N, C, H, W), or None if it holds no grid.

    `prefix` is the number of prefix tokens where the model tells it; otherwise the smallest number that
    leaves a grid of the input's aspect ratio.
    """
    n, H, W = inputs[0], inputs[2], inputs[3]
    if len(shape) == 4 and shape[0] == n:
        for fits in (_same_aspect, _same_margin):
            for kind, (h, w) in (("NCHW", shape[2:]), ("NHWC", shape[1:3])):
                if h * w > 1 and fits(h, w, H, W):
                    return Layout(kind, (h, w))  # type: ignore[arg-type]
    if len(shape) == 3:
        for kind, batch, tokens in (("NTC", shape[0], shape[1]), ("TNC", shape[1], shape[0])):
            if batch != n:
                continue
            for p in range(MOST_PREFIX_TOKENS + 1) if prefix is None else (prefix, 0):
                grid = _grid(tokens - p, H, W)
                if grid is not None:
                    return Layout(kind, grid, p)  # type: ignore[arg-type]
    return None


def _same_aspect(h: int, w: int, H: int, W: int) -> bool:
    """Whether an h x w grid can come of an H x W input by one stride, rounded at each step."""
    if h > H or w > W:
        return False
    stride = max(H / h, W / w) if h * w else math.inf
    return abs(h - H / stride) <= 1 and abs(w - W / stride) <= 1 and min(h, w) > 0


def _same_margin(h: int, w: int, H: int, W: int) -> bool:
    """Whether an h x w grid can come of convolutions without padding, which take as much from both sides."""
    if h > H or w > W or not h * w:
        return False
    strides = 1, max(H / h, W / w)
    low, high = sorted((H - W) / stride - (h - w) for stride in strides)
    return low <= 1 and high >= -1


def _grid(tokens: int, H: int, W: int) -> tuple[int, int] | None:
    """The grid of square patches that has this many tokens, borders dropped or padded."""
    if tokens < 2:
        return None
    guess = math.sqrt(H * W / tokens)
    for patch in range(max(1, math.floor(guess * 0.5)), math.ceil(guess * 2) + 1):
        for h, w in ((H // patch, W // patch), (math.ceil(H / patch), math.ceil(W / patch))):
            if h * w == tokens:
                return h, w
    return None


def prefix_tokens(module: nn.Module) -> int | None:
    """The number of class, distillation and register tokens, where the model says it (timm does)."""
    count = getattr(module, "num_prefix_tokens", None)
    return count if isinstance(count, int) else None


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


def layer_name(module: nn.Module, layer: str | nn.Module) -> str:
    """The dotted name of a layer given as a name or as the module itself.

    Raises:
        InvalidValue: the model has no such layer; the message lists the closest names.
    """
    if isinstance(layer, nn.Module):
        for name, candidate in module.named_modules():
            if candidate is layer and name:
                return str(name)
        raise InvalidValue(f"layer must be a module inside the model; this {type(layer).__name__} is not.")
    names: list[str] = [name for name, _ in module.named_modules() if name]
    if layer not in names:
        close = difflib.get_close_matches(layer, names, n=4, cutoff=0.3)
        hint = f"; the closest are {', '.join(close)}" if close else ""
        raise InvalidValue(f"The model has no layer {layer!r}{hint}. `pellucid doctor --layers` lists them.")
    return layer


def layer_names(module: nn.Module, layer: LayerSpec) -> tuple[str, ...]:
    """The layers a `layer=` option names: 'auto' stands for itself; a list, or commas, for several."""
    if isinstance(layer, str):
        layer = [part.strip() for part in layer.split(",")]
    layers = [layer] if isinstance(layer, nn.Module) else list(layer)
    if not layers:
        raise InvalidValue("layer must name at least one layer; got an empty list.")
    return tuple("auto" if name == "auto" else layer_name(module, name) for name in layers)


def no_grid(name: str, shape: torch.Size, inputs: torch.Size) -> ModelError:
    """The error for a layer whose output holds no grid of the input's aspect ratio."""
    return ModelError(
        f"layer must give feature maps: (N, K, h, w), (N, h, w, K) or (N, tokens, K) with a grid of the "
        f"input's aspect ratio {inputs[2]}x{inputs[3]}; {name!r} gives {tuple(shape)}. "
        "Choose another layer; `pellucid doctor` lists those that do."
    )
