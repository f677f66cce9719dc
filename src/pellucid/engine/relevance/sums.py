"""Sums of two: each answers for its part."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pellucid.engine.calls import Call
from pellucid.engine.relevance.backward import custom_backward, pass_relevance
from pellucid.engine.relevance.folding import LinearMap, merge, share_in_proportion
from pellucid.engine.relevance.run import Run
from pellucid.engine.sharing import STABILISER, Operands, stabilised
from pellucid.engine.tables import Table

SUMS = Table[Run]()


@SUMS.on("add", "sub", "rsub")
def add(run: Run, call: Call) -> Tensor:
    """z = s x + t y, with factors s and t: R_x = s x R / z, R_y = t y R / z. A constant is a bias."""
    (x, s), (y, t) = terms(call)
    if not run.depends_on_input(x):
        x, y, s, t = y, x, t, s
    if not run.depends_on_input(y):
        return add_constant(run, call, x, s, t * torch.as_tensor(y, dtype=x.dtype, device=x.device))
    raw, gate = (run.note(x, name) and run.note(y, name) for name in ("raw", "gate"))
    if raw and x.numel() != y.numel():  # the picture, less its own mean
        return run.noted(pass_relevance(call, max(x, y, key=Tensor.numel)), raw=True)
    a, b = x.detach(), y.detach()

    def backward(relevance: Tensor) -> tuple[Tensor, Tensor]:
        quotient = relevance / stabilised(s * a + t * b, STABILISER)
        went = (quotient * (s * a)).sum_to_size(a.shape), (quotient * (t * b)).sum_to_size(b.shape)
        run.account.count_absorbed(relevance, went)
        return went

    return run.noted(custom_backward(call.value, backward, x, y), raw=raw, gate=gate)


def terms(call: Call) -> tuple[tuple[Any, float], tuple[Any, float]]:
    """What is added, x and y, each with its factor: x + alpha y, x - alpha y, or y - alpha x."""
    x, y, alpha = call.get(0, "input"), call.get(1, "other"), float(call.get(2, "alpha", 1))
    match call.name:
        case "add":
            return (x, 1.0), (y, alpha)
        case "sub":
            return (x, 1.0), (y, -alpha)
        case _:
            return (x, -alpha), (y, 1.0)


def add_constant(run: Run, call: Call, x: Tensor, factor: float, constant: Tensor) -> Tensor:
    """factor x + constant: a bias, of the linear map that made x where there is one."""
    raw, gate = run.note(x, "raw"), run.note(x, "gate")
    linear: LinearMap | None = run.note(x, "linear")
    size = torch.broadcast_shapes(x.shape, constant.shape)
    constant = torch.where(constant.isinf(), 0, constant)  # what hides a class, which has no relevance
    # What only shifts the picture, before the first layer, is no layer; sum() begins with zero.
    if raw or (constant.ndim == 0 and constant == 0):
        return run.noted(pass_relevance(call, x), raw=raw, gate=gate)
    if linear is not None and factor == 1 and size == x.shape:
        before = linear.read  # neither linear nor x, which would hold read

        def read() -> Operands:
            on = before()
            return replace(on, bias=constant if on.bias is None else on.bias + constant)

        return merge(run, call, x, linear, read)
    made = share_in_proportion(run, call.value, x, lambda a: (factor * a).expand(size), constant)
    return run.noted(made, gate=gate)
