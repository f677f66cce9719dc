"""What a rule of relevance propagation works with: one linear map z = W a + b, and how it shares relevance.

The relevance R of an output is shared among the inputs in proportion to their contributions to it:
R_i = sum_k a_k W_k^T (R / z), for one or several pairs (a_k, W_k) whose outputs add up to z with a share of
the bias. So what goes to the bias and what the stabiliser takes is known, and nothing is lost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

STABILISER = 1e-6
"""Added to denominators, with their sign, where a rule names no other."""

BLOCK = 2**20
"""Weights of a dense layer that are dealt with at a time: what a rule makes of them stays in the cache."""

Apply = Callable[[Tensor, Tensor], Tensor]
"""`apply(inputs, weight)`: the linear map without its bias."""


class Shared(NamedTuple):
    """What a rule makes of the relevance R of an operation's output.

    `inputs` has the input's shape; `bias` and `absorbed` (B,) are sums over all but the axis of samples: what
    the bias answers for; and what the stabiliser takes, or what has no one to go to.
    """

    inputs: Tensor
    bias: Tensor
    absorbed: Tensor

    def __add__(self, other: tuple[Tensor, ...]) -> "Shared":  # type: ignore[override]
        return Shared(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Operands:
    """One linear map as a rule sees it: z = apply(a, weight) + bias.

    The bias is of z's shape, or of one that broadcasts to it. Samples lie along `axis` of z.
    """

    apply: Apply
    a: Tensor
    weight: Tensor
    bias: Tensor | None = None
    axis: int = 0

    def share(
        self,
        pairs: Sequence[tuple[Tensor, Tensor]],
        bias: Tensor | None,
        relevance: Tensor,
        epsilon: float = STABILISER,
    ) -> Shared:
        """R_i = sum_k a_k W_k^T (R / z) with z = sum_k W_k a_k + b; where z is 0 there is no one to go to."""
        inputs = [a.detach().requires_grad_() for a, _ in pairs]
        with torch.enable_grad():
            outputs = [self.apply(a, weight) for a, (_, weight) in zip(inputs, pairs, strict=True)]
        z = outputs[0].detach()
        for output in outputs[1:]:
            z = z + output.detach()
        z = z if bias is None else z + bias
        quotient = relevance / stabilised(z, epsilon)
        if epsilon == 0:
            quotient = torch.where(z == 0, 0, quotient)
        back = torch.autograd.grad(outputs, inputs, [quotient] * len(outputs))
        shares = inputs[0].detach() * back[0]
        for a, slope in zip(inputs[1:], back[1:], strict=True):
            shares = shares.addcmul(a.detach(), slope)
        of_bias = quotient.new_zeros(()) if bias is None else self.sums(quotient, bias)
        return Shared(shares, of_bias, self.sums(relevance) - self.sums(quotient, z))

    def sums(self, values: Tensor, factor: Tensor | None = None) -> Tensor:
        """Sums over all but the axis of samples: of values, or of their product with a factor, (B,)."""
        dims = [dim for dim in range(values.ndim) if dim != self.axis]
        if not dims:
            return (values if factor is None else values * factor).double()
        if factor is None:
            return values.sum(dims, dtype=torch.float64)
        if factor.shape == values.shape:
            return (values * factor).sum(dims, dtype=torch.float64)
        factor = factor.view((1,) * (values.ndim - factor.ndim) + factor.shape)
        same = [dim for dim in dims if factor.shape[dim] == 1]  # where the factor is the same, sum first
        values = values.sum(same, keepdim=True, dtype=torch.float64) if same else values
        return (values * factor).sum(dims)

    def few_outputs(self, relevance: Tensor) -> list[tuple["Operands", Tensor]]:
        """The map and its relevance; of a large dense layer in parts, each of a few of its outputs.

        Clamped copies of all weights of a VGG's first dense layer would be 400 MB each.
        """
        weight, bias = self.weight, self.bias
        if self.apply is not linear:
            return [(self, relevance)]
        outputs = max(1, BLOCK // weight.shape[1])
        if len(weight) <= outputs:
            return [(self, relevance)]
        biases = (None,) * len(weight) if bias is None else bias.split(outputs, dim=-1)
        parts = zip(weight.split(outputs), biases, relevance.split(outputs, dim=-1), strict=False)
        return [(replace(self, weight=w, bias=b), part) for w, b, part in parts]


class Rule:
    """How the inputs a of a linear map z = W a + b answer for the relevance R of its outputs.

    A subclass says which contributions count, by `pairs` and `bias`; or how relevance is shared at all, by
    `share`. Its instances may have numbers, given behind its name in a composite: they are the parameters of
    its constructor that have a number as default. Samples must not be mixed.

    Example: shares in |a| |W|, without biases.
        >>> class Absolute(Rule):
        ...     def pairs(self, on):
        ...         return [(on.a.abs(), on.weight.abs())]
        ...
        ...     def bias(self, on):
        ...         return None
        >>> on = Operands(torch.nn.functional.linear, torch.tensor([[1.0, -3.0]]), torch.ones(1, 2))
        >>> Absolute()(on, torch.tensor([[4.0]])).inputs.round()
        tensor([[1., 3.]])
    """

    epsilon: float = STABILISER
    """What stabilises the denominators."""

    def pairs(self, on: Operands) -> Sequence[tuple[Tensor, Tensor]]:
        """The inputs and weights (a_k, W_k) whose products share; by default those of the map itself."""
        return [(on.a, on.weight)]

    def bias(self, on: Operands) -> Tensor | None:
        """The bias that takes part, None for none; by default the map's own."""
        return on.bias

    def share(self, on: Operands, relevance: Tensor) -> Shared:
        """R_i = sum_k a_k W_k^T (R / (z + epsilon sign z)), z = sum_k W_k a_k + b, by `pairs` and `bias`.

        Each output must share for itself: of a dense layer with many weights, `on` holds a few at a time.
        """
        return on.share(self.pairs(on), self.bias(on), relevance, self.epsilon)

    def __call__(self, on: Operands, relevance: Tensor) -> Shared:
        """What the relevance of the map's output becomes."""
        return reduce(add, (self.share(*part) for part in on.few_outputs(relevance)))


def stabilised(z: Tensor, epsilon: float) -> Tensor:
    """z + epsilon sign(z), with sign(0) = 1."""
    return torch.where(z < 0, z - epsilon, z + epsilon)  # epsilon in the precision of z
