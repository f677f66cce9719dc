"""The rules of layer-wise relevance propagation, for one linear map z = W a + b, as in zennit.

A rule says in which proportion the inputs i answer for the relevance R_j of an output j. Here a_i are the
inputs, w_ij the weights, b_j the biases; x+ is max(x, 0) and x- is min(x, 0). Every sum over i has the bias's
share besides, and what biases and stabilisers take is counted. `rule` registers another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from pellucid.engine.rule_registry import rule
from pellucid.engine.sharing import STABILISER, Operands, Rule, Shared
from pellucid.errors import InvalidValue


@rule("lrp-0")
class Zero(Rule):
    """LRP-0: R_i = sum_j a_i w_ij / z_j R_j. Bach 2015."""

    epsilon = 0.0


@rule("epsilon")
@dataclass(frozen=True)
class Epsilon(Rule):
    """LRP-epsilon: R_i = sum_j a_i w_ij / (z_j + epsilon sign z_j) R_j. Bach 2015."""

    epsilon: float = STABILISER


@rule("gamma")
@dataclass(frozen=True)
class Gamma(Rule):
    """LRP-gamma: what agrees with the sign of z counts 1 + gamma times. Montavon 2019; Andeol 2021."""

    gamma: float = 0.25

    def share(self, on: Operands, relevance: Tensor) -> Shared:
        """Outputs above zero and those below, each by the weights that its sign favours."""

        def favoured(**limit: int) -> Weights:
            return lambda: on.weight + self.gamma * on.weight.clamp(**limit)

        plus, minus = favoured(min=0), favoured(max=0)
        z = on.apply(on.a, on.weight) if on.bias is None else on.apply(on.a, on.weight) + on.bias
        lost = on.sums(torch.where(z == 0, relevance, 0))
        shared = Shared(torch.zeros_like(on.a), torch.zeros_like(lost), lost)
        signs = ((z > 0, plus, minus, {"min": 0}), (z < 0, minus, plus, {"max": 0}))
        for chosen, first, second, limit in signs:
            part = torch.where(chosen, relevance, 0)
            if not part.any():  # behind a ReLU, negative outputs have no relevance
                continue
            bias = None if on.bias is None else on.bias + self.gamma * on.bias.clamp(**limit)
            shared = shared + on.share(_halves(on.a, first, second), bias, part)
        return shared


@rule("alpha-beta")
@dataclass(frozen=True)
class AlphaBeta(Rule):
    """alpha times the shares in what is positive, less beta times those in what is negative. Bach 2015.

    R_i = sum_j (alpha (a_i w_ij)+ / sum_i (a_i w_ij)+ - beta (a_i w_ij)- / sum_i (a_i w_ij)-) R_j.

    Raises:
        InvalidValue: alpha - beta is not 1.
    """

    alpha: float = 2.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        if abs(self.alpha - self.beta - 1) > 1e-9:
            raise InvalidValue(
                "The rule alpha-beta must have alpha - beta = 1, or relevance grows; "
                f"got alpha-beta:{self.alpha:g}:{self.beta:g}."
            )

    def share(self, on: Operands, relevance: Tensor) -> Shared:
        """What is positive and what is negative, each by itself."""
        plus, minus = _signed(on.weight)
        positive = on.share(_halves(on.a, plus, minus), _clamped(on.bias, min=0), self.alpha * relevance)
        if self.beta == 0:
            return positive
        bias = _clamped(on.bias, max=0)
        return positive + on.share(_halves(on.a, minus, plus), bias, -self.beta * relevance)


@rule("z-plus")
class ZPlus(Rule):
    """z+: R_i = sum_j (a_i w_ij)+ / sum_i (a_i w_ij)+ R_j. Bach 2015; Montavon 2017."""

    def pairs(self, on: Operands) -> Sequence[tuple[Tensor, Tensor]]:
        """(a+, W+), (a-, W-)."""
        return _halves(on.a, *_signed(on.weight))

    def bias(self, on: Operands) -> Tensor | None:
        """b+."""
        return _clamped(on.bias, min=0)


@rule("excitation")
class Excitation(ZPlus):
    """z+ without biases: the winning probabilities of excitation backprop. Zhang 2016, arXiv:1608.00507."""

    def bias(self, on: Operands) -> Tensor | None:
        """None."""
        return None


@rule("inhibition")
class Inhibition(Excitation):
    """Excitation of the negated map -W a: of the dual unit in contrastive excitation backprop."""

    def pairs(self, on: Operands) -> Sequence[tuple[Tensor, Tensor]]:
        """(a+, (-W)+), (a-, (-W)-)."""
        return super().pairs(replace(on, weight=-on.weight))


@rule("z-box")
@dataclass(frozen=True)
class ZBox(Rule):
    """zB, for inputs between l and h: shares in a_i w_ij - l_i w_ij+ - h_i w_ij-.

    Montavon 2017, arXiv:1512.02479. A run gives the `box` (l, h).

    Raises:
        InvalidValue: inputs outside the box.
    """

    box: tuple[Tensor, Tensor] | None = None

    def within(self, box: tuple[Tensor, Tensor] | None) -> "ZBox":
        """The same rule, for inputs of this box.

        Raises:
            InvalidValue: no box.
        """
        if box is None:
            raise InvalidValue(
                "The rule z-box needs the lowest and highest inputs: pass low= and high=, in the model's own "
                "(normalised) input space."
            )
        return replace(self, box=box)

    def pairs(self, on: Operands) -> Sequence[tuple[Tensor, Tensor]]:
        """(a, W), (l, -W+), (h, -W-)."""
        if self.box is None:
            raise AssertionError("a run gives the box")
        low, high = (bound.to(on.a).expand_as(on.a) for bound in self.box)
        slack = 1e-3 * (high - low)
        if (on.a < low - slack).any() or (on.a > high + slack).any():
            raise InvalidValue(
                f"low and high must enclose what the first layer reads, {on.a.min():.3g} to "
                f"{on.a.max():.3g}; got {low.min():.3g} to {high.max():.3g}: give them in the model's own "
                "(normalised) input space."
            )
        return [(on.a, on.weight), (low, -on.weight.clamp(min=0)), (high, -on.weight.clamp(max=0))]

    def bias(self, on: Operands) -> Tensor | None:
        """None."""
        return None


@rule("w-square")
class WSquare(Rule):
    """w^2: R_i = sum_j w_ij^2 / sum_i w_ij^2 R_j, whatever the input. Montavon 2017."""

    def pairs(self, on: Operands) -> Sequence[tuple[Tensor, Tensor]]:
        """(1, W^2)."""
        return [(torch.ones_like(on.a), on.weight.square())]

    def bias(self, on: Operands) -> Tensor | None:
        """None."""
        return None


@rule("flat")
class Flat(WSquare):
    """Flat: equal shares for all that an output sees. Lapuschkin 2019."""

    def pairs(self, on: Operands) -> Sequence[tuple[Tensor, Tensor]]:
        """(1, 1)."""
        return [(torch.ones_like(on.a), torch.ones_like(on.weight))]


class Norm(Rule):
    """What is linear without weights of its own, as a mean or a norm of fixed scale: R_i by contribution."""


class Pass(Rule):
    """R_i = R_i: of a map of one number each, whose input answers for all of it."""

    def __call__(self, on: Operands, relevance: Tensor) -> Shared:
        """All goes to the input."""
        return Shared(relevance, *[relevance.new_zeros((), dtype=torch.float64)] * 2)


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
