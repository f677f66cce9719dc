"""Scores of perturbed inputs of an image: made, run and let go chunk by chunk; only numbers are held."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.chunks import out_of_memory
from pellucid.engine.pace import Way, pace_of
from pellucid.engine.precision import bf16_autocast
from pellucid.engine.run import Engine
from pellucid.errors import InvalidValue

Copies = Callable[[int, int], Tensor]
"""`copies(start, stop)` makes copies number start to stop, (B, C, H, W): new tensors, always the same."""
Scorer = Callable[[Any, int], Float[Tensor, " B"]]
"""A score of B copies of one image, from the model's raw output and B."""


def score_perturbed(
    engine: Engine,
    image: Float[Tensor, "1 C H W"],
    copies: Copies,
    start: int,
    stop: int,
    scorers: Sequence[Scorer],
    *,
    low: bool = False,
    number: int | None = None,
) -> Float[Tensor, "T S"]:
    """The scores of copies number `start` to `stop` of an image, by each scorer, in float64 on the CPU.

    When memory runs out the chunk is made smaller and the work goes on. `low` runs the model in bfloat16;
    `number` tells which image this is.

    Raises:
        InvalidValue: another number of scores than of copies.
        ModelError: the model failed.

    Cost:
        One forward pass per copy; memory for one chunk, however many copies there are.
    """
    precision = "bfloat16" if low or engine.precision == "bfloat16" else "float32"
    pace = pace_of(engine.model.module, image, precision, engine.batch_size)
    autocast = bf16_autocast(image.device) if low else nullcontext()
    values = [torch.empty(len(scorers), 0, dtype=torch.float64, device="cpu")]

    def run(start: int, end: int, way: Way) -> Tensor:
        batch = engine.to_memory_format(copies(start, end), way.channels_last)
        with engine.making(forward=end - start), torch.no_grad():
            with autocast:
                raw = engine.forward(batch, None if number is None else [number] * (end - start))
            return torch.stack([score(raw, end - start).double() for score in scorers]).cpu()

    while start < stop:
        way, scores = pace.way, None
        end = min(start + way.chunk, stop)
        began = time.perf_counter()
        try:
            scores = engine.with_layout_fallback(partial(run, start, end, way))
        except Exception as error:
            if not out_of_memory(error) or not pace.ran_out(way):
                raise
        if scores is None:  # only here, behind the exception, is what the chunk held free
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        if scores.shape[1] != end - start:
            raise InvalidValue(
                f"There must be one score per copy: {end - start} perturbed inputs, {scores.shape[1]} scores."
            )
        if end - start == way.chunk:
            pace.took(way, (time.perf_counter() - began) / way.chunk)
        values.append(scores)
        start = end
    return torch.cat(values, 1)
