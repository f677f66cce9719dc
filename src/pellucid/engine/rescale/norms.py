"""What divides by a norm, in the steps that it is made of: within `with run` these are replaced in turn."""

from typing import Any

import torch
from torch import Tensor

from pellucid.engine.calls import Call
from pellucid.engine.rescale.linear import linear
from pellucid.engine.rescale.paired import PairedRun
from pellucid.engine.tables import Table

NORMS = Table[PairedRun]()


@NORMS.on("layer_norm")
def layer_norm(run: PairedRun, call: Call) -> Tensor:
    """weight (x - mean x) / sigma."""
    x, weight = call.get(0, "input"), call.get(2, "weight")
    dims = tuple(range(-len(call.get(1, "normalized_shape")), 0))
    with run:
        surrogate = _normalised(x, dims, call.get(4, "eps", 1e-5))
        surrogate = surrogate if weight is None else surrogate * weight
    return run.surrogate(call, surrogate)


@NORMS.on("rms_norm")
def rms_norm(run: PairedRun, call: Call) -> Tensor:
    """weight x / sqrt(mean x^2)."""
    x, weight, eps = call.get(0, "input"), call.get(2, "weight"), call.get(3, "eps")
    dims = tuple(range(-len(call.get(1, "normalized_shape")), 0))
    with run:
        surrogate = _normalised(x, dims, torch.finfo(x.dtype).eps if eps is None else eps, centred=False)
        surrogate = surrogate if weight is None else surrogate * weight
    return run.surrogate(call, surrogate)


@NORMS.on("group_norm")
def group_norm(run: PairedRun, call: Call) -> Tensor:
    """A layer norm of each group of channels."""
    x, groups, weight = call.get(0, "input"), call.get(1, "num_groups"), call.get(2, "weight")
    with run:
        split = x.unflatten(1, (groups, -1))
        surrogate = _normalised(split, tuple(range(2, split.ndim)), call.get(4, "eps", 1e-5)).flatten(1, 2)
        surrogate = surrogate if weight is None else surrogate * weight.view(-1, *[1] * (x.ndim - 2))
    return run.surrogate(call, surrogate)


@NORMS.on("instance_norm")
def instance_norm(run: PairedRun, call: Call) -> Tensor:
    """A layer norm of each channel; linear if it is by running statistics."""
    x, weight = call.get(0, "input"), call.get(3, "weight")
    if not call.get(5, "use_input_stats", True):
        return linear(run, call)  # type: ignore[no-any-return]
    with run:
        surrogate = _normalised(x, tuple(range(2, x.ndim)), call.get(7, "eps", 1e-5))
        surrogate = surrogate if weight is None else surrogate * weight.view(-1, *[1] * (x.ndim - 2))
    return run.surrogate(call, surrogate)


@NORMS.on("batch_norm")
def batch_norm(run: PairedRun, call: Call) -> Any:
    """Linear, unless it is by the batch's own statistics."""
    return run.other(call) if call.get(5, "training", False) else linear(run, call)


@NORMS.on("normalize")
def normalize(run: PairedRun, call: Call) -> Any:
    """x / max(||x||, eps)."""
    x, p, dim, eps = (call.get(*at) for at in ((0, "input"), (1, "p", 2.0), (2, "dim", 1), (3, "eps", 1e-12)))
    with run:
        surrogate = x / x.norm(p, dim, keepdim=True).clamp_min(eps)
    return run.surrogate(call, surrogate)


@NORMS.on("norm", "linalg_norm", "linalg_vector_norm")
def norm(run: PairedRun, call: Call) -> Any:
    """The root of the sum of squares; other norms are integrated."""
    order = call.get(1, "p" if call.name == "norm" else "ord")
    x, dim, keepdim = call.get(0, "input"), call.get(2, "dim"), call.get(3, "keepdim", False)
    spectral = call.name == "linalg_norm" and order is not None and not isinstance(dim, int)
    if order not in (2, "fro", None) or spectral:
        return run.other(call)
    with run:
        surrogate = x.square().sum(dim, keepdim=keepdim).sqrt()
    return run.surrogate(call, surrogate)


@NORMS.on("std")
def std(run: PairedRun, call: Call) -> Any:
    """The root of the variance."""
    with run:
        surrogate = call.get(0, "input").var(*call.args[1:], **call.kwargs).sqrt()
    return run.surrogate(call, surrogate)


def _normalised(x: Tensor, dims: Any, eps: float, centred: bool = True) -> Tensor:
    if centred:
        x = x - x.mean(dims, keepdim=True)
    return x / (x.square().mean(dims, keepdim=True) + eps).sqrt()
