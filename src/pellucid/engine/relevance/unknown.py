"""Operations without a rule of their own."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from pellucid.engine.calls import Call
from pellucid.engine.relevance.backward import custom_backward, first_order
from pellucid.engine.relevance.run import Run
from pellucid.engine.tables import Table
from pellucid.errors import ModelError

UNKNOWN = Table[Run]()


@UNKNOWN.otherwise
def unknown(run: Run, call: Call) -> Any:
    """An operation without a rule: noted, and taken by its first-order expansion R_i = x_i J^T (R / y).

    Raises:
        ModelError: the operation gives complex numbers.
    """
    made = call.run()
    parts, form = tree_flatten(made)
    flowing = [i for i, part in enumerate(parts) if isinstance(part, Tensor) and part.requires_grad]
    if not flowing:
        return made
    run.unknown.setdefault(call.name, call.where)
    carriers = run.carriers(call)
    if any(parts[i].is_complex() for i in flowing):
        if run.composite.choice("unknown") == "gradient":
            raise ModelError(
                f"The model computes with complex numbers ({call.name}), which carry no relevance: use a "
                "gradient method."
            )
        return made

    def backward(relevance: Tensor, part: int) -> Sequence[Tensor]:
        went = first_order(call, carriers, relevance, part)
        run.account.count_constants(relevance, went)
        return went

    for i in flowing:
        parts[i] = custom_backward(parts[i].detach, partial(backward, part=i), *carriers)
    return tree_unflatten(parts, form)
