"""Softmax and its kin."""

from typing import Any

from torch import Tensor

from pellucid.engine.calls import Call
from pellucid.engine.rescale import multipliers
from pellucid.engine.rescale.paired import PairedRun
from pellucid.engine.tables import Table

SOFTMAX = Table[PairedRun]()


@SOFTMAX.on("softmax")
def softmax(run: PairedRun, call: Call) -> Any:
    """exp(z - log(sum(exp(z))))."""
    z, dim = call.get(0, "input"), call.get(1, "dim")
    return run.surrogate(call, multipliers.softmax(z, run.reference(z), dim))


@SOFTMAX.on("log_softmax")
def log_softmax(run: PairedRun, call: Call) -> Any:
    """z - log(sum(exp(z)))."""
    z, dim = call.get(0, "input"), call.get(1, "dim")
    return run.surrogate(call, z - multipliers.log_sum_exp(z, run.reference(z), dim))


@SOFTMAX.on("logsumexp")
def logsumexp(run: PairedRun, call: Call) -> Tensor:
    """log(sum(exp(z)))."""
    z, dim = call.get(0, "input"), call.get(1, "dim")
    surrogate = multipliers.log_sum_exp(z, run.reference(z), dim)
    return run.surrogate(call, surrogate if call.get(2, "keepdim", False) else surrogate.squeeze(dim))
