"""Normalisations, whose scale is taken as it is: then they are linear."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pellucid.engine.calls import Call
from pellucid.engine.relevance.backward import custom_backward, first_arguments, pass_relevance
from pellucid.engine.relevance.folding import Affine, LinearMap, ScaleWeights, merge, share_in_proportion
from pellucid.engine.relevance.run import Run
from pellucid.engine.sharing import Operands
from pellucid.engine.tables import Table

NORMS = Table[Run]()


@NORMS.on("batch_norm")
def batch_norm(run: Run, call: Call) -> Tensor:
    """Folded into the linear map before it, else into the one behind; alone it shares in proportion."""
    x, mean, var, weight, bias, training = first_arguments(
        call, "input", "running_mean", "running_var", "weight", "bias", "training"
    )
    eps = call.get(7, "eps", 1e-5)
    if training or mean is None or var is None:  # by the batch's own statistics, taken as they are
        dims = [dim for dim in range(x.ndim) if dim != 1]
        var, mean = torch.var_mean(x.detach(), dims, correction=0)
    scale = (var + eps).rsqrt() if weight is None else weight * (var + eps).rsqrt()
    shift = -mean * scale if bias is None else bias - mean * scale
    linear: LinearMap | None = run.note(x, "linear")
    if linear is not None and linear.scale_weights is not None and x.ndim > 1:
        return _fold(run, call, x, linear, linear.scale_weights, scale, shift)
    affine, raw = Affine(x, scale, shift), run.note(x, "raw")
    if raw:
        made = custom_backward(call.value, lambda relevance: (relevance,), x)
    else:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scales, shifts, rule = scale.view(shape), shift.view(shape), affine.rule
        made = share_in_proportion(run, call.value, x, lambda a: a * scales, shifts, rule=rule)
    return run.noted(made, affine=affine, raw=raw)


def _fold(
    run: Run, call: Call, x: Tensor, linear: LinearMap, scale_weights: ScaleWeights, scale: Tensor,
    shift: Tensor,
) -> Tensor:  # fmt: skip
    """A batch norm behind a linear map: the two are one, of scaled weights and shifted biases."""
    before, rows = linear.read, (-1,) + (1,) * (x.ndim - 2)  # neither linear nor x, which would hold read

    def read() -> Operands:
        on = before()
        bias = shift.view(rows) if on.bias is None else on.bias * scale.view(rows) + shift.view(rows)
        return replace(on, weight=scale_weights(on.weight, scale), bias=bias)

    return merge(run, call, x, linear, read)


@NORMS.on("layer_norm")
def layer_norm(run: Run, call: Call) -> Tensor:
    """weight (x - mean x) / sigma + bias, in proportion."""
    x, shape, weight, bias = first_arguments(call, "input", "normalized_shape", "weight", "bias")
    dims = tuple(range(-len(shape), 0))
    return _normalise(run, call, x, dims, weight, bias, call.get(4, "eps", 1e-5))


@NORMS.on("rms_norm")
def rms_norm(run: Run, call: Call) -> Tensor:
    """weight x / sqrt(mean x^2), in proportion."""
    x, shape, weight = first_arguments(call, "input", "normalized_shape", "weight")
    dims = tuple(range(-len(shape), 0))
    eps = call.get(3, "eps")
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    scale = (x.detach().square().mean(dims, keepdim=True) + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    return share_in_proportion(run, call.value, x, lambda a: a * scale)


@NORMS.on("group_norm")
def group_norm(run: Run, call: Call) -> Tensor:
    """A layer norm of each group of channels."""
    x, groups, weight, bias = first_arguments(call, "input", "num_groups", "weight", "bias")
    return _by_groups(run, call, x, groups, weight, bias, call.get(4, "eps", 1e-5))


@NORMS.on("instance_norm")
def instance_norm(run: Run, call: Call) -> Any:
    """A layer norm of each channel; by running statistics, a batch norm."""
    x, weight, bias = call.get(0, "input"), call.get(3, "weight"), call.get(4, "bias")
    if not call.get(5, "use_input_stats", True):
        mean, var, eps = call.get(1, "running_mean"), call.get(2, "running_var"), call.get(7, "eps", 1e-5)
        args = (x, mean, var, weight, bias, False, 0.0, eps)
        return batch_norm(run, replace(call, args=args, kwargs={}, function=functional.batch_norm))
    return _by_groups(run, call, x, x.shape[1], weight, bias, call.get(7, "eps", 1e-5))


def _by_groups(
    run: Run, call: Call, x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    shape = (-1,) + (1,) * (x.ndim - 2)
    weight = None if weight is None else weight.view(shape)
    bias = None if bias is None else bias.view(shape)
    dims = tuple(range(2, x.ndim + 1))
    return _normalise(run, call, x, dims, weight, bias, eps, groups)


def _normalise(
    run: Run, call: Call, x: Tensor, dims: tuple[int, ...], weight: Tensor | None, bias: Tensor | None,
    eps: float, groups: int | None = None,
) -> Tensor:  # fmt: skip
    """weight (x - mean x) / sigma + bias, linear in x as long as sigma is taken as it is."""
    if run.note(x, "raw"):
        return run.noted(pass_relevance(call, x), raw=True)

    def grouped(a: Tensor) -> Tensor:
        return a if groups is None else a.unflatten(1, (groups, -1))

    sigma = (grouped(x.detach()).var(dims, correction=0, keepdim=True) + eps).sqrt()

    def apply(a: Tensor) -> Tensor:
        parts = grouped(a)
        normed = (parts - parts.mean(dims, keepdim=True)) / sigma
        normed = normed if groups is None else normed.flatten(1, 2)
        return normed if weight is None else normed * weight

    return share_in_proportion(run, call.value, x, apply, bias)
