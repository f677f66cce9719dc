"""Linear maps with weights (convolutions, dense layers, products with a parameter) share by a rule."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear as dense

from pellucid.engine.calls import Call
from pellucid.engine.relevance.backward import first_arguments
from pellucid.engine.relevance.folding import (
    Affine,
    LinearMap,
    ScaleWeights,
    scale_by_group,
    scale_rows,
    share,
)
from pellucid.engine.relevance.products import bilinear
from pellucid.engine.relevance.run import Run
from pellucid.engine.rule_registry import Sharing
from pellucid.engine.sharing import Apply, Operands
from pellucid.engine.tables import Table

LINEAR = Table[Run]()


@LINEAR.on("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def convolution(run: Run, call: Call) -> Any:
    """By the rule for conv."""
    x, weight, bias = first_arguments(call, "input", "weight", "bias")
    if not run.depends_on_input(x) or run.depends_on_input(weight):
        return bilinear(run, call)
    rest = {k: v for k, v in call.kwargs.items() if k not in ("input", "weight", "bias")}
    apply = partial(_applied, call.function, call.args[3:], rest)
    bias = None if bias is None else bias.view(-1, *[1] * (weight.ndim - 2))
    groups = call.get(6, "groups", 1)
    if x.ndim != weight.ndim:
        return weighted(run, call, x, weight, bias, apply, "conv")
    if "transpose" not in call.name:
        return weighted(run, call, x, weight, bias, apply, "conv", scale_rows, groups)
    return weighted(run, call, x, weight, bias, apply, "conv", partial(scale_by_group, groups=groups))


@LINEAR.on("linear")
def linear(run: Run, call: Call) -> Any:
    """By the rule for dense."""
    x, weight, bias = first_arguments(call, "input", "weight", "bias")
    if not run.depends_on_input(x) or run.depends_on_input(weight):
        return bilinear(run, call)
    if x.ndim != 2:
        return weighted(run, call, x, weight, bias, dense, "dense")
    return weighted(run, call, x, weight, bias, dense, "dense", scale_rows, 1)


@LINEAR.on("matmul")
def matmul(run: Run, call: Call) -> Any:
    """By the rule for dense; two factors that depend on the input, as in an attention, are `bilinear`."""
    x, y = call.get(0, "input"), call.get(1, "other", call.kwargs.get("mat2"))
    if run.depends_on_input(x) and run.depends_on_input(y):
        return bilinear(run, call)
    if run.depends_on_input(x):
        return weighted(run, call, x, y, None, torch.matmul, "dense")
    return weighted(run, call, y, x, None, lambda a, weight: weight @ a, "dense")


@LINEAR.on("rmatmul")
def rmatmul(run: Run, call: Call) -> Any:
    """y @ x."""
    return matmul(run, replace(call, name="matmul", args=call.args[::-1], function=torch.matmul))


@LINEAR.on("einsum")
def einsum(run: Run, call: Call) -> Any:
    """Of two factors, one of them a constant: by the rule for dense."""
    operands = call.args[1] if isinstance(call.args[1], (list, tuple)) else call.args[1:]
    carriers = [i for i, operand in enumerate(operands) if run.depends_on_input(operand)]
    if len(operands) != 2 or len(carriers) != 1:
        return bilinear(run, call)
    at = carriers[0]

    def apply(a: Tensor, weight: Tensor) -> Tensor:
        return torch.einsum(call.args[0], *((a, weight) if at == 0 else (weight, a)))

    return weighted(run, call, operands[at], operands[1 - at], None, apply, "dense")


@LINEAR.on("addmm", "baddbmm")
def addmm(run: Run, call: Call) -> Any:
    """beta bias + alpha x @ y: a dense layer, or a product and a sum."""
    bias, x, y = first_arguments(call, "input", "mat1", "mat2")
    plain = call.kwargs.get("alpha", 1) == call.kwargs.get("beta", 1) == 1
    plain = plain and (bias.ndim, y.ndim) == (1, 2)
    if plain and run.depends_on_input(x) and not run.depends_on_input(y) and not run.depends_on_input(bias):
        return linear(run, replace(call, name="linear", function=dense, args=(x, y.t(), bias), kwargs={}))
    with run:
        alpha, beta = call.kwargs.get("alpha", 1), call.kwargs.get("beta", 1)
        product = torch.matmul(x, y)
        product = product if alpha == 1 else product * alpha  # the bias stays next to its weights
        return product + (bias if beta == 1 else bias * beta)


def weighted(
    run: Run, call: Call, x: Tensor, weight: Tensor, bias: Tensor | None,
    apply: Apply, family: str, scale_weights: ScaleWeights | None = None, groups: int | None = None,
) -> Tensor:  # fmt: skip
    """A linear map with weights, by the composite's rule for its layer, place or family.

    With `scale_weights` a batch norm behind it can be folded in, with `groups` one before it.
    """
    number, where, first = run.linear_maps, call.where, bool(run.note(x, "raw"))
    run.linear_maps += 1
    run.matched |= set(run.composite.matching(where))

    def rule() -> Sharing:
        return run.rule(where, family, first=first, last=number == run.linear_maps - 1)

    rule()  # what is wrong with it is said before anything is run back
    a: Tensor = x.detach()
    affine: Affine | None = run.note(x, "affine")
    if affine is not None and groups is not None:
        read = partial(affine.into, Operands(apply, a[:0], weight, bias), groups)
        if run.note(x, "kept"):  # relevance is asked for in between
            affine.merged.append(where)
        else:
            x = affine.source
    else:
        read = partial(Operands, apply, a, weight, bias)
    map_ = LinearMap(x, read, rule, scale_weights)
    return run.noted(share(run, call.value, map_), linear=map_)


def _applied(
    function: Callable[..., Tensor], rest: Sequence[Any], options: dict[str, Any], a: Tensor, weight: Tensor
) -> Tensor:
    """A convolution without its bias."""
    return function(a, weight, None, *rest, **options)
