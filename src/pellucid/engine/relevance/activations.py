"""Activations and gates: an operation on one number each hands its relevance on, R_i = R_i."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from pellucid.engine.calls import Call
from pellucid.engine.relevance.backward import pass_relevance
from pellucid.engine.relevance.folding import Affine
from pellucid.engine.relevance.run import Run
from pellucid.engine.relevance.shapes import same
from pellucid.engine.tables import Table

ACTIVATIONS = Table[Run]()


@ACTIVATIONS.on(
    "relu6", "hardtanh", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish",
    "softplus", "hardswish", "log_softmax", "logsigmoid", "log_sigmoid", "softsign", "tanhshrink",
    "hardshrink", "softshrink", "threshold", "clamp", "clamp_min", "clamp_max", "abs", "exp", "expm1",
    "log", "log1p", "sqrt", "square", "pow", "sin", "cos", "neg", "normalize", "local_response_norm",
    "nan_to_num",
)  # fmt: skip
def activation(run: Run, call: Call) -> Any:
    """R_x = R."""
    x = call.get(0, "input")
    if not is_only_operand(run, call, x):
        return run.other(call)
    return run.noted(pass_relevance(call, x), gate=run.note(x, "gate"), raw=run.note(x, "raw"))


@ACTIVATIONS.on("relu")
def relu(run: Run, call: Call) -> Any:
    """R_x = R; a batch norm before it may still be folded into what follows."""
    x = call.get(0, "input")
    affine: Affine | None = run.note(x, "affine")
    if affine is None or not is_only_operand(run, call, x):
        return activation(run, call)
    made, kept = pass_relevance(call, x), run.note(x, "kept")
    notes = {name: run.note(x, name) for name in ("gate", "raw")}
    return run.noted(made, affine=replace(affine, rectified=True), kept=kept, **notes)


@ACTIVATIONS.on("sigmoid", "tanh", "hardsigmoid", "softmin", "erf", "rsqrt", "reciprocal")
def gate(run: Run, call: Call) -> Any:
    """What scales something else, which is its signal; where it does not, R_x = R as of an activation."""
    x = call.get(0, "input")
    if not is_only_operand(run, call, x):
        return run.other(call)
    return run.noted(pass_relevance(call, x), gate=True, raw=run.note(x, "raw"))


@ACTIVATIONS.on(
    "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "alpha_dropout",
    "feature_alpha_dropout",
)  # fmt: skip
def dropout(run: Run, call: Call) -> Any:
    """Nothing, unless the model has it drop numbers while it is evaluated: then R_x = R."""
    default = call.kwargs.get("train", "alpha" not in call.name)  # torch's own names and defaults
    return activation(run, call) if call.get(2, "training", default) else same(run, call)


def is_only_operand(run: Run, call: Call, x: Tensor) -> bool:
    """Whether x depends on the input, and no other operand does."""
    return run.depends_on_input(x) and len(run.carriers(call)) == 1
