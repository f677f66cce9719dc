"""Products and quotients: of a signal and a gate the signal answers, of two signals each by half."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.engine.calls import Call
from pellucid.engine.relevance.backward import custom_backward, first_arguments, first_order, pass_relevance
from pellucid.engine.relevance.run import Run
from pellucid.engine.tables import Table

PRODUCTS = Table[Run]()


@PRODUCTS.on("mul")
def mul(run: Run, call: Call) -> Tensor:
    """Of x y each gets half; a signal gets all if the other is a gate or smaller, unless product=half."""
    x, y = call.get(0, "input"), call.get(1, "other")
    if not run.depends_on_input(x):
        x, y = y, x
    if not run.depends_on_input(y):
        return scaled(run, call, x)
    gates = [bool(run.note(v, "gate")) or v.numel() < max(x.numel(), y.numel()) for v in (x, y)]
    if gates[0] == gates[1] or run.composite.choice("product") == "half":
        answering = [x, y]
    else:
        answering = [y if gates[0] else x]
    sizes = [v.shape for v in answering]

    def backward(relevance: Tensor) -> list[Tensor]:
        return [(relevance / len(sizes)).sum_to_size(size) for size in sizes]

    made = custom_backward(call.value, backward, *answering)
    return run.noted(made, gate=all(run.note(v, "gate") for v in (x, y)))


@PRODUCTS.on("div")
def div(run: Run, call: Call) -> Tensor:
    """x / y: what x is divided by is its scale, and x gets all; of a constant divided by y, y gets all."""
    x = call.get(0, "input")
    if not run.depends_on_input(x):
        return run.noted(pass_relevance(call, call.get(1, "other")), gate=True)
    return scaled(run, call, x)


@PRODUCTS.on("rdiv")
def rdiv(run: Run, call: Call) -> Tensor:
    """A constant divided by x."""
    return run.noted(pass_relevance(call, call.args[0]), gate=True)


@PRODUCTS.on("glu")
def glu(run: Run, call: Call) -> Any:
    """The first half times the sigmoid of the second."""
    with run:
        signal, gate = call.get(0, "input").chunk(2, call.get(1, "dim", -1))
        return signal * gate.sigmoid()


@PRODUCTS.on("addcmul")
def addcmul(run: Run, call: Call) -> Any:
    """x + value y z."""
    x, y, z = first_arguments(call, "input", "tensor1", "tensor2")
    with run:
        return torch.add(x, y * z, alpha=call.kwargs.get("value", 1))


def scaled(run: Run, call: Call, x: Tensor) -> Tensor:
    """A constant factor: x answers for all of it."""
    return run.noted(pass_relevance(call, x), raw=run.note(x, "raw"), gate=run.note(x, "gate"))


def bilinear(run: Run, call: Call) -> Any:
    """A matrix product, or a convolution, of two tensors that depend on the input, as in an attention.

    Each answers by half of its first-order expansion; of a gate and a signal the signal by all of it, unless
    attention=all.
    """
    carriers = run.carriers(call)
    if len(carriers) != 2:
        return run.other(call)
    signals = [x for x in carriers if not run.note(x, "gate")]
    both = run.composite.choice("attention") == "all" or not signals
    answering = carriers if both else signals

    def backward(relevance: Tensor) -> Sequence[Tensor]:
        went = [part / len(answering) for part in first_order(call, answering, relevance)]
        run.account.count_absorbed(relevance, went)
        return went

    return custom_backward(call.value, backward, *answering)
