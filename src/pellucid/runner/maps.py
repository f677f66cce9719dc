"""A map as it lies in a shard, and what is told of it in numbers."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.grain import cell_shares, cells_of

EDGE = 8
"""A map's border is this part of its height and width, at either side."""


def encode_map(map: Float[Tensor, "..."]) -> dict[str, Any]:
    """The columns `map`, `map_shape` and `map_scale` of one map.

    float16 keeps eleven bits of each value, over the magnitudes from 6e-8 to 65504: the map is divided by a
    power of two first, which takes its largest value to between 1 and 2, and costs no digit.

    Example:
        >>> stored = encode_map(torch.tensor([[3e-9, -1e-9]]))
        >>> stored["map_shape"], decode_map(stored)[0, 0] == torch.tensor(3e-9)
        ([1, 2], tensor(False))
        >>> bool(abs(decode_map(stored)[0, 0] - 3e-9) < 3e-9 / 2**11)
        True
    """
    values = map.detach().cpu().float()
    peak = float(values.abs().max()) if values.numel() else 0.0
    scale = 2.0 ** math.floor(math.log2(peak)) if peak > 0 else 1.0
    # In double precision: the scale of the smallest floats has no reciprocal among them.
    halves = (values.double() / scale).numpy().astype("<f2")
    return {"map": halves.tobytes(), "map_shape": list(values.shape), "map_scale": scale}


def decode_map(row: Mapping[str, Any]) -> Float[Tensor, "..."]:
    """The map of a row, float32; the inverse of `encode_map` to float16's digits."""
    halves = np.frombuffer(row["map"], dtype="<f2").astype(np.float64)
    values = (halves * row["map_scale"]).astype(np.float32).reshape(row["map_shape"])
    return torch.from_numpy(values)


def statistics(map: Float[Tensor, "..."]) -> dict[str, float | None]:
    """What the columns of a shard tell of a map: see `row_schema`.

    Where evidence lies is told of that for the target, in cells: of (C, h, w) the channels' sum. A map
    without such evidence has no centre, border or entropy.

    Example:
        >>> found = statistics(torch.tensor([[0.0, 0.0], [0.0, 2.0]]))
        >>> found["center_x"], found["center_y"], found["entropy"], found["positive"]
        (0.75, 0.75, 0.0, 1.0)
    """
    values = map.detach().cpu().double()
    cells = cells_of(values)
    magnitude = float(cells.abs().sum())
    evidence = cells.clamp(min=0)
    total = float(evidence.sum())
    known: dict[str, float | None] = {
        "map_min": float(values.min()), "map_max": float(values.max()), "map_sum": float(values.sum()),
        "positive": total / magnitude if magnitude > 0 else None,
        "center_x": None, "center_y": None, "border": None, "entropy": None,
    }  # fmt: skip
    if total <= 0:
        return known
    share = evidence / total
    h, w = share.shape
    rows, columns = share.sum(1), share.sum(0)
    inner = _inner(h)[:, None] * _inner(w)[None]
    at = share[share > 0]
    known |= {
        "center_x": float((columns * _centres(w)).sum()),
        "center_y": float((rows * _centres(h)).sum()),
        "border": float(1 - (share * inner).sum()),
        "entropy": float(-(at * at.log()).sum()) / math.log(h * w) if h * w > 1 else 0.0,
    }
    return {name: value if value is None else value + 0.0 for name, value in known.items()}


def inside(map: Float[Tensor, "..."], mask: Bool[Tensor, "H W"]) -> float | None:
    """The share of the evidence for the target that lies in a mask over the input; None without evidence.

    The map's cells are laid over the mask: what counts of a cell is the part of it that the mask covers.

    Example:
        >>> mask = torch.tensor([[True, True, True, False]] * 4)
        >>> inside(torch.tensor([[1.0, 1.0]]), mask)
        0.75
    """
    values = map.detach().cpu().double()
    cells = cells_of(values).clamp(min=0)
    total = float(cells.sum())
    if total <= 0:
        return None
    covered = area_mean(mask.cpu().double(), (cells.shape[0], cells.shape[1]))
    return float((cells * covered).sum()) / total


def area_mean(values: Float[Tensor, "H W"], size: tuple[int, int]) -> Float[Tensor, "h w"]:
    """The mean over each of (h, w) equal cells, of which pixels at the rim belong to two in part.

    Example:
        >>> area_mean(torch.tensor([[0.0, 3.0, 6.0]]), (1, 2))
        tensor([[1., 5.]])
    """
    down, across = (
        cell_shares(0.0, float(pixels), pixels, 0.0, float(pixels), cells) * (cells / pixels)
        for pixels, cells in zip(values.shape, size, strict=True)
    )
    return down.to(values.dtype) @ values @ across.to(values.dtype).T


def _centres(count: int) -> Float[Tensor, " count"]:
    return (torch.arange(count, dtype=torch.float64, device="cpu") + 0.5) / count


def _inner(count: int) -> Float[Tensor, " count"]:
    """How much of each cell lies in the middle, away from the border at either end."""
    low = torch.arange(count, dtype=torch.float64, device="cpu") / count
    start, stop = 1 / EDGE, 1 - 1 / EDGE
    seen = (low + 1 / count).clamp(max=stop) - low.clamp(min=start)
    return (seen * count).clamp(0, 1)
