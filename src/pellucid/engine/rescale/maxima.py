"""Maxima: their whole change goes to where the larger one was found."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.engine.calls import Call
from pellucid.engine.rescale import multipliers
from pellucid.engine.rescale.paired import PairedRun, with_surrogate_gradient
from pellucid.engine.tables import Table

MAXIMA = Table[PairedRun]()


@MAXIMA.on(
    *(
        f"{name}{ending}"
        for d in (1, 2, 3)
        for name in (f"max_pool{d}d", f"adaptive_max_pool{d}d")
        for ending in ("", "_with_indices")
    )
)
def max_pool(run: PairedRun, call: Call) -> Any:
    """The larger of image's and reference's maximum takes the change of the window."""
    name = call.name.removesuffix("_with_indices")
    pool, d = getattr(functional, name), int(name[-2])
    options = {key: value for key, value in call.kwargs.items() if key != "return_indices"}
    x, start = call.get(0, "input"), run.reference(call.get(0, "input"))
    with torch.no_grad():
        (y, at), (y0, at0) = (
            pool(values, *call.args[1:], **options, return_indices=True) for values in (x, start)
        )
    place, change = torch.where(y >= y0, at, at0), y - y0
    surrogate = multipliers.chosen(*(values.flatten(-d) for values in (x, start, place, change)))
    made = run.pair(with_surrogate_gradient(y, surrogate.view_as(y)), y0)
    return (made, run.pair(at, at0)) if call.name.endswith("with_indices") else made


@MAXIMA.on("amax")
def amax(run: PairedRun, call: Call) -> Any:
    """The maximum over axes."""
    x, dims, keepdim = call.get(0, "input"), call.get(1, "dim", ()), call.get(2, "keepdim", False)
    return run.surrogate(call, multipliers.maximum(x, run.reference(x), dims, keepdim))


@MAXIMA.on("max")
def max_(run: PairedRun, call: Call) -> Any:
    """The maximum of two tensors, of all, or over one axis, with its places."""
    dim = call.get(1, "dim")
    if isinstance(dim, Tensor) or "other" in call.kwargs:
        return maximum(run, call)
    if dim is None:
        return amax(run, call)
    x, y, y0 = call.get(0, "input"), call.value(), run.of_references(call)
    surrogate = multipliers.maximum(x, run.reference(x), dim, call.get(2, "keepdim", False))
    return run.pair(type(y)((with_surrogate_gradient(y.values, surrogate), y.indices)), y0)


@MAXIMA.on("maximum")
def maximum(run: PairedRun, call: Call) -> Tensor:
    """a + (b - a)+."""
    a, b = call.get(0, "input"), call.get(1, "other")
    with run:
        surrogate = a + (b - a).relu()
    return run.surrogate(call, surrogate)


@MAXIMA.on("minimum")
def minimum(run: PairedRun, call: Call) -> Tensor:
    """a - (a - b)+."""
    a, b = call.get(0, "input"), call.get(1, "other")
    with run:
        surrogate = a - (a - b).relu()
    return run.surrogate(call, surrogate)
