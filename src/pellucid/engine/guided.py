"""Rectifiers with another way back: guided backpropagation's and the deconvnet's.

A rectifier is an operation that lets positive numbers pass and holds negative ones back, wholly or mostly:
ReLU and its kin, however they are called. Gates (sigmoid, tanh, hardsigmoid, softmax) are none: what they
give multiplies something else, and zero means nothing to them.
"""

from typing import Any

import torch
from torch import Tensor

from pellucid.engine.calls import Call
from pellucid.engine.operations import Operations

RECTIFIERS = {
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "threshold", "_threshold", "elu", "selu", "celu",
    "gelu", "silu", "mish", "softplus", "hardswish",
}  # fmt: skip
"""Operations that are rectifiers whatever their arguments."""


class Rectifiers(Operations):
    """Only rectifiers are replaced; `found` tells whether the model has run any."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def other(self, call: Call) -> Any:
        """A rectifier in its new way; any other operation as it is."""
        x = self._rectified(call)
        if x is None:
            return call.run()
        self.found = True
        return self.rectify(call, x)

    def rectify(self, call: Call, x: Tensor) -> Tensor:
        """What a rectifier of `x` gives, in a graph of its own."""
        raise NotImplementedError

    def _rectified(self, call: Call) -> Tensor | None:
        """What a call rectifies, if that is what it does."""
        x = call.get(0, "input")
        match call.name:
            case name if name in RECTIFIERS:
                rectifies = True
            case "hardtanh":  # ReLU6 too
                rectifies = call.get(1, "min_val", -1.0) == 0
            case "clamp" | "clamp_min":
                rectifies = _is_zero(call.get(1, "min"))
            case "maximum" | "max" | "fmax":
                other = call.get(1, "other")
                x, other = (x, other) if self.depends_on_input(x) else (other, x)
                rectifies = isinstance(other, Tensor) and not self.depends_on_input(other) and _is_zero(other)
            case _:
                rectifies = False
        return x if rectifies and self.depends_on_input(x) else None


class Guided(Rectifiers):
    """dS/dx = f'(x) 1[x > 0] max(dS/dy, 0) at each rectifier y = f(x)."""

    def rectify(self, call: Call, x: Tensor) -> Tensor:
        """The model's own rectifier, into which only what is positive comes back, and only where x > 0."""
        y: Tensor = call.run()
        on = x > 0
        if y.requires_grad:
            y.register_hook(lambda gradient: torch.where(on, gradient.clamp(min=0), 0))
        return y


class Deconv(Rectifiers):
    """dS/dx = max(dS/dy, 0) at each rectifier, whatever went into it."""

    def rectify(self, call: Call, x: Tensor) -> Tensor:
        """The model's own rectifier; on the way back the gradient is rectified instead."""
        y: Tensor = _GradientRectified.apply(x, call.value())
        return y


class _GradientRectified(torch.autograd.Function):
    """y on the way there, max(dS/dy, 0) on the way back to x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].clamp(min=0), None


def _is_zero(bound: Any) -> bool:
    """Whether a bound, a number or a tensor, is zero everywhere."""
    return bool((bound == 0).all()) if isinstance(bound, Tensor) else bound == 0
