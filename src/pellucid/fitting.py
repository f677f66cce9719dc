"""Which methods fit a budget of seconds, by what one pass of this model takes on this machine."""

import time
from collections.abc import Sequence

from torch import Tensor

from pellucid.attribute import attribute
from pellucid.budget import Budget
from pellucid.errors import PellucidError
from pellucid.images import Batch
from pellucid.metrics.interventions import BLOCK
from pellucid.model import Model
from pellucid.request import Request

_CHANNELS = 512  # where the layer of "auto" cannot be found, by which methods that go by channels are guessed
_BACKWARD = 2.0  # forward passes that a backward pass is taken to last
_ROUND = 2 * BLOCK


def within_budget(
    model: Model, batch: Batch, requests: Sequence[Request], targets: int, budget: Budget
) -> tuple[list[Request], list[tuple[Request, str]]]:
    """The requests that fit, cheapest first counted, in their own order; and the others, with the reason.

    One round of interventions is kept free for the verdict. At least the cheapest method always fits.

    Cost:
        2 forward and 2 backward for one image, where the budget is of seconds; else nothing.
    """
    if budget.seconds is None or not requests:
        return list(requests), []
    second, channels = _pass(model, batch)
    left = budget.seconds * len(batch.inputs) * targets - _ROUND * second * len(batch.inputs) * targets
    taken = {i: _passes(request, channels) * second for i, request in enumerate(requests)}
    fits: set[int] = set()
    for i in sorted(taken, key=lambda i: taken[i]):
        needed = taken[i] * len(batch.inputs) * targets
        if needed <= left or not fits:
            fits.add(i)
            left -= needed
    over = [
        (
            request,
            f"left out, to fit the budget of {budget}: it would take about {taken[i]:.0f} s a picture; give "
            "it a larger budget, or explain the picture by it alone.",
        )
        for i, request in enumerate(requests)
        if i not in fits
    ]
    return [request for i, request in enumerate(requests) if i in fits], over


def _pass(model: Model, batch: Batch) -> tuple[float, int]:
    """The seconds of one forward pass, and the channels of the layer that "auto" finds."""
    extras = None if batch.extras is None else batch.extras.of(0)
    channels, request = _CHANNELS, Request.of("grad-cam")
    try:
        for _ in range(2):  # the first pass of a model is slower
            started = time.perf_counter()
            (found,), _ = attribute(model, batch.inputs[:1], [request], extras=extras, progress=False)
            taken = time.perf_counter() - started
    except PellucidError:
        return 0.05, channels
    if isinstance(found.answer, PellucidError):
        return taken, channels
    weights = found.answer.finding.details.get("weights")
    if isinstance(weights, Tensor):
        channels = weights.shape[1]
    return taken / (1 + _BACKWARD), channels


def _passes(request: Request, channels: int) -> float:
    cost = request.method.cost(request.options)
    behind = 0.5 * cost.behind_per_channel  # the head alone, usually the smaller part
    return cost.forward + _BACKWARD * cost.backward + (cost.per_channel + behind) * channels
