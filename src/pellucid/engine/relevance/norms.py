"""Norms, whose scale is taken as it is: then they are linear."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pellucid.engine.operations import Call
from pellucid.engine.relevance.linear import Linears
from pellucid.engine.relevance.ways import Affine, Linear, Scaled, carried, leading, whole
from pellucid.engine.rules import Operands


class Norms(Linears):
    """Batch norms are folded into a neighbour with weights; other norms share in proportion."""

    def _batch_norm(self, call: Call) -> Tensor:
        x, mean, var, weight, bias, training = leading(
            call, "input", "running_mean", "running_var", "weight", "bias", "training"
        )
        eps = call.get(7, "eps", 1e-5)
        if training or mean is None or var is None:  # by the batch's own statistics, taken as they are
            dims = [dim for dim in range(x.ndim) if dim != 1]
            var, mean = torch.var_mean(x.detach(), dims, correction=0)
        scale = (var + eps).rsqrt() if weight is None else weight * (var + eps).rsqrt()
        shift = -mean * scale if bias is None else bias - mean * scale
        linear: Linear | None = self._note(x, "linear")
        if linear is not None and linear.scaled is not None and x.ndim > 1:
            return self._folded(call, x, linear, linear.scaled, scale, shift)
        shape = (1, -1) + (1,) * (x.ndim - 2)
        affine = Affine(x, scale, shift)
        if self._note(x, "raw"):
            made = carried(call.value, lambda relevance: (relevance,), x)
        else:
            scales = scale.view(shape)
            shifts, rule = shift.view(shape), affine.rule
            made = self._proportional(call.value, x, lambda a: a * scales, shifts, rule=rule)
        return self._know(made, affine=affine, raw=self._note(x, "raw"))

    def _folded(
        self, call: Call, x: Tensor, linear: Linear, scaled: Scaled, scale: Tensor, shift: Tensor
    ) -> Tensor:
        """A batch norm behind a linear operation: the two are one, of scaled weights and shifted biases."""

        before, rows = linear.read, (-1,) + (1,) * (x.ndim - 2)  # neither linear nor x, which would hold read

        def read() -> Operands:
            on: Operands = before()
            bias = shift.view(rows) if on.bias is None else on.bias * scale.view(rows) + shift.view(rows)
            return replace(on, weight=scaled(on.weight, scale), bias=bias)

        return self._merged(call, x, linear, read)

    def _layer_norm(self, call: Call) -> Tensor:
        x, shape, weight, bias = leading(call, "input", "normalized_shape", "weight", "bias")
        dims = tuple(range(-len(shape), 0))
        return self._normed(call, x, dims, weight, bias, call.get(4, "eps", 1e-5))

    def _rms_norm(self, call: Call) -> Tensor:
        x, shape, weight = leading(call, "input", "normalized_shape", "weight")
        dims = tuple(range(-len(shape), 0))
        eps = call.get(3, "eps")
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        scale = (x.detach().square().mean(dims, keepdim=True) + eps).rsqrt()
        scale = scale if weight is None else scale * weight
        return self._proportional(call.value, x, lambda a: a * scale)

    def _group_norm(self, call: Call) -> Tensor:
        x, groups, weight, bias = leading(call, "input", "num_groups", "weight", "bias")
        return self._by_groups(call, x, groups, weight, bias, call.get(4, "eps", 1e-5))

    def _instance_norm(self, call: Call) -> Any:
        x, weight, bias = call.get(0, "input"), call.get(3, "weight"), call.get(4, "bias")
        if not call.get(5, "use_input_stats", True):
            args = (x, call.get(1, "running_mean"), call.get(2, "running_var"), weight, bias, False, 0.0)
            return self._batch_norm(replace(call, args=(*args, call.get(7, "eps", 1e-5)), kwargs={},
                                            function=torch.nn.functional.batch_norm))  # fmt: skip
        return self._by_groups(call, x, x.shape[1], weight, bias, call.get(7, "eps", 1e-5))

    def _by_groups(
        self, call: Call, x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        shape = (-1,) + (1,) * (x.ndim - 2)
        weight = None if weight is None else weight.view(shape)
        bias = None if bias is None else bias.view(shape)
        dims = tuple(range(2, x.ndim + 1))
        return self._normed(call, x, dims, weight, bias, eps, groups)

    def _normed(
        self, call: Call, x: Tensor, dims: tuple[int, ...], weight: Tensor | None, bias: Tensor | None,
        eps: float, groups: int | None = None,
    ) -> Tensor:  # fmt: skip
        """weight (x - mean x) / sigma + bias, linear in x as long as sigma is taken as it is."""
        if self._note(x, "raw"):
            return self._know(whole(call, x), raw=True)

        def grouped(a: Tensor) -> Tensor:
            return a if groups is None else a.unflatten(1, (groups, -1))

        sigma = (grouped(x.detach()).var(dims, correction=0, keepdim=True) + eps).sqrt()

        def apply(a: Tensor) -> Tensor:
            parts = grouped(a)
            normed = (parts - parts.mean(dims, keepdim=True)) / sigma
            normed = normed if groups is None else normed.flatten(1, 2)
            return normed if weight is None else normed * weight

        return self._proportional(call.value, x, apply, bias)
