"""Relevance of attention matrices, by the rules of Chefer et al. 2021, arXiv:2012.09838."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_map

from pellucid.engine.attending import follow, mixing
from pellucid.engine.composites import read_composite
from pellucid.engine.operations import Call, Handler, Tag
from pellucid.engine.relevance import Relevance, carried, whole
from pellucid.engine.rules import STABILISER, stabilised


class AttentionRelevance(Relevance):
    """LRP as Chefer et al. run it on transformers, which also tells what attentions get.

    Linear operations share by z+ without biases; norms, activations and the softmax pass relevance on; of a
    product of two, each gets half; sums share in proportion and are scaled so that neither side's relevance
    outgrows what came. After a way back `arrived` holds the relevance of each attention, by its number.
    """

    def __init__(self, samples: int) -> None:
        super().__init__(read_composite("excitation;attention=all;product=half;unknown=gradient"), samples)
        self.handlers = {name: self._followed(handle) for name, handle in self.handlers.items()}
        self.attentions = 0

    def clear(self) -> None:
        """Begins anew, before a way back."""
        super().clear()
        self.arrived: dict[int, Tensor] = {}

    def other(self, call: Call) -> Any:
        """An operation without a rule: by its first-order expansion."""
        return self._followed(super().other)(call)

    def _followed(self, handle: Handler) -> Handler:
        def handled(call: Call) -> Any:
            weights = mixing(self, call)
            if weights is not None:
                told = self._telling(weights)
                args, kwargs = tree_map(lambda v: told if v is weights else v, (call.args, call.kwargs))
                call = replace(call, args=args, kwargs=kwargs)
            made = handle(call)
            follow(self, call, made)
            return made

        return handled

    def _telling(self, weights: Tensor) -> Tensor:
        """Attention weights, which keep the relevance that comes back to them."""
        number = self.attentions
        self.attentions += 1

        def back(relevance: Tensor) -> tuple[Tensor]:
            self.arrived[number] = relevance
            return (relevance,)

        told = carried(weights.detach().clone, back, weights)
        self.tags[told] = Tag(dict(self.tags[weights].notes))
        return told

    def _softmax(self, call: Call, x: Tensor) -> Tensor:
        return self._know(whole(call, x), gate=True)

    def _normed(self, call: Call, x: Tensor, *args: Any) -> Tensor:
        return whole(call, x)

    def _summed(self, call: Call, x: Any, y: Any, of_x: Any, of_y: Any) -> Tensor:
        """Two that carry share in proportion; their sums are scaled to |sum| / (|sum| + |other sum|)."""
        if not (self.carries(x) and self.carries(y)):
            return super()._summed(call, x, y, of_x, of_y)
        a, b = of_x * x.detach(), of_y * y.detach()

        def back(relevance: Tensor) -> list[Tensor]:
            quotient = relevance / stabilised(a + b, STABILISER)
            went = [(quotient * part).sum_to_size(part.shape) for part in (a, b)]
            sums = [self._by_sample(part) for part in went]
            size = torch.stack(sums).abs().sum(0)
            scale = torch.where(size == 0, 0, self._by_sample(relevance) / size)
            return [
                self._by_samples(part, total.sign() * scale) for part, total in zip(went, sums, strict=True)
            ]

        return carried(call.value, back, x, y)

    def _by_samples(self, values: Tensor, factors: Float[Tensor, " N"]) -> Tensor:
        """Each sample's values times its factor."""
        axis = self._axis(values)
        each = factors.to(values).repeat_interleave(values.shape[axis] // self.samples)
        return values * each.view([-1 if dim == axis else 1 for dim in range(values.ndim)])
