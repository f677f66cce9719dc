"""Relevance of attention matrices, by the rules of Chefer et al. 2021, arXiv:2012.09838."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_map

from pellucid.engine.attending import follow, mixing
from pellucid.engine.calls import Call, Handler, Tag
from pellucid.engine.composites import read_composite
from pellucid.engine.relevance import OPERATIONS, Run
from pellucid.engine.relevance import norms as relevance_norms
from pellucid.engine.relevance import sums as relevance_sums
from pellucid.engine.relevance.activations import is_only_operand
from pellucid.engine.relevance.backward import custom_backward, pass_relevance
from pellucid.engine.sharing import STABILISER, stabilised
from pellucid.engine.tables import Table

CHEFER = Table[Run]()
"""Where Chefer et al. differ from LRP elsewhere."""


@CHEFER.on("softmax")
def softmax(run: Run, call: Call) -> Any:
    """R_x = R."""
    x = call.get(0, "input")
    return run.noted(pass_relevance(call, x), gate=True) if is_only_operand(run, call, x) else run.other(call)


@CHEFER.on("layer_norm", "group_norm")
def norm(run: Run, call: Call) -> Any:
    """R_x = R."""
    return pass_relevance(call, call.get(0, "input"))


@CHEFER.on("instance_norm")
def instance_norm(run: Run, call: Call) -> Any:
    """R_x = R; by running statistics, a batch norm."""
    own = call.get(5, "use_input_stats", True)
    return norm(run, call) if own else relevance_norms.instance_norm(run, call)


@CHEFER.on("add", "sub", "rsub")
def add(run: Run, call: Call) -> Any:
    """Two signals share in proportion; then each sum of shares is scaled to |sum| / (|sum| + |other sum|)."""
    (x, of_x), (y, of_y) = relevance_sums.terms(call)
    if not (run.depends_on_input(x) and run.depends_on_input(y)):
        return relevance_sums.add(run, call)
    a, b, account = of_x * x.detach(), of_y * y.detach(), run.account

    def backward(relevance: Tensor) -> list[Tensor]:
        quotient = relevance / stabilised(a + b, STABILISER)
        went = [(quotient * part).sum_to_size(part.shape) for part in (a, b)]
        sums = [account.by_sample(part) for part in went]
        size = torch.stack(sums).abs().sum(0)
        scale = torch.where(size == 0, 0, account.by_sample(relevance) / size)
        return [_times(run, part, total.sign() * scale) for part, total in zip(went, sums, strict=True)]

    return custom_backward(call.value, backward, x, y)


def _times(run: Run, values: Tensor, factors: Float[Tensor, " N"]) -> Tensor:
    """Each sample's values times its factor."""
    axis = run.account.axis(values)
    each = factors.to(values).repeat_interleave(values.shape[axis] // len(factors))
    return values * each.view([-1 if dim == axis else 1 for dim in range(values.ndim)])


class AttentionRelevance(Run):
    """LRP as Chefer et al. run it on transformers, which also tells what attentions get.

    Linear maps share by z+ without biases; norms, activations and the softmax pass relevance on; of a product
    of two, each gets half; sums share in proportion and are scaled so that neither side's relevance outgrows
    what came. After a backward pass `arrived` holds the relevance of each attention, by its number.
    """

    table = OPERATIONS.overridden_by(CHEFER)

    def __init__(self, samples: int) -> None:
        super().__init__(read_composite("excitation;attention=all;product=half;unknown=gradient"), samples)
        self.handlers = {name: self._followed(handle) for name, handle in self.handlers.items()}
        self.attentions = 0
        self.arrived: dict[int, Tensor] = {}

    def clear(self) -> None:
        """Begins anew, before a backward pass."""
        super().clear()
        self.arrived = {}

    def other(self, call: Call) -> Any:
        """An operation without a rule: by its first-order expansion."""
        return self._followed(super().other)(call)

    def _followed(self, handle: Handler) -> Handler:
        def handled(call: Call) -> Any:
            weights = mixing(self, call)
            if weights is not None:
                seen = self._observed(weights)
                args, kwargs = tree_map(lambda v: seen if v is weights else v, (call.args, call.kwargs))
                call = replace(call, args=args, kwargs=kwargs)
            made = handle(call)
            follow(self, call, made)
            return made

        return handled

    def _observed(self, weights: Tensor) -> Tensor:
        """Attention weights, which keep the relevance that comes back to them."""
        number = self.attentions
        self.attentions += 1

        def backward(relevance: Tensor) -> tuple[Tensor]:
            self.arrived[number] = relevance
            return (relevance,)

        seen = custom_backward(weights.detach().clone, backward, weights)
        self.tags[seen] = Tag(dict(self.tags[weights].notes))
        return seen
