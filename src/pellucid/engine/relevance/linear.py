"""Linear operations: with weights, which share by the composite's rules, and averages."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear as dense

from pellucid.engine.operations import Call
from pellucid.engine.relevance.moves import Moves
from pellucid.engine.relevance.names import CONVOLUTIONS
from pellucid.engine.relevance.ways import Linear, Scaled, by_group, by_row, carried, leading
from pellucid.engine.rules import Apply, Operands, Rule, Shared, by_outputs, z_box
from pellucid.errors import InvalidValue


class Linears(Moves):
    """Inputs answer for outputs by a rule, or in proportion."""

    def _weighted(
        self, call: Call, x: Tensor, weight: Tensor, bias: Tensor | None,
        apply: Apply, family: str, scaled: Scaled | None = None, groups: int | None = None,
    ) -> Tensor:  # fmt: skip
        """A linear operation with weights; `scaled` and `groups` fold a batch norm behind, and before it."""
        number, where, first = self.linears, call.where, bool(self._note(x, "raw"))
        self.linears += 1
        self.matched |= set(self.composite.matching(where))

        def rule() -> Rule:
            last = number == self.linears - 1
            chosen = self.composite.rule(where, family, first=first, last=last)
            boxed = self._boxed(chosen, first)
            if apply is dense:
                boxed = by_outputs(boxed)
            return boxed

        rule()  # what is wrong with it is said before anything is run back
        a, affine = x.detach(), self._note(x, "affine")
        read = partial(Operands, apply, a, weight, bias)
        if affine is not None and groups is not None:
            plain = partial(Operands, apply, a[:0], weight, bias)
            carrier = x if self._note(x, "kept") else affine.source
            if carrier is x:  # relevance is asked for in between
                affine.merged.append(where)
            linear = Linear(carrier, lambda: affine.into(plain(), groups), rule, scaled)
        else:
            linear = Linear(x, read, rule, scaled)
        return self._know(self._shared(call.value, linear), linear=linear)

    def _boxed(self, rule: Callable[..., Shared], first: bool) -> Rule:
        if rule is not z_box:
            return rule
        if not first:
            raise InvalidValue(
                "The rule z-box is for operations that read the input itself: use it as first=z-box."
            )
        if self.box is None:
            raise InvalidValue(
                "The rule z-box needs the lowest and highest inputs: pass low= and high=, in the model's own "
                "(normalised) input space."
            )
        return partial(z_box, low=self.box[0], high=self.box[1])

    def _convolved(self, call: Call) -> Any:
        x, weight, bias = leading(call, "input", "weight", "bias")
        if not self.carries(x) or self.carries(weight):
            return self._bilinear(call)
        rest = {k: v for k, v in call.kwargs.items() if k not in ("input", "weight", "bias")}
        apply = partial(_applied, call.function, call.args[3:], rest)
        bias = None if bias is None else bias.view(-1, *[1] * (weight.ndim - 2))
        groups = call.get(6, "groups", 1)
        if x.ndim != weight.ndim:
            return self._weighted(call, x, weight, bias, apply, "conv")
        if call.name in CONVOLUTIONS:
            return self._weighted(call, x, weight, bias, apply, "conv", by_row, groups)
        return self._weighted(call, x, weight, bias, apply, "conv", partial(by_group, groups=groups))

    def _linear(self, call: Call) -> Any:
        x, weight, bias = leading(call, "input", "weight", "bias")
        if not self.carries(x) or self.carries(weight):
            return self._bilinear(call)
        if x.ndim != 2:
            return self._weighted(call, x, weight, bias, dense, "dense")
        return self._weighted(call, x, weight, bias, dense, "dense", by_row, 1)

    def _matmul(self, call: Call) -> Any:
        x, y = call.get(0, "input"), call.get(1, "other", call.kwargs.get("mat2"))
        if self.carries(x) and self.carries(y):
            return self._bilinear(call)
        if self.carries(x):
            return self._weighted(call, x, y, None, torch.matmul, "dense")
        return self._weighted(call, y, x, None, lambda a, weight: weight @ a, "dense")

    def _rmatmul(self, call: Call) -> Any:
        return self._matmul(replace(call, name="matmul", args=call.args[::-1], function=torch.matmul))

    def _addmm(self, call: Call) -> Any:
        bias, x, y = leading(call, "input", "mat1", "mat2")
        plain = call.kwargs.get("alpha", 1) == call.kwargs.get("beta", 1) == 1
        plain = plain and (bias.ndim, y.ndim) == (1, 2)
        if plain and self.carries(x) and not self.carries(y) and not self.carries(bias):  # a linear layer
            return self._linear(
                replace(call, name="linear", function=dense, args=(x, y.t(), bias), kwargs={})
            )
        with self:
            alpha, beta = call.kwargs.get("alpha", 1), call.kwargs.get("beta", 1)
            product = torch.matmul(x, y)
            product = product if alpha == 1 else product * alpha  # the bias stays next to its weights
            return product + (bias if beta == 1 else bias * beta)

    def _addcmul(self, call: Call) -> Any:
        x, y, z = leading(call, "input", "tensor1", "tensor2")
        with self:
            return torch.add(x, y * z, alpha=call.kwargs.get("value", 1))

    def _einsum(self, call: Call) -> Any:
        operands = call.args[1] if isinstance(call.args[1], (list, tuple)) else call.args[1:]
        carriers = [i for i, operand in enumerate(operands) if self.carries(operand)]
        if len(operands) != 2 or len(carriers) != 1:
            return self._bilinear(call)
        at = carriers[0]

        def apply(a: Tensor, weight: Tensor) -> Tensor:
            return torch.einsum(call.args[0], *((a, weight) if at == 0 else (weight, a)))

        return self._weighted(call, operands[at], operands[1 - at], None, apply, "dense")

    def _bilinear(self, call: Call) -> Any:
        """A product of two that carry: of a gate and a signal the signal answers, else both by half."""
        carriers = self._carriers(call)
        if len(carriers) != 2:
            return self.other(call)
        signals = [c for c in carriers if not self._note(c, "gate")]
        whole = self.composite.choice("attention") == "all"
        answering = carriers if whole or not signals else signals

        def back(relevance: Tensor) -> Sequence[Tensor]:
            went = [part / len(answering) for part in self._first_order(call, answering, relevance)]
            self._absorb(relevance, went)
            return went

        return carried(call.value, back, *answering)

    def _averaged(self, call: Call) -> Any:
        (x,) = leading(call, "input")
        if not self.carries(x) or len(self._carriers(call)) > 1:
            return self.other(call)
        nearest = call.name in ("interpolate", "upsample") and call.get(3, "mode", "nearest").startswith(
            "nearest"
        )
        if nearest:
            return self._partly(call)
        if x.numel() == 0:
            return self.other(call)
        raw = self._note(x, "raw")
        evenly = torch.ones_like(x) if raw else None  # of the picture itself, whatever the pixels' values
        rest = {k: v for k, v in call.kwargs.items() if k != "input"}
        made = self._proportional(call.value, x, lambda a: call.function(a, *call.args[1:], **rest), a=evenly)
        return self._know(made, gate=self._note(x, "gate"), raw=raw)


def _applied(
    function: Callable[..., Tensor], rest: Sequence[Any], options: dict[str, Any], a: Tensor, weight: Tensor
) -> Tensor:
    """A convolution without its bias."""
    return function(a, weight, None, *rest, **options)
