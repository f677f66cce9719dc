"""One spelling for each operation, whichever of torch's several a model uses.

`torch.batch_norm`, `torch.ops.aten.batch_norm` and `torch.nn.functional.batch_norm` are one operation whose
arguments stand in different orders; exported graphs use convolution, native_layer_norm and others of their
own. All are shown to handlers as `torch.nn.functional` writes them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from pellucid.engine.norms import batch_norm, instance_norm


class Spelled(NamedTuple):
    """A call as `torch.nn.functional` writes it.

    `results` tells how many tensors the call gives where that is more than the one which counts.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - never changed
    results: int = 1

    def results_of(self, made: Any) -> Any:
        """What the caller expects: statistics beside the result, which models do not read, are empty."""
        if self.results == 1:
            return made
        return (made, *[torch.empty(0, dtype=torch.float32, device="cpu")] * (self.results - 1))


Respell = Callable[..., Spelled]


def _batch_norm_functional(*args: Any, **kwargs: Any) -> Spelled:
    return Spelled("batch_norm", batch_norm, args, kwargs)


def _instance_norm_functional(*args: Any, **kwargs: Any) -> Spelled:
    return Spelled("instance_norm", instance_norm, args, kwargs)


def _batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: Any, momentum: Any,
    eps: Any, cudnn_enabled: Any = None, *, results: int = 1,
) -> Spelled:  # fmt: skip
    args = (input, running_mean, running_var, weight, bias, training, momentum, eps)
    return Spelled("batch_norm", batch_norm, args, results=results)


def _native_batch_norm(input: Any, weight: Any, bias: Any, *rest: Any) -> Spelled:
    if isinstance(rest[0], bool):  # without running statistics
        rest = (None, None, *rest)
    return _batch_norm(input, weight, bias, *rest, results=3)


def _native_batch_norm_evaluating(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, momentum: Any, eps: Any
) -> Spelled:
    return _batch_norm(input, weight, bias, running_mean, running_var, False, momentum, eps, results=3)


def _cudnn_batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: Any,
    exponential_average_factor: Any, epsilon: Any,
) -> Spelled:  # fmt: skip
    rest = (running_mean, running_var, training, exponential_average_factor, epsilon)
    return _batch_norm(input, weight, bias, *rest, results=4)


def _instance_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, use_input_stats: Any,
    momentum: Any, eps: Any, cudnn_enabled: Any = None,
) -> Spelled:  # fmt: skip
    args = (input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    return Spelled("instance_norm", instance_norm, args)


def _native_layer_norm(input: Any, normalized_shape: Any, weight: Any, bias: Any, eps: Any) -> Spelled:
    args = (input, normalized_shape, weight, bias, eps)
    return Spelled("layer_norm", functional.layer_norm, args, results=3)


def _native_group_norm(
    input: Any, weight: Any, bias: Any, N: Any, C: Any, HxW: Any, group: Any, eps: Any
) -> Spelled:  # fmt: skip
    return Spelled("group_norm", functional.group_norm, (input, group, weight, bias, eps), results=3)


def _fused_rms_norm(input: Any, normalized_shape: Any, weight: Any, eps: Any) -> Spelled:
    return Spelled("rms_norm", functional.rms_norm, (input, normalized_shape, weight, eps), results=2)


def _convolution(
    input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: Any,
    output_padding: Any, groups: Any, *further: Any, **options: Any,
) -> Spelled:  # fmt: skip
    name = f"conv{'_transpose' if transposed else ''}{weight.ndim - 2}d"
    rest = (output_padding, groups, dilation) if transposed else (dilation, groups)
    return Spelled(name, getattr(functional, name), (input, weight, bias, stride, padding, *rest))


def _softmax(self: Any, dim: Any, half_to_float: Any = False, *, name: str) -> Spelled:
    return Spelled(name, getattr(functional, name), (self, dim))


def _native_dropout(input: Any, p: Any, train: Any) -> Spelled:
    return Spelled("dropout", functional.dropout, (input, p, bool(train)), results=2)


def _attention(
    query: Any, key: Any, value: Any, dropout_p: Any = 0.0, is_causal: Any = False, *,
    attn_mask: Any = None, scale: Any = None,
) -> Spelled:  # fmt: skip
    options = {"attn_mask": attn_mask, "is_causal": is_causal, "scale": scale}
    function = functional.scaled_dot_product_attention
    return Spelled("scaled_dot_product_attention", function, (query, key, value), options, results=2)


def _attention_with_mask(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: Any = 0.0, is_causal: Any = False,
    dropout_mask: Any = None, *, scale: Any = None, enable_gqa: Any = False,
) -> Spelled:  # fmt: skip
    spelled = _attention(query, key, value, 0.0, is_causal, attn_mask=attn_mask, scale=scale)
    return spelled._replace(kwargs={**spelled.kwargs, "enable_gqa": enable_gqa})


PYTHON: dict[str, Respell] = {
    "batch_norm": _batch_norm_functional,
    "instance_norm": _instance_norm_functional,
}
"""Functions of `torch.nn.functional` in whose place ours are run: see `engine.norms`."""

BUILT_IN: dict[str, Respell] = {
    "batch_norm": _batch_norm,
    "native_batch_norm": _native_batch_norm,
    "_native_batch_norm_legit": _native_batch_norm,
    "_native_batch_norm_legit_functional": _native_batch_norm,
    "_native_batch_norm_legit_no_training": _native_batch_norm_evaluating,
    "cudnn_batch_norm": _cudnn_batch_norm,
    "instance_norm": _instance_norm,
    "native_layer_norm": _native_layer_norm,
    "native_group_norm": _native_group_norm,
    "_fused_rms_norm": _fused_rms_norm,
    "convolution": _convolution,
    "_convolution": _convolution,
    "_softmax": partial(_softmax, name="softmax"),
    "_log_softmax": partial(_softmax, name="log_softmax"),
    "native_dropout": _native_dropout,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_attention_math": _attention_with_mask,
}
"""Operations of `torch` and `torch.ops.aten` that are written in another way."""


def respelling(func: Callable[..., Any], name: str) -> Respell | None:
    """How calls of a function are written as `torch.nn.functional` does; None where they are already."""
    return (BUILT_IN if getattr(func, "__code__", None) is None else PYTHON).get(name)
