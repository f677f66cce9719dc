"""Statistics that tell how large numbers are, such as a norm or a variance: they are gates as well."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.engine.calls import Call
from pellucid.engine.relevance.backward import custom_backward, first_order
from pellucid.engine.relevance.run import Run
from pellucid.engine.tables import Table

STATISTICS = Table[Run]()


@STATISTICS.on("norm", "vector_norm", "linalg_norm", "linalg_vector_norm", "std", "var")
def size(run: Run, call: Call) -> Any:
    """f with f(t x) = t^d f(x): its first-order expansion over d, R_i = x_i df/dx_i / (d f) R."""
    x = call.get(0, "input")
    if not run.depends_on_input(x):
        return run.other(call)
    degree = 2 if call.name == "var" else 1

    def backward(relevance: Tensor) -> Sequence[Tensor]:
        went = [first_order(call, [x], relevance)[0] / degree]
        run.account.count_absorbed(relevance, went)
        return went

    return run.noted(custom_backward(call.value, backward, x), gate=True)


@STATISTICS.on("var_mean", "std_mean")
def spread_and_mean(run: Run, call: Call) -> Any:
    """Two results, each by itself."""
    with run:
        x, options = call.get(0, "input"), {k: v for k, v in call.kwargs.items() if k != "input"}
        spread = getattr(torch, call.name.removesuffix("_mean"))(x, *call.args[1:], **options)
        dim = call.get(1, "dim")
        return spread, x.mean() if dim is None else x.mean(dim, options.get("keepdim", False))
