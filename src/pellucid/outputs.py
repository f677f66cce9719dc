"""What a model gives: which of its outputs holds the classes' scores, and how they are read.

Of several outputs one is chosen where that is proven: by the number of classes, or as what is computed from
the others. Else the user is asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import ModelError
from pellucid.output_scale import LOGITS, UNKNOWN, Origin, Output, Scale, ScaleName, scale_of
from pellucid.structures import OUTPUT_NAMES, Path, as_tensor, described, tensors_in

OutputKey = int | str | Callable[[Any], Any]


@dataclass(frozen=True)
class Reading:
    """How a model's raw output is read: where the classes' scores are, and on what scale.

    Attributes:
        path: the keys and indices that lead to them, or a callable that gives them.
        scale: what they are.
        ends: what the model ends in, as a note says it; None where it gives logits.
        chosen: what was inferred, what else there was, and why: see `Explanation.details["chosen"]`.
        note: a warning where another reading is possible.
    """

    path: Path | Callable[[Any], Any] = ()
    scale: Scale = LOGITS
    ends: str | None = None
    chosen: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None

    def outputs(self, raw: Any, rows: int | None = None) -> Float[Tensor, "N K"]:
        """The classes' scores, of `rows` images; an axis that the model squeezed away is put back.

        Raises:
            ModelError: they are not there.
        """
        return as_rows(at_path(raw, self.path), rows, raw)


NO_CHOICE = Reading()
"""Of a model that gives logits alone."""


def at_path(raw: Any, path: Path | Callable[[Any], Any]) -> Any:
    """What lies under keys and indices.

    Raises:
        ModelError: nothing lies there.
    """
    if callable(path):
        return path(raw)
    value = raw
    for key in path:
        try:
            if isinstance(value, Tensor | np.ndarray):  # whose index would be an image
                raise TypeError
            field = isinstance(key, str) and not isinstance(value, Mapping)  # of a named tuple, an object
            value = getattr(value, str(key)) if field else value[key]
        except (KeyError, IndexError, TypeError, AttributeError):
            raise ModelError(
                f"The model's output has no {written(path)}; it is {described(raw)}: "
                "choose another with pellucid.Model(module, output_key=...)."
            ) from None
    return value


def as_rows(value: Any, rows: int | None, raw: Any) -> Float[Tensor, "N K"]:
    """Scores as (N, K): one image's (K,) and () get back what was squeezed away, (N,) becomes (N, 1).

    Raises:
        ModelError: they are no scores.
    """
    scores = as_tensor(value)
    if scores is not None and scores.is_floating_point() and scores.ndim <= 2:
        if scores.ndim == 2:
            return scores
        if rows == 1:
            return scores.reshape(1, -1)
        if scores.ndim == 1:
            return scores[:, None]
    raise ModelError(
        f"A model must give scores (N, K) of K classes; it gives {described(raw)}: "
        "pass target=callable, which makes one score per image (N,) of this, or say where they are with "
        "pellucid.Model(module, output_key=...)."
    )


def outputs_of(raw: Any) -> Float[Tensor, "N K"]:
    """A model's scores, (N, K), out of whatever it returned, where that leaves no choice.

    Understood are a tensor or array, a mapping, a tuple or list, or an object with `logits` (or out, output,
    scores, pred). A single-logit head's (N,) becomes (N, 1).

    Raises:
        ModelError: no floating tensor (N, K) or (N,) is there, or several that could hold the scores.

    Example:
        >>> outputs_of({"logits": torch.zeros(2, 10), "loss": None}).shape
        torch.Size([2, 10])
    """
    return as_rows(at_path(raw, select(raw)[0]), None, raw)


# --- which output -------------------------------------------------------------------------------------------


def select(
    raw: Any,
    rows: int | None = None,
    key: OutputKey | None = None,
    classes: Mapping[str, int] | None = None,
    origin_of: Callable[[Any], Origin] = lambda value: UNKNOWN,
) -> tuple[Path | Callable[[Any], Any], dict[str, Any] | None]:
    """Where the classes' scores are, and, if there was a choice, what was chosen and what else there was.

    Args:
        raw: what the model gave.
        rows: for how many images.
        key: the user's own choice.
        classes: how many classes there are, by who says so.
        origin_of: how an output came about.

    Raises:
        ModelError: several outputs could hold the scores, and nothing says which.
    """
    if key is not None:
        return (key if callable(key) else (key,)), None
    if isinstance(raw, Tensor | np.ndarray):
        return (), None
    found = _candidates(raw, rows)
    if not found:
        return (), None  # what is wrong is said where the scores are read
    if len(found) == 1 and (
        (len(found[0][0]) == 1 and found[0][0][0] in OUTPUT_NAMES) or _by_place(found[0][0])
    ):
        return found[0][0], None

    def chosen(path: Path, because: str) -> tuple[Path, dict[str, Any]]:
        others = {written(p): list(t.shape[1:]) for p, t in found if p != path}
        return path, {"choice": written(path), "because": because, "alternatives": others}

    for who, count in (classes or {}).items():
        fitting = _distinct([(p, t) for p, t in found if t.ndim == 2 and t.shape[1] == count])
        if len(fitting) == 1:
            return chosen(fitting[0][0], f"only this has {count} scores, as {who} says")
    named = [(name, p) for name in OUTPUT_NAMES for p, _ in found if p == (name,)]
    if named and (named[0][0] == "logits" or len(named) == 1):
        return chosen(named[0][1], f"it is the output's {named[0][0]!r}")
    if len(found) == 1:  # under a name that may mean anything, such as boxes
        return (), None
    different = _distinct(found)
    if len(different) == 1:
        return chosen(different[0][0], "the others are these scores again, or their probabilities")
    origins = [origin_of(at_path(raw, path)) for path, _ in different]
    last = [
        path
        for (path, _), mine in zip(different, origins, strict=True)
        if all(other is mine or (other is not UNKNOWN and mine.made_by_weights(other)) for other in origins)
    ]
    first = [
        path
        for (path, _), mine in zip(different, origins, strict=True)
        if all(o is mine or (o.depends_on(mine) and not o.made_by_weights(mine)) for o in origins)
    ]
    widths = {tensor.shape[-1] for _, tensor in different}  # of equal ones each may be the classes'
    scored = dict(zip([path for path, _ in different], origins, strict=True))
    aside = len(last) == 1 and at_path(raw, last[0]).shape[-1] == 1
    aside = aside and any(o.affine for path, o in scored.items() if path != last[0])  # a number about scores
    if len(last) == 1 and not aside and UNKNOWN not in origins and len(widths) == len(different):
        return chosen(last[0], "it is computed from the others by weights")
    if len(first) == 1 and UNKNOWN not in origins and len(widths) == len(different):
        return chosen(first[0], "the others are computed from it without weights")
    listed = ", ".join(f"{written(path)} {tuple(tensor.shape)}" for path, tensor in found)
    example = max(found, key=lambda one: one[1].shape[-1])[0] if aside else found[-1][0]
    pick = (
        f"output_key={example[0]!r}" if len(example) == 1 else "output_key=lambda raw: raw" + written(example)
    )
    raise ModelError(
        f"The model gives several outputs that may hold the classes' scores: {listed}: say which with "
        f"pellucid.Model(module, {pick})."
    )


def _by_place(path: Path) -> bool:
    """Whether an output is the only one of a tuple or list."""
    return all(isinstance(key, int) for key in path)


def _candidates(raw: Any, rows: int | None) -> list[tuple[Path, Tensor]]:
    """Floating outputs (N, K); where there are none (N,), and (K,) of one image."""
    found = [(p, t) for p, t in tensors_in(raw) if t.is_floating_point()]
    matrices = [(p, t) for p, t in found if t.ndim == 2]
    if rows is not None:
        matrices = [(p, t) for p, t in matrices if len(t) == rows] or matrices
    return matrices or [(p, t) for p, t in found if t.ndim == 1 and (rows in (None, 1) or len(t) == rows)]


def _distinct(found: Sequence[tuple[Path, Tensor]]) -> list[tuple[Path, Tensor]]:
    """Without those that are another one again, or its probabilities or log-probabilities."""
    kept: list[tuple[Path, Tensor]] = []
    for path, tensor in found:
        if not any(_same(tensor, other) for _, other in kept):
            kept.append((path, tensor))
    return [
        (path, tensor)
        for path, tensor in kept
        if not any(other is not tensor and _made_of(tensor, other) for _, other in kept)
    ]


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.detach(), other.detach().to(one))


def _made_of(tensor: Tensor, logits: Tensor) -> bool:
    """Whether a tensor holds the probabilities or log-probabilities of other scores, which are not those."""
    if tensor.shape != logits.shape:
        return False
    made, z = tensor.detach().float(), logits.detach().float()
    if z.ndim == 2 and bool(((z >= 0) & (z <= 1)).all() and ((z.sum(1) - 1).abs() < 1e-3).all()):
        return False
    tolerance = 1e-4 if tensor.dtype in (torch.float32, torch.float64) else 1e-2
    forms = [z.sigmoid(), z.softmax(-1), z.log_softmax(-1)]
    return any(bool((made - form).abs().max() <= tolerance) for form in forms)


def written(path: Path | Callable[[Any], Any]) -> str:
    """A path as it is written in Python.

    Example:
        >>> written(("heads", 0))
        "['heads'][0]"
    """
    return "".join(f"[{key!r}]" for key in path) if isinstance(path, tuple) else "output_key"


def read_outputs(
    raw: Any,
    rows: int | None = None,
    *,
    key: OutputKey | None = None,
    name: ScaleName | None = None,
    multi_label: bool | None = None,
    classes: Mapping[str, int] | None = None,
    origin_of: Callable[[Any], Origin] = lambda value: UNKNOWN,
) -> Reading:
    """How a model's output is read; see `select` and `scale_of`.

    Raises:
        ModelError, InvalidValue: it holds no scores, several, or others than was said.
    """
    path, choice = select(raw, rows, key, classes, origin_of)
    value = at_path(raw, path)
    found = scale_of(as_rows(value, rows, raw), origin_of(value), name, multi_label)
    chosen = {**({"output": choice} if choice else {}), **found.chosen}
    return Reading(path, found.scale, found.ends, chosen, found.note)


def ends_in(reading: Reading, output: Output) -> str | None:
    """What a note says where logits were asked for and the model gives none."""
    if reading.ends is None or output != "logit":
        return None
    what = "a log-probability" if reading.scale.name == "log-probability" else "a probability"
    kind = {"softmax": "a softmax", "sigmoid": "a sigmoid", "log_softmax": "a log-softmax"}
    kind["logsigmoid"] = "a log-sigmoid"
    if reading.ends in kind:
        return f"The model ends in {kind[reading.ends]}: {what} is explained, as there are no logits."
    return f"The model gives {reading.ends}: {what} is explained, as there are no logits."
