"""Where changed pixels land: how an output holds its grid, found out where no rule on axes tells it.

The model is run on a picture and on four others, each with one border strip changed. In the right reading
the left strip changes left columns, the top strip upper rows; in a mirrored one the other way round. A strip
that changes nothing lies outside what the layer sees.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.engine.run import Engine
from pellucid.errors import ModelError
from pellucid.layers import Layout, Order, first_tensor

SIDES = ("left", "right", "top", "bottom")
STRIP = 1 / 8
"""Of a side of the picture, at least one pixel."""
AGREES = 0.6
"""A correlation of what each strip changes with the positions of the grid from which on a reading holds."""
MOST_OTHERS = 16
"""Tokens beside those of the grid."""
CROPPED = "it sees only a part of the picture"
TURNED = "its rows and columns are exchanged"
NOWHERE = "what changes at the picture's sides changes no side of it"


def trace_changes(
    engine: Engine,
    inputs: Float[Tensor, "N C H W"],
    names: Sequence[str],
    numbers: Sequence[int] | None = None,
) -> dict[tuple[str, int], Layout | str]:
    """How the output of each call of some layers holds its grid, or why it holds none: five samples."""
    pictures = stripped(inputs[:1])
    made: dict[tuple[str, int], list[Tensor]] = {}
    try:
        _watched(engine, pictures, names, made, numbers)
    except ModelError:  # a model for one picture at a time
        made.clear()
        for one in pictures.split(1):
            _watched(engine, one, names, made, numbers)
    found: dict[tuple[str, int], Layout | str] = {}
    for key, outputs in made.items():
        conv = isinstance(engine.network.get_submodule(key[0]), _CHANNELS_FIRST)
        found[key] = read(outputs, ("NCHW",) if conv else None)
    return found


def stripped(picture: Float[Tensor, "1 C H W"]) -> Float[Tensor, "5 C H W"]:
    """A picture, and with each border strip replaced by noise."""
    H, W = picture.shape[-2:]
    h, w = max(1, round(H * STRIP)), max(1, round(W * STRIP))
    scale = picture.float().std().nan_to_num().clamp(min=0.1)
    generator = torch.Generator(device="cpu").manual_seed(0)
    noise = torch.randn(picture.shape[1:], generator=generator, dtype=torch.float32, device="cpu")
    changed = picture + (noise.to(picture.device) * 2 * scale).to(picture)
    pictures = picture.repeat(5, 1, 1, 1)
    strips = [(slice(None), slice(w)), (slice(None), slice(-w, None)), (slice(h),), (slice(-h, None),)]
    for number, strip in enumerate(strips):
        pictures[number + 1][:, *strip] = changed[0][:, *strip]
    return pictures


def _watched(
    engine: Engine,
    pictures: Tensor,
    names: Sequence[str],
    made: dict[tuple[str, int], list[Tensor]],
    numbers: Sequence[int] | None,
) -> None:
    """One pass; what each call of a layer gave, of as many runs as there were."""
    calls: Counter[str] = Counter()

    def watcher(name: str) -> Callable[..., None]:
        def watch(module: nn.Module, args: Any, output: Any) -> None:
            calls[name] += 1
            tensor = first_tensor(output)
            if tensor is not None and tensor.is_floating_point():
                made.setdefault((name, calls[name]), []).append(tensor.detach().clone())

        return watch

    with ExitStack() as hooks:
        for name in names:
            module = engine.network.get_submodule(name)
            hooks.callback(module.register_forward_hook(watcher(name)).remove)
        with engine.making(forward=len(pictures)), torch.no_grad():
            number = None if numbers is None else [numbers[0]] * len(pictures)
            engine.forward(pictures.clone(), number)


def read(outputs: Sequence[Tensor], orders: Sequence[Order] | None = None) -> Layout | str:
    """The reading of a layer's outputs for `stripped` pictures, in one tensor or five; or why none is."""
    shape = outputs[0].shape
    best: tuple[float, Layout | str] = (AGREES, NOWHERE)
    for order in orders or (("NCHW", "NHWC") if len(shape) == 4 else ("NTC", "TNC")):
        batch = int(order == "TNC")
        if len(shape) not in (3, 4) or (len(shape) == 3) != ("T" in order):
            continue
        if shape[batch] != (5 if len(outputs) == 1 else 1):
            continue
        channels = 1 if order == "NCHW" else -1
        runs = torch.cat(list(outputs), batch).movedim(batch, 0).double()
        changes = (runs[1:] - runs[:1]).abs().mean(channels)  # (4, h, w) or (4, T)
        largest = changes.flatten(1).amax(1)
        if not largest.max() > 0:
            continue
        if (largest <= 1e-5 * largest.max()).any():
            return CROPPED
        for grid, prefix in grids(changes.shape[1:]):
            cells = changes.flatten(1)[:, prefix : prefix + grid[0] * grid[1]].unflatten(1, grid)
            score, flips = placed(cells)
            if score > best[0]:
                best = score, TURNED if flips is None else Layout(order, grid, prefix, flips)
    return best[1]


def grids(shape: Sequence[int]) -> Iterator[tuple[tuple[int, int], int]]:
    """The grids that an output may hold, with how many tokens come before: its own, or any of its tokens."""
    if len(shape) == 2:
        if shape[0] * shape[1] > 1:
            yield (shape[0], shape[1]), 0
        return
    for others in range(min(MOST_OTHERS, shape[0] - 4) + 1):
        cells = shape[0] - others
        for h in range(2, math.isqrt(cells) + 1):
            if cells % h == 0:
                for grid in {(h, cells // h), (cells // h, h)}:
                    for prefix in range(others + 1):
                        yield grid, prefix


def placed(changes: Float[Tensor, "4 h w"]) -> tuple[float, tuple[bool, bool] | None]:
    """How well changes fit a grid, from 0 to 1, and which ways run backwards; None if rows are columns."""
    h, w = changes.shape[1:]
    left, right, top, bottom = changes
    floor = 1e-4 * changes.max()
    across, down = (left - right) / (left + right + floor), (top - bottom) / (top + bottom + floor)
    columns = -torch.arange(w, dtype=changes.dtype, device=changes.device).expand(h, w)
    rows = -torch.arange(h, dtype=changes.dtype, device=changes.device)[:, None].expand(h, w)
    straight = [_alike(across, columns) if w > 1 else None, _alike(down, rows) if h > 1 else None]
    turned = [_alike(across, rows) if h > 1 else None, _alike(down, columns) if w > 1 else None]
    fits, turns = (min(abs(v) for v in pair if v is not None) for pair in (straight, turned))
    if turns > fits:
        return turns, None
    return fits, ((straight[1] or 1) < 0, (straight[0] or 1) < 0)


def _alike(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(a.norm() * b.norm())
    return float((a * b).sum()) / scale if scale > 0 else 0.0


_CHANNELS_FIRST = (
    nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle,
)  # fmt: skip
