"""Batch and instance norms whose gradient is right whatever kernel runs underneath."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class Normalised(torch.autograd.Function):
    """A batch norm by running statistics: the same forward pass, a backward pass of one product."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        """gamma (x - mean) / sqrt(var + eps) + beta."""
        scale = (var + eps).rsqrt() if weight is None else weight * (var + eps).rsqrt()
        ctx.save_for_backward(scale.view(-1, *[1] * (x.ndim - 2)))
        return functional.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """dS/dx = dS/dy gamma / sqrt(var + eps)."""
        ((scale,), (gradient,)) = ctx.saved_tensors, gradients
        return (gradient * scale).to(gradient.dtype), None, None, None, None, None


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm`, whose gradient is right however that of the output lies in memory.

    The kernel's own is wrong on a CPU, by as much as the gradient itself, where it gets a transposed view for
    a batch of one (PyTorch 2.15). Gradients of parameters are not made.
    """
    given = [value for value in (running_mean, running_var, weight, bias) if value is not None]
    by_batch = training or running_mean is None or running_var is None
    made = any(value.grad_fn is not None for value in given)  # what depends on the input, or may do so
    if by_batch or not torch.is_grad_enabled() or not (input.requires_grad or made):
        y = functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
        return contiguous_backward(y)
    if running_mean is None or running_var is None:
        raise AssertionError("statistics of the batch were dealt with above")
    if made or transforming():  # a custom function is not for them
        shape = (-1, *[1] * (input.ndim - 2))
        scale = (running_var + eps).rsqrt()
        scale = scale if weight is None else scale * weight
        y = (input - running_mean.view(shape)) * scale.view(shape)
        return y if bias is None else y + bias.view(shape)
    return Normalised.apply(input, running_mean, running_var, weight, bias, eps)  # type: ignore[no-any-return]


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.instance_norm`, with a right gradient as `batch_norm`, whose kernel it shares."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    return contiguous_backward(
        functional.instance_norm(input, running_mean, running_var, weight, bias, True, momentum, eps)
    )


def contiguous_backward(y: Tensor) -> Tensor:
    """The tensor itself; the gradient that comes back to it is made contiguous."""
    if y.requires_grad and not transforming():
        y.register_hook(Tensor.contiguous)
    return y


def transforming() -> bool:
    """Whether a transform of torch.func runs, such as vmap: its tensors take no hooks."""
    return torch._C._functorch.peek_interpreter_stack() is not None
