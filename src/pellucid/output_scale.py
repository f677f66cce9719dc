"""On what scale a model's outputs are: logits, probabilities, log-probabilities, or values of no class.

That is not guessed from a batch's values alone. An `Origin` says how an output came about: the operation that
made it, and the bounds this puts on its values. What that leaves open is asked of the values only where they
prove it, as rows that sum to 1 do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from pellucid.choices import Output as Output
from pellucid.errors import InvalidValue

ScaleName = Literal["logit", "probability", "log-probability", "value"]

_HOW = "say pellucid.Model(module, output_scale='probability') (or 'logit', 'log-probability')"


SURE = 15.0
"""From this logit on a sigmoid says 1 in single precision: a value, more likely, that stands for no class."""

LINEAR = {
    "linear", "addmm", "mm", "bmm", "matmul", "rmatmul", "einsum", "bilinear", "conv1d", "conv2d", "conv3d"
}  # fmt: skip
"""Operations by weights."""


@dataclass(frozen=True, eq=False)
class Origin:
    """How a tensor came about: the operation, the bounds of its values, and what it was computed from.

    `form` is "softmax", "sigmoid", "log_softmax" or "logsigmoid" where values still have that form; `affine`
    says that a linear layer made them, on which nothing puts bounds; `moved` that the operation is that of a
    parent, whose values were only moved or picked among.
    """

    operation: str
    low: float = -math.inf
    high: float = math.inf
    form: str | None = None
    affine: bool = False
    parents: tuple["Origin", ...] = ()
    moved: bool = False

    def made_by_weights(self, other: "Origin") -> bool:
        """Whether this was computed from the other through a linear layer, as classes are from features."""
        seen: set[int] = set()
        ahead = [self]
        while ahead:
            one = ahead.pop()
            if one is other or id(one) in seen:
                continue
            if one.operation in LINEAR and not one.moved and one.depends_on(other):
                return True
            seen.add(id(one))
            ahead += one.parents
        return False

    def depends_on(self, other: "Origin") -> bool:
        """Whether this was computed from the other."""
        seen: set[int] = set()
        ahead = list(self.parents)
        while ahead:
            one = ahead.pop()
            if one is other:
                return True
            if id(one) not in seen:
                seen.add(id(one))
                ahead += one.parents
        return False


UNKNOWN = Origin("an operation that could not be seen")


@dataclass(frozen=True)
class Scale:
    """What the outputs are, and whether each class is a question of its own (`multi_label`).

    A single output stands for two classes: 0, that it is not so, and 1, that it is. Outputs that are values,
    as of a regression, stand for no classes: they are explained as they are, whatever is asked for.
    """

    name: ScaleName = "logit"
    multi_label: bool = False

    def class_values(self, outputs: Float[Tensor, "N K"], output: Output) -> Float[Tensor, "N classes"]:
        """What `output=` names, for every class: what the model gives, probabilities, or losses -log p.

        "logit" is what the model gives, on its own scale.
        """
        single = outputs.shape[1] == 1
        if self.name == "value":
            return outputs
        if self.name == "logit":
            if output == "logit":
                return torch.cat([-outputs, outputs], 1) if single else outputs
            if single or self.multi_label:
                z = torch.cat([-outputs, outputs], 1) if single else outputs
                return z.sigmoid() if output == "probability" else softplus(-z)
            return outputs.softmax(1) if output == "probability" else -outputs.log_softmax(1)
        if self.name == "probability":
            p = torch.cat([1 - outputs, outputs], 1) if single else outputs
            return -p.log() if output == "loss" else p
        logs = outputs
        if single:  # log(1 - exp z), exact where exp z is small and where it is close to 1
            other = torch.where(outputs > -math.log(2), (-outputs.expm1()).log(), (-outputs.exp()).log1p())
            logs = torch.cat([other, outputs], 1)
        return {"logit": logs, "probability": logs.exp(), "loss": -logs}[output]

    def probabilities(self, outputs: Float[Tensor, "N K"]) -> Float[Tensor, "N classes"]:
        """Each class's probability, as the model means it."""
        return self.class_values(outputs, "probability")


LOGITS = Scale()


@dataclass(frozen=True)
class Found:
    """A scale, what the model ends in, what is reported of the choice, and a note where it is open."""

    scale: Scale
    ends: str | None
    chosen: Mapping[str, Any]
    note: str | None


def check_scale(name: Any) -> None:
    """Refuses what is no scale.

    Raises:
        InvalidValue: another name.
    """
    if name is not None and name not in get_args(ScaleName):
        raise InvalidValue(f"output_scale must be one of {', '.join(get_args(ScaleName))}; got {name!r}.")


def scale_of(
    outputs: Float[Tensor, "N K"],
    origin: Origin = UNKNOWN,
    name: ScaleName | None = None,
    multi_label: bool | None = None,
) -> Found:
    """The scale of outputs: as it was given, else as they came about, else where their values prove it.

    Raises:
        InvalidValue: values that cannot be on the scale that was given.
    """
    values, single = outputs.detach().float(), outputs.shape[1] == 1
    bounded = origin.low >= -1e-6 and origin.high <= 1 + 1e-6
    sums = not single and _sums_to_one(values, 0.02 if bounded else 1e-3)
    log_sums = not single and bool((values <= 1e-3).all()) and _sums_to_one(values.exp(), 1e-3)
    ends, note = origin.form, None
    if name is not None:
        found, because = name, "it was given"
        _refuse_scale(name, values)
        ends = origin.form if name != "logit" else None
    elif origin.affine:
        found, because = "logit", f"its last layer is linear ({origin.operation})"
        if _of_probabilities(origin) and bool(((values >= 0) & (values <= 1)).all()):
            note = (
                f"The model's outputs lie between 0 and 1, sums of probabilities by weights "
                f"({origin.operation}): they are taken as logits. If they are probabilities, {_HOW}."
            )
        elif single and values.numel() and float(values.abs().max()) > SURE:
            note = (
                f"The model's one output, {float(values.flatten()[values.abs().flatten().argmax()]):.4g}, is "
                "taken as the logit of two classes, which is all but certain. If it is a value, as of a "
                "regression, say pellucid.Model(module, output_scale='value')."
            )
    elif bounded:
        found, because = "probability", f"{origin.operation} gives values from 0 to 1"
    elif origin.form in ("log_softmax", "logsigmoid"):
        found, because = "log-probability", f"they come from {origin.operation}"
    elif sums:
        found, because = "probability", "the classes' values sum to 1"
    elif log_sums:
        found, because = "log-probability", "the exponentials of the classes' values sum to 1"
    else:
        found, because = "logit", "nothing says that they are probabilities"
        if _of_probabilities(origin) and math.isfinite(origin.low) and math.isfinite(origin.high):
            note = (
                f"The model's outputs can only lie between {origin.low:g} and {origin.high:g}, as they are "
                "made of probabilities: they are taken as logits. If these are scaled, scale them "
                f"back, or {_HOW}."
            )
        elif bool(((values >= 0) & (values <= 1)).all()):
            note = (
                "The model's outputs lie between 0 and 1, and what made them could not be seen: they are "
                f"taken as logits. If they are probabilities, {_HOW}."
            )
    own = origin.form in ("sigmoid", "logsigmoid")
    exclusive = {"logit": True, "probability": sums, "log-probability": log_sums, "value": True}[found]
    labels = not single and (own or not exclusive if multi_label is None else multi_label)
    report = {
        "choice": found,
        "multi_label": labels,
        "because": because,
        "alternatives": [other for other in get_args(ScaleName) if other != found],
    }
    chosen = {} if name is not None and multi_label is not None else {"output_scale": report}
    if found in ("logit", "value"):
        return Found(Scale(found, labels), None, chosen, note)
    ends = ends or ("probabilities" if found == "probability" else "log-probabilities")
    return Found(Scale(found, labels), ends, chosen, note)


def _of_probabilities(origin: Origin) -> bool:
    """Whether outputs were just computed from a sigmoid's or softmax's values."""
    return any(
        parent.form in ("sigmoid", "softmax") or (parent.moved and _of_probabilities(parent))
        for parent in origin.parents
    )


def _sums_to_one(values: Tensor, tolerance: float) -> bool:
    return bool((values >= -1e-6).all() and ((values.sum(1) - 1).abs() < tolerance).all())


def _refuse_scale(name: ScaleName, values: Tensor) -> None:
    low, high = (float(values.min()), float(values.max())) if values.numel() else (0.0, 0.0)
    if name == "probability" and (low < -1e-3 or high > 1 + 1e-3):
        raise InvalidValue(
            f"output_scale='probability' needs outputs from 0 to 1; they go from {low:.4g} to {high:.4g}."
        )
    if name == "log-probability" and high > 1e-3:
        raise InvalidValue(f"output_scale='log-probability' needs outputs of at most 0; got {high:.4g}.")
