"""The input's gradient at less cost: batch norms in evaluation mode, which only scale on the way back.

PyTorch's own backward pass also sums up gradients of a batch norm's weights, whether asked for or not, and
keeps the norm's input for it: a fifth of the time of a gradient of EfficientNet-Lite0 on a CPU. A ReLU6 in
place keeps a copy of its input, where its output, which the next layer keeps anyway, tells as much.
"""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, hardtanh, relu6
from torch.overrides import TorchFunctionMode

_ARGUMENTS = signature(batch_norm)
_LIMITED = {relu6: signature(relu6), hardtanh: signature(hardtanh)}


class Normalised(torch.autograd.Function):
    """A batch norm by running statistics: the same forward pass, a backward pass of one product."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        """gamma (x - mean) / sqrt(var + eps) + beta."""
        scale = (var + eps).rsqrt() if weight is None else weight * (var + eps).rsqrt()
        ctx.save_for_backward(scale.view(-1, *[1] * (x.ndim - 2)))
        return batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """dS/dx = dS/dy gamma / sqrt(var + eps)."""
        ((scale,), (gradient,)) = ctx.saved_tensors, gradients
        return (gradient * scale).to(gradient.dtype), None, None, None, None, None


class Clamped(torch.autograd.Function):
    """A hardtanh that keeps its output: between the limits it is the input, at them nothing comes back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float, in_place: bool) -> Tensor:
        """min(max(x, low), high)."""
        if in_place:
            ctx.mark_dirty(x)
        y = hardtanh(x, low, high, in_place)
        ctx.save_for_backward(y)
        ctx.limits = low, high
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """dS/dx = dS/dy where low < y < high."""
        return (
            torch.ops.aten.hardtanh_backward(gradients[0], *ctx.saved_tensors, *ctx.limits),
            None,
            None,
            None,
        )


class Lean(TorchFunctionMode):
    """Within it batch norms by running statistics are `Normalised`, hardtanhs `Clamped`; the rest stays."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by PyTorch with every function that a model calls."""
        kwargs = kwargs or {}
        if func is batch_norm and torch.is_grad_enabled():
            given = _ARGUMENTS.bind(*args, **kwargs)
            given.apply_defaults()
            x, mean, var, weight, bias, training, _, eps = given.args
            if x.requires_grad and not training and mean is not None and var is not None:
                return Normalised.apply(x, mean, var, weight, bias, eps)
        if func in _LIMITED and torch.is_grad_enabled():
            given = _LIMITED[func].bind(*args, **kwargs)
            given.apply_defaults()
            x = given.arguments["input"]
            if x.requires_grad and not x.is_leaf and not x._is_view():
                low, high = given.arguments.get("min_val", 0.0), given.arguments.get("max_val", 6.0)
                return Clamped.apply(x, low, high, given.arguments["inplace"])
        return func(*args, **kwargs)
