"""Functions of one number, applied to each: (f(x) - f(x')) / (x - x'); and quotients and gates of two."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from pellucid.engine.calls import Call
from pellucid.engine.rescale import multipliers
from pellucid.engine.rescale.linear import linear
from pellucid.engine.rescale.paired import PairedRun, with_surrogate_gradient
from pellucid.engine.tables import Table

ELEMENTWISE = Table[PairedRun]()


@ELEMENTWISE.on(
    "relu", "relu6", "hardtanh", "threshold", "_threshold", "leaky_relu", "rrelu", "prelu", "abs", "clamp",
    "clamp_min", "clamp_max",
)  # fmt: skip
def ramp(run: PairedRun, call: Call) -> Any:
    """Made of straight pieces: the quotient dy / dx is exact; where dx is 0, the derivative."""
    if len(carriers := run.carriers(call)) != 1:
        return run.other(call)
    x, y, y0 = carriers[0], call.value(), run.of_references(call)
    gained = x.detach() - run.reference(x)
    slope, same = (y - y0).div_(gained), gained == 0
    if same.any():
        slope = torch.where(same, _slope(run, call, x, y), slope)
    return run.pair(with_surrogate_gradient(y, slope * x), y0)


@ELEMENTWISE.on(
    "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid", "sigmoid", "logsigmoid",
    "tanh", "tanhshrink", "softsign", "softplus", "softshrink", "hardshrink", "exp", "exp2", "expm1",
    "log", "log2", "log10", "log1p", "pow", "rpow", "sqrt", "rsqrt", "reciprocal", "rdiv", "sin", "cos",
    "tan", "atan", "arctan", "asinh", "erf",
)  # fmt: skip
def curve(run: PairedRun, call: Call) -> Any:
    """dy / dx, as far as rounding lets it be known."""
    if len(carriers := run.carriers(call)) != 1:
        return run.other(call)
    x, y, y0 = carriers[0], call.value(), run.of_references(call)
    slope = multipliers.quotient(x.detach(), run.reference(x), y, y0, _slope(run, call, x, y))
    return run.pair(with_surrogate_gradient(y, slope * x), y0)


def _slope(run: PairedRun, call: Call, x: Tensor, y: Tensor) -> Tensor:
    """The derivative at (x + x') / 2."""
    with torch.enable_grad():
        middle = torch.lerp(run.reference(x), x.detach(), 0.5).expand_as(y).clone().requires_grad_()
        args, kwargs = tree_map(lambda value: middle if value is x else value, (call.args, call.kwargs))
        return torch.autograd.grad(replace(call, args=args, kwargs=kwargs).run().sum(), middle)[0]


@ELEMENTWISE.on("div")
def div(run: PairedRun, call: Call) -> Any:
    """a / b: of both, if b depends on the input."""
    a, b = call.get(0, "input"), call.get(1, "other")
    if not run.depends_on_input(b) or call.get(2, "rounding_mode"):
        return linear(run, call)
    return run.surrogate(call, multipliers.divided(a, run.reference(a), b, run.reference(b)))


@ELEMENTWISE.on("glu")
def glu(run: PairedRun, call: Call) -> Tensor:
    """The first half times the sigmoid of the second."""
    with run:
        a, b = call.get(0, "input").chunk(2, call.get(1, "dim", -1))
        surrogate = a * b.sigmoid()
    return run.surrogate(call, surrogate)
