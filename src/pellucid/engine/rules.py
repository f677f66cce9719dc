"""The rules of layer-wise relevance propagation, for one linear operation z = W a + b.

Each rule says in which proportion the inputs answer for an output: R_i = sum_k a_k W_k^T (R / z), for one or
several pairs (a_k, W_k) whose outputs add up to z with a share of the bias. So what a rule gives to the bias
and what its stabiliser takes is known, and nothing is lost unaccounted for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.errors import InvalidValue

STABILISER = 1e-6
"""Added to denominators, with their sign, where a rule names no other."""

BLOCK = 2**20
"""Weights of a dense layer that are dealt with at a time: what a rule makes of them stays in the cache."""

Apply = Callable[[Tensor, Tensor], Tensor]
"""Applies weights to inputs, without a bias."""


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
    """One linear operation as a rule sees it: z = apply(a, weight) + bias.

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
        alike = [dim for dim in dims if factor.shape[dim] == 1]  # where the factor is the same, sum first
        values = values.sum(alike, keepdim=True, dtype=torch.float64) if alike else values
        return (values * factor).sum(dims)


Rule = Callable[[Operands, Tensor], Shared]
"""A rule: (operation, relevance of its output) -> what that relevance becomes."""


def by_outputs(rule: Rule) -> Rule:
    """The rule of a dense layer, z = a W^T + b, for a few outputs at a time.

    Each output shares by itself, so the parts add up; clamped copies of all weights of a VGG's first dense
    layer would be 400 MB each.
    """

    def shared(on: Operands, relevance: Tensor) -> Shared:
        outputs = max(1, BLOCK // on.weight.shape[1])
        if len(on.weight) <= outputs:
            return rule(on, relevance)
        biases = (None,) * len(on.weight) if on.bias is None else on.bias.split(outputs, dim=-1)
        blocks = zip(on.weight.split(outputs), biases, relevance.split(outputs, dim=-1), strict=False)
        return reduce(add, (rule(replace(on, weight=w, bias=b), part) for w, b, part in blocks))

    return shared


def stabilised(z: Tensor, epsilon: float) -> Tensor:
    """z + epsilon sign(z), with sign(0) = 1."""
    return torch.where(z < 0, z - epsilon, z + epsilon)  # epsilon in the precision of z


def epsilon(on: Operands, relevance: Tensor, *, epsilon: float = STABILISER) -> Shared:
    """LRP-epsilon: R_i = sum_j a_i w_ij / (z_j + epsilon sign z_j) R_j; LRP-0 with epsilon 0. Bach 2015."""
    return on.share([(on.a, on.weight)], on.bias, relevance, epsilon)


Weights = Callable[[], Tensor]
"""Some of the weights, made when they are needed."""


def _halves(a: Tensor, plus: Weights, minus: Weights) -> list[tuple[Tensor, Tensor]]:
    """(a+, plus), (a-, minus); what is zero is left out, and its weights are not made."""
    if not (a < 0).any():
        return [(a, plus())]
    return [(a.clamp(min=0), plus()), (a.clamp(max=0), minus())]


def _signed(weight: Tensor) -> tuple[Weights, Weights]:
    """W+, W-."""
    return partial(weight.clamp, min=0), partial(weight.clamp, max=0)


def _clamped(bias: Tensor | None, **limit: int) -> Tensor | None:
    return None if bias is None else bias.clamp(**limit)


def z_plus(on: Operands, relevance: Tensor) -> Shared:
    """z+: R_i = sum_j (a_i w_ij)+ / sum_i (a_i w_ij)+ R_j. Bach 2015; Montavon 2017."""
    return on.share(_halves(on.a, *_signed(on.weight)), _clamped(on.bias, min=0), relevance)


def excitation(on: Operands, relevance: Tensor) -> Shared:
    """z+ without biases: the winning probabilities of excitation backprop. Zhang 2016, arXiv:1608.00507."""
    return z_plus(replace(on, bias=None), relevance)


def alpha_beta(on: Operands, relevance: Tensor, *, alpha: float = 2, beta: float = 1) -> Shared:
    """alpha times the shares in what is positive, less beta times those in what is negative. Bach 2015."""
    plus, minus = _signed(on.weight)
    shared = on.share(_halves(on.a, plus, minus), _clamped(on.bias, min=0), alpha * relevance)
    if beta == 0:
        return shared
    return shared + on.share(_halves(on.a, minus, plus), _clamped(on.bias, max=0), -beta * relevance)


def gamma(on: Operands, relevance: Tensor, *, gamma: float = 0.25) -> Shared:
    """LRP-gamma: what agrees with the sign of z counts 1 + gamma times. Montavon 2019; Andeol 2021."""

    def favoured(**limit: int) -> Weights:
        return lambda: on.weight + gamma * on.weight.clamp(**limit)

    plus, minus = favoured(min=0), favoured(max=0)
    z = on.apply(on.a, on.weight) if on.bias is None else on.apply(on.a, on.weight) + on.bias
    lost = on.sums(torch.where(z == 0, relevance, 0))
    shared = Shared(torch.zeros_like(on.a), torch.zeros_like(lost), lost)
    for chosen, first, second, limit in ((z > 0, plus, minus, {"min": 0}), (z < 0, minus, plus, {"max": 0})):
        part = torch.where(chosen, relevance, 0)
        if not part.any():  # behind a ReLU, negative outputs have no relevance
            continue
        bias = None if on.bias is None else on.bias + gamma * on.bias.clamp(**limit)
        shared = shared + on.share(_halves(on.a, first, second), bias, part)
    return shared


def inhibition(on: Operands, relevance: Tensor) -> Shared:
    """Excitation of the negated operation -W a: of the dual unit in contrastive excitation backprop."""
    return excitation(replace(on, weight=-on.weight), relevance)


def passing(on: Operands, relevance: Tensor) -> Shared:
    """R_i = R_i: of an operation on one number each, whose input answers for all of it."""
    return Shared(relevance, *[relevance.new_zeros((), dtype=torch.float64)] * 2)


def z_box(on: Operands, relevance: Tensor, *, low: Tensor, high: Tensor) -> Shared:
    """zB, for inputs between low and high: shares in x w - low w+ - high w-. Montavon 2017, arXiv:1512.02479.

    Raises:
        InvalidValue: inputs outside the box.
    """
    low, high = low.to(on.a).expand_as(on.a), high.to(on.a).expand_as(on.a)
    slack = 1e-3 * (high - low)
    if (on.a < low - slack).any() or (on.a > high + slack).any():
        raise InvalidValue(
            f"low and high must enclose what the first layer reads, {on.a.min():.3g} to {on.a.max():.3g}; "
            f"got {low.min():.3g} to {high.max():.3g}: give them in the model's own (normalised) input space."
        )
    minus, plus = -on.weight.clamp(max=0), -on.weight.clamp(min=0)
    return on.share([(on.a, on.weight), (low, plus), (high, minus)], None, relevance)


def w_square(on: Operands, relevance: Tensor) -> Shared:
    """w^2: shares in w_ij^2, whatever the input. Montavon 2017."""
    return on.share([(torch.ones_like(on.a), on.weight.square())], None, relevance)


def flat(on: Operands, relevance: Tensor) -> Shared:
    """Flat: equal shares for all that an output sees. Lapuschkin 2019."""
    return on.share([(torch.ones_like(on.a), torch.ones_like(on.weight))], None, relevance)


RULES: dict[str, tuple[Callable[..., Shared], tuple[str, ...]]] = {
    "lrp-0": (partial(epsilon, epsilon=0.0), ()),
    "epsilon": (epsilon, ("epsilon",)),
    "gamma": (gamma, ("gamma",)),
    "alpha-beta": (alpha_beta, ("alpha", "beta")),
    "z-plus": (z_plus, ()),
    "excitation": (excitation, ()),
    "inhibition": (inhibition, ()),
    "z-box": (z_box, ()),
    "w-square": (w_square, ()),
    "flat": (flat, ()),
}
"""The rules by name, and the numbers that may follow it, as in "gamma:0.5" or "alpha-beta:2:1"."""


def read_rule(text: str) -> Callable[..., Shared]:
    """A rule, out of its name and numbers.

    Example:
        >>> read_rule("gamma:0.5").keywords
        {'gamma': 0.5}

    Raises:
        InvalidValue: no rule of that name, or numbers that it does not take.
    """
    name, *numbers = text.strip().split(":")
    if name not in RULES:
        raise InvalidValue(f"A rule must be one of {', '.join(RULES)}; got {text!r}.")
    rule, takes = RULES[name]
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = [-1.0]
    if len(values) > len(takes) or any(not 0 <= value < float("inf") for value in values):
        form = "".join(f":{number.upper()}" for number in takes)
        raise InvalidValue(
            f"The rule {name} must be written {name}{form}, with numbers of at least 0; got {text!r}."
        )
    given = dict(zip(takes, values, strict=False))
    if name == "alpha-beta" and abs(given.get("alpha", 2) - given.get("beta", 1) - 1) > 1e-9:
        raise InvalidValue(
            f"The rule alpha-beta must have alpha - beta = 1, or relevance grows; got {text!r}."
        )
    return partial(rule, **given) if given else rule
