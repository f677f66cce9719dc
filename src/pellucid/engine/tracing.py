"""Where changed pixels land: how an output holds its grid, found out where no rule on axes tells it.

The model is run on a picture and on copies of it, each with one of eight bands of columns, or rows, changed.
How much each band changes a token says where in the picture the token lies. A reading of the tokens as a grid
holds where that place goes with the column, and with the row, of the grid, far better than chance allows; and
where no other reading does as well.
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

BANDS = 8
"""Into which columns, and rows, are divided."""
AGREES = 0.9
"""A correlation of where tokens lie with the positions of the grid from which on a reading holds."""
SLANTED = 0.25
"""A correlation of where tokens lie across with the rows of the grid, or down with its columns, that says:
the picture was rotated on the way."""
MARGIN = 0.02
"""By which the correlation of the best reading must exceed that of any other."""
CHANCE = 1e-3
"""The probability that tokens without places would pass, over all readings that were tried."""
MOST_OTHERS = 16
"""Tokens beside those of the grid."""
CROPPED = "it sees only a part of the picture"
TURNED = "its rows and columns are exchanged"
NOWHERE = "its cells lie in no order of the picture's rows and columns"


def trace_changes(
    engine: Engine,
    inputs: Float[Tensor, "N C H W"],
    names: Sequence[str],
    numbers: Sequence[int] | None = None,
) -> dict[tuple[str, int], Layout | str]:
    """How the output of each call of some layers holds its grid, or why it holds none: 17 samples."""
    pictures = banded(inputs[:1])
    found: dict[tuple[str, int], Layout | str] = {}
    try:

        def whole(key: tuple[str, int], output: Tensor) -> None:  # read at once: nothing of it is kept
            found[key] = read([output], orders(engine.network.get_submodule(key[0])))

        _watched(engine, pictures, names, whole, numbers)
    except ModelError:  # a model for one picture at a time
        made: dict[tuple[str, int], list[Tensor]] = {}

        def single(key: tuple[str, int], output: Tensor) -> None:
            made.setdefault(key, []).append(output.clone())

        for one in pictures.split(1):
            _watched(engine, one, names, single, numbers)
        for key, outputs in made.items():
            found[key] = read(outputs, orders(engine.network.get_submodule(key[0])))
    return found


def banded(picture: Float[Tensor, "1 C H W"]) -> Float[Tensor, "17 C H W"]:
    """A picture, and with each band of columns, then of rows, replaced by noise."""
    scale = picture.float().std().nan_to_num().clamp(min=0.1)
    generator = torch.Generator(device="cpu").manual_seed(0)
    noise = torch.randn(picture.shape[1:], generator=generator, dtype=torch.float32, device="cpu")
    changed = picture + (noise.to(picture.device) * 2 * scale).to(picture)
    pictures = picture.repeat(1 + 2 * BANDS, 1, 1, 1)
    for number, dim in enumerate((-1, -2)):
        side = picture.shape[dim]
        for band in range(BANDS):
            start = band * side // BANDS
            size = max(1, (band + 1) * side // BANDS - start)
            here = pictures[1 + number * BANDS + band].narrow(dim, start, size)
            here.copy_(changed[0].narrow(dim, start, size))
    return pictures


def _watched(
    engine: Engine,
    pictures: Tensor,
    names: Sequence[str],
    see: Callable[[tuple[str, int], Tensor], None],
    numbers: Sequence[int] | None,
) -> None:
    """One pass; `see` is shown what each call of a layer gave."""
    calls: Counter[str] = Counter()

    def watcher(name: str) -> Callable[..., None]:
        def watch(module: nn.Module, args: Any, output: Any) -> None:
            calls[name] += 1
            tensor = first_tensor(output)
            if tensor is not None and tensor.is_floating_point():
                see((name, calls[name]), tensor.detach())

        return watch

    with ExitStack() as hooks:
        for name in names:
            module = engine.network.get_submodule(name)
            hooks.callback(module.register_forward_hook(watcher(name)).remove)
        with engine.making(forward=len(pictures)), torch.no_grad():
            number = None if numbers is None else [numbers[0]] * len(pictures)
            engine.forward(pictures.clone(), number)


def orders(module: nn.Module) -> tuple[Order, ...]:
    """The readings that a module's kind leaves open."""
    if isinstance(module, _CHANNELS_FIRST):
        return ("NCHW",)
    return () if isinstance(module, _STEPS) else ("NCHW", "NHWC", "NTC", "TNC")


def read(outputs: Sequence[Tensor], orders: Sequence[Order] = ("NCHW", "NHWC", "NTC", "TNC")) -> Layout | str:
    """The reading of a layer's outputs for `banded` pictures, in one tensor or 17; or why none is."""
    shape, pictures = outputs[0].shape, 1 + 2 * BANDS
    fits: list[tuple[float, float, Layout | str]] = []
    tried = 0
    for order in orders:
        batch = int(order == "TNC")
        if len(shape) != len(order) or shape[batch] != (pictures if len(outputs) == 1 else 1):
            continue
        channels = 1 if order == "NCHW" else -1
        runs = torch.cat(list(outputs), batch).movedim(batch, 0).double()
        changes = (runs[1:] - runs[:1]).square().mean(channels)  # (16, h, w) or (16, T)
        largest = changes.flatten(1).amax(1)
        if not largest.max() > 0:
            continue
        if (largest[[0, BANDS - 1, BANDS, -1]] <= 1e-10 * largest.max()).any():
            return CROPPED
        places, spread = placed(changes.flatten(1))
        for grid, prefix in grids(changes.shape[1:], spread):
            tried += 1
            score, chance, flips = agreement(places[:, prefix : prefix + grid[0] * grid[1]], grid)
            if score > AGREES - MARGIN:
                sure = len(orders) == 1  # of a convolution's output only the ways are asked
                read_so = TURNED if flips is None else Layout(order, grid, prefix, flips)
                fits.append((score, 0.0 if sure else chance, read_so))
    fits.sort(key=lambda fit: fit[0], reverse=True)
    if not fits or fits[0][0] < AGREES or fits[0][1] * tried > CHANCE:
        return NOWHERE
    return fits[0][2] if len(fits) == 1 or fits[0][0] - fits[1][0] > MARGIN * (1 - fits[1][0]) else NOWHERE


def placed(changes: Float[Tensor, "16 T"]) -> tuple[Float[Tensor, "2 T"], Float[Tensor, "T"]]:
    """Where each token lies across and down, in bands, and how far its changes differ between bands.

    Bands may change much or little, and tokens be changed much or little by all: both are taken out.
    """
    bands = torch.arange(BANDS, dtype=changes.dtype, device=changes.device)[:, None]
    places, spread = [], torch.zeros_like(changes[0])
    for part in changes.split(BANDS):
        share = part / part.mean(1, keepdim=True).clamp(min=1e-30)
        whole = share.sum(0)
        share = torch.where(whole > 0, share / whole.clamp(min=1e-30), 1 / BANDS)
        places.append((share * bands).sum(0))
        spread = spread + (share - 1 / BANDS).abs().sum(0)
    return torch.stack(places), spread


def grids(shape: Sequence[int], spread: Float[Tensor, "T"]) -> Iterator[tuple[tuple[int, int], int]]:
    """The grids that an output may hold, with how many tokens come before: its own, or any of its tokens.

    Others than the grid's have no place: every band changes them about alike. Where attention has given them
    one, they must stand on one side and be fewer than a row, which they might be otherwise.
    """
    if len(shape) == 2:
        if shape[0] * shape[1] > 1:
            yield (shape[0], shape[1]), 0
        return
    T = shape[0]
    nowhere = (spread < 0.5 * spread.median()).tolist()
    before = next((i for i, free in enumerate(nowhere) if not free), T)
    behind = next((i for i, free in enumerate(reversed(nowhere)) if not free), T)
    for others in range(min(MOST_OTHERS, (T - 1) // 2) + 1):
        cells = T - others
        for prefix in range(others + 1):
            free = prefix <= before and others - prefix <= behind
            for h in range(2, cells // 2 + 1):
                w = cells // h
                if cells % h == 0 and (free or (others < w and prefix in (0, others))):
                    yield (h, w), prefix


def agreement(
    places: Float[Tensor, "2 cells"], grid: tuple[int, int]
) -> tuple[float, float, tuple[bool, bool] | None]:
    """How well places fit a grid, from 0 to 1; the probability that places by chance do so; which ways of it
    run backwards, or None if its rows are the picture's columns.
    """
    h, w = grid
    across, down = places.unflatten(1, grid)
    columns = torch.arange(w, dtype=places.dtype, device=places.device).expand(h, w)
    rows = torch.arange(h, dtype=places.dtype, device=places.device)[:, None].expand(h, w)
    straight = [_correlation(across, columns) if w > 1 else None, _correlation(down, rows) if h > 1 else None]
    turned = [_correlation(across, rows) if h > 1 else None, _correlation(down, columns) if w > 1 else None]
    values = [[abs(v) for v in pair if v is not None] for pair in (straight, turned)]
    fits, turns = (min(pair) for pair in values)
    root = math.sqrt(max(1, h * w - 3))  # Fisher's z, and four ways round
    chance = 4 * math.prod(
        0.5 * math.erfc(math.atanh(min(v, 1 - 1e-9)) * root / math.sqrt(2)) for v in values[turns > fits]
    )
    if max(values[turns <= fits]) > max(SLANTED, 2 / math.sqrt(h * w)):
        return 0.0, 1.0, None
    if turns > fits:
        return turns, chance, None
    return fits, chance, ((straight[1] or 1) < 0, (straight[0] or 1) < 0)


def _correlation(a: Tensor, b: Tensor) -> float:
    """Pearson\'s correlation of two maps; 0 where one is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(a.norm() * b.norm())
    return float((a * b).sum()) / scale if scale > 0 else 0.0


_CHANNELS_FIRST = (
    nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle,
)  # fmt: skip
_STEPS = (
    nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.InstanceNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.LPPool1d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d,
)  # fmt: skip
"""What these give is (N, C, L): of channels no place is asked, and steps that are read are the last axis."""
