"""Sums, of which each part answers for its own, and products, of which the signal answers."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pellucid.engine.operations import Call
from pellucid.engine.relevance.norms import Norms
from pellucid.engine.relevance.ways import carried, whole
from pellucid.engine.rules import STABILISER, Operands, stabilised


class Sums(Norms):
    """Two operands, of which one may be a constant."""

    def _add(self, call: Call) -> Tensor:
        x, y = call.get(0, "input"), call.get(1, "other")
        return self._summed(call, x, y, 1.0, float(call.get(2, "alpha", 1)))

    def _sub(self, call: Call) -> Tensor:
        x, y = call.get(0, "input"), call.get(1, "other")
        return self._summed(call, x, y, 1.0, -float(call.get(2, "alpha", 1)))

    def _rsub(self, call: Call) -> Tensor:
        x, y = call.get(0, "input"), call.get(1, "other")
        return self._summed(call, x, y, -float(call.get(2, "alpha", 1)), 1.0)

    def _summed(self, call: Call, x: Any, y: Any, of_x: float, of_y: float) -> Tensor:
        """of_x x + of_y y: each answers for its part."""
        if not self.carries(x):
            x, y, of_x, of_y = y, x, of_y, of_x
        raw, gate = self._note(x, "raw"), self._note(x, "gate")
        if not self.carries(y):
            return self._shifted(call, x, of_x, of_y * torch.as_tensor(y, dtype=x.dtype, device=x.device))
        if raw and self._note(y, "raw") and x.numel() != y.numel():  # the picture, less its own mean
            return self._know(whole(call, max(x, y, key=Tensor.numel)), raw=True)
        a, b = x.detach(), y.detach()

        def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
            quotient = relevance / stabilised(of_x * a + of_y * b, STABILISER)
            went = (quotient * (of_x * a)).sum_to_size(a.shape), (quotient * (of_y * b)).sum_to_size(b.shape)
            self._absorb(relevance, went)
            return went

        made = carried(call.value, back, x, y)
        return self._know(made, raw=raw and self._note(y, "raw"), gate=gate and self._note(y, "gate"))

    def _shifted(self, call: Call, x: Tensor, sign: float, constant: Tensor) -> Tensor:
        """A constant added: a bias, of the operation before it where there is one with weights."""
        raw, gate, linear = (self._note(x, name) for name in ("raw", "gate", "linear"))
        size = torch.broadcast_shapes(x.shape, constant.shape)
        # What only shifts the picture, before the first layer, is no layer; sum() begins with zero.
        if raw or (constant.ndim == 0 and constant == 0):
            return self._know(whole(call, x), raw=raw, gate=gate)
        if linear is not None and sign == 1 and size == x.shape:
            before = linear.read

            def read() -> Operands:
                on: Operands = before()
                return replace(on, bias=constant if on.bias is None else on.bias + constant)

            return self._merged(call, x, linear, read)
        made = self._proportional(call.value, x, lambda a: (sign * a).expand(size), constant)
        return self._know(made, gate=gate)

    def _mul(self, call: Call) -> Tensor:
        x, y = call.get(0, "input"), call.get(1, "other")
        if not self.carries(x):
            x, y = y, x
        if not self.carries(y):
            return self._scaled(call, x)
        gated = [bool(self._note(v, "gate")) or v.numel() < max(x.numel(), y.numel()) for v in (x, y)]
        if gated[0] == gated[1] or self.composite.choice("product") == "half":
            answering = [x, y]
        else:
            answering = [y if gated[0] else x]

        sizes = [v.shape for v in answering]

        def back(relevance: Tensor) -> list[Tensor]:
            return [(relevance / len(sizes)).sum_to_size(size) for size in sizes]

        made = carried(call.value, back, *answering)
        return self._know(made, gate=all(self._note(v, "gate") for v in (x, y)))

    def _scaled(self, call: Call, x: Tensor) -> Tensor:
        """A constant factor: x answers for all of it."""
        return self._know(whole(call, x), raw=self._note(x, "raw"), gate=self._note(x, "gate"))

    def _div(self, call: Call) -> Tensor:
        x = call.get(0, "input")
        if not self.carries(x):
            return self._know(whole(call, call.get(1, "other")), gate=True)
        return self._scaled(call, x)  # what it is divided by is its scale

    def _rdiv(self, call: Call) -> Tensor:
        return self._know(whole(call, call.args[0]), gate=True)

    def _glu(self, call: Call) -> Any:
        with self:
            signal, gate = call.get(0, "input").chunk(2, call.get(1, "dim", -1))
            return signal * gate.sigmoid()
