"""Pooling, means and resizing: averages share in proportion, maxima send relevance where they were found."""

from typing import Any

import torch

from pellucid.engine.calls import Call
from pellucid.engine.relevance.activations import is_only_operand
from pellucid.engine.relevance.folding import share_in_proportion
from pellucid.engine.relevance.run import Run
from pellucid.engine.relevance.shapes import filled, moved
from pellucid.engine.tables import Table

POOLING = Table[Run]()

POOLING.on(
    *(
        f"{name}{ending}"
        for d in (1, 2, 3)
        for name in (f"max_pool{d}d", f"adaptive_max_pool{d}d")
        for ending in ("", "_with_indices")
    ),
    *(f"{name}{d}d" for name in ("upsample_nearest", "_upsample_nearest_exact") for d in (1, 2, 3)),
    "upsample_nearest",
)(moved)


@POOLING.on(
    "mean", "sum", "nansum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "cumsum", "lp_pool2d", "grid_sampler", "grid_sample",
    "fold", "upsample_bilinear", "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d",
    "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
)  # fmt: skip
def average(run: Run, call: Call) -> Any:
    """z = W a, with fixed weights: R_i = sum_j a_i w_ij / z_j R_j."""
    x = call.get(0, "input")
    if not is_only_operand(run, call, x) or x.numel() == 0:
        return run.other(call)
    raw = run.note(x, "raw")
    evenly = torch.ones_like(x) if raw else None  # of the picture itself, whatever the pixels' values
    rest = {k: v for k, v in call.kwargs.items() if k != "input"}
    made = share_in_proportion(
        run, call.value, x, lambda a: call.function(a, *call.args[1:], **rest), a=evenly
    )
    return run.noted(made, gate=run.note(x, "gate"), raw=raw)


@POOLING.on("interpolate", "upsample")
def resize(run: Run, call: Call) -> Any:
    """An average, or, by nearest neighbours, a move."""
    nearest = call.get(3, "mode", "nearest").startswith("nearest")
    return (
        filled(run, call)
        if nearest and is_only_operand(run, call, call.get(0, "input"))
        else average(run, call)
    )
