"""The softmax of an attention; its products are in `linear` and `products`, fused kernels in these steps."""

from typing import Any

import torch
from torch import Tensor

from pellucid.engine.calls import Call
from pellucid.engine.relevance.activations import gate, is_only_operand
from pellucid.engine.relevance.backward import custom_backward
from pellucid.engine.relevance.run import Run
from pellucid.engine.tables import Table

ATTENTION = Table[Run]()


@ATTENTION.on("softmax")
def softmax(run: Run, call: Call) -> Any:
    """A gate; with attention=all AttnLRP's R_i = x_i (R_i - s_i sum R). Achtibat 2024, eq. 11.

    x are the scores, s their softmax; it is the first-order expansion.
    """
    x = call.get(0, "input")
    if run.composite.choice("attention") != "all" or not is_only_operand(run, call, x):
        return gate(run, call)
    s, a, dim = call.value(), x.detach(), call.get(1, "dim", -1)

    def backward(relevance: Tensor) -> tuple[Tensor]:
        on = relevance - s * relevance.sum(dim, keepdim=True)
        went = torch.where(s == 0, 0, a * on)
        run.account.count_constants(relevance, [went])
        return (went,)

    return run.noted(custom_backward(lambda: s.clone(), backward, x), gate=True)
