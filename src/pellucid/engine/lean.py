"""The input's gradient at less cost: batch norms in evaluation mode, which only scale on the way back.

PyTorch's own backward pass also sums up gradients of a batch norm's weights, whether asked for or not, and
keeps the norm's input for it: a fifth of the time of a gradient of EfficientNet-Lite0 on a CPU.
"""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import batch_norm
from torch.overrides import TorchFunctionMode

_ARGUMENTS = signature(batch_norm)


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


class Lean(TorchFunctionMode):
    """Within it, every batch norm by running statistics is a `Normalised`; all else is as it was."""

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
        return func(*args, **kwargs)
