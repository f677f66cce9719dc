"""LIME's loop, the same for words and tables: draw neighbours, ask the model, fit a surrogate per class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.engine.progress import Progress, showing
from pellucid.errors import InvalidType, InvalidValue
from pellucid.lime.predictions import Mode, Numbers, predictions
from pellucid.lime.records import LabelExplanation
from pellucid.methods.perturb import surrogate
from pellucid.methods.perturb.least_squares import Fit
from pellucid.methods.perturb.surrogate import Selection
from pellucid.ranks import rank_correlation

ROUND = 500
"""Neighbours drawn at a time."""
MORE = 1.25
"""Whether the coefficients have converged is asked whenever there are so many times more neighbours."""
MOST = 20_000
"""Neighbours after which "auto" gives up, with a warning."""


@runtime_checkable
class Space(Protocol):
    """An interpretable representation: how neighbours of one input are drawn, and how near they are."""

    def origin(self) -> tuple[Numbers, Any]:
        """Row 0: the representation (1, d) of what is explained, and it itself as the model takes it."""

    def draw(self, count: int, source: np.random.Generator) -> tuple[Numbers, Any]:
        """`count` neighbours: their representation (count, d), and they as the model takes them."""

    def weights(self, z: Tensor) -> Tensor:
        """How much each row counts, (n,)."""


def explain(
    space: Space,
    predict: Callable[[Any], Any],
    *,
    labels: int | str | Sequence[int | str] | None,
    top_labels: int,
    class_names: Sequence[str] | None,
    features: int | None,
    selection: Selection,
    samples: int | Literal["auto"],
    tolerance: float,
    ridge: float,
    mode: Mode,
    seed: int,
    batch_size: int,
    progress: bool | None,
) -> tuple[list[LabelExplanation], int, list[str]]:
    """One surrogate per label, the samples used, and warnings; the options are those of `text`."""
    _check(samples, tolerance, top_labels, features, selection, ridge, batch_size, mode)
    source = np.random.default_rng(seed)
    most = MOST if samples == "auto" else samples
    z, one = space.origin()
    first = predictions(predict, one, mode)
    names = _names(class_names, first.shape[1], mode)
    if mode == "regression":
        chosen = [0]
    elif labels is None:
        chosen = np.argsort(-first[0], kind="stable")[:top_labels].tolist()
    else:
        asked = [labels] if isinstance(labels, str) or not isinstance(labels, Sequence) else labels
        chosen = [_class(label, names) for label in asked]
    rows, scores = [z], [first[:, chosen]]
    done, asked_at, converged = 1, 0, samples != "auto"
    with showing("Asking the model", most, progress) as bar:
        bar.advance(1)
        while done < most:
            z, inputs = space.draw(min(ROUND, most - done), source)
            rows.append(z)
            scores.append(_asked(predict, inputs, mode, first.shape[1], batch_size, bar)[:, chosen])
            done += len(z)
            if done == most or (samples == "auto" and done >= MORE * asked_at):
                asked_at = done
                x, y = torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate(scores))
                seen = _Seen(x, y, space.weights(x), ridge)
                fits = seen.fits(features, selection)
                if samples == "auto" and (converged := _converged(seen, fits, tolerance)):
                    break
    found = [
        _explained(label, names[label], float(first[0, label]), float(fit.predict(seen.z[:1])[0]), fit)
        for label, fit in zip(chosen, fits, strict=True)
    ]
    doubt = f"The weights have not converged to a tolerance of {tolerance:g} after {done} samples."
    return found, done, [] if converged else [doubt]


def _explained(label: int, name: str, prediction: float, local: float, fit: Fit) -> LabelExplanation:
    size = fit.coefficients[fit.chosen].abs()
    chosen = fit.chosen[size.argsort(descending=True, stable=True)].tolist()
    return LabelExplanation(
        label, name, prediction, local, fit.coefficients, fit.intercept, fit.r2, fit.stderr, chosen
    )


def _asked(
    predict: Callable[[Any], Any], inputs: Any, mode: Mode, classes: int, batch_size: int, bar: Progress
) -> NDArray[np.float64]:
    answers = []
    for start in range(0, len(inputs), batch_size):
        chunk = inputs[start : start + batch_size]
        answers.append(predictions(predict, chunk, mode))
        if answers[-1].shape[1] != classes:
            raise InvalidValue(
                "The prediction function must return the same number of classes every time; got "
                f"{classes}, then {answers[-1].shape[1]}."
            )
        bar.advance(len(chunk))
    return np.concatenate(answers)


@dataclass(frozen=True, eq=False)
class _Seen:
    """Neighbours, what the model said of each label (n, T), and what each counts."""

    z: Tensor
    y: Tensor
    weights: Tensor
    ridge: float

    def fits(self, features: int | None, selection: Selection) -> list[Fit]:
        """A surrogate for each label."""
        return [
            surrogate.fit(self.z, y, self.weights, ridge=self.ridge, features=features, selection=selection)
            for y in self.y.unbind(1)
        ]

    def half(self, start: int, label: int, features: Tensor) -> Tensor:
        """The coefficients of these features by every other neighbour from `start` on, and by row 0."""
        rows = torch.cat(
            [
                torch.zeros(1, dtype=torch.long, device="cpu"),
                torch.arange(start, len(self.z), 2, dtype=torch.long, device="cpu"),
            ]
        )
        part = self.z[rows][:, features], self.y[rows, label], self.weights[rows]
        return surrogate.fit(*part, ridge=self.ridge).coefficients


def _converged(seen: _Seen, fits: Sequence[Fit], tolerance: float) -> bool:
    """Whether the largest coefficients are known to `tolerance`, and both halves order all of them alike.

    Among the chosen features; the largest are their top decile, at least three.
    """
    for label, fit in enumerate(fits):
        size, error = fit.coefficients[fit.chosen].abs(), fit.stderr[fit.chosen]
        top = size.topk(min(len(size), max(3, len(size) // 10))).indices
        if float(error[top].mean()) > tolerance * float(size[top].mean()):
            return False
        halves = torch.stack([seen.half(start, label, fit.chosen) for start in (1, 2)])
        if len(size) > 1 and float(rank_correlation(halves)[0, 1]) < 1 - tolerance:
            return False
    return True


def _check(
    samples: int | str,
    tolerance: float,
    top_labels: int,
    features: int | None,
    selection: str,
    ridge: float,
    batch_size: int,
    mode: str,
) -> None:
    for name, given, known in (("mode", mode, get_args(Mode)), ("selection", selection, get_args(Selection))):
        if given not in known:
            raise InvalidValue(f"{name} must be one of {', '.join(known)}; got {given!r}.")
    if not 0 <= ridge < float("inf"):
        raise InvalidValue(f"ridge must be at least 0, and finite; got {ridge}.")
    if samples != "auto" and not _whole(samples, 2):
        raise InvalidValue(
            'samples must be "auto" or a whole number of at least 2, the input and a neighbour; '
            f"got {samples!r}."
        )
    if not 0 < tolerance < 1:
        raise InvalidValue(f"tolerance must be between 0 and 1; got {tolerance}.")
    for name, value in (("top_labels", top_labels), ("features", features), ("batch_size", batch_size)):
        if not _whole(value, 1) and not (name == "features" and value is None):
            raise InvalidValue(f"{name} must be a whole number of at least 1; got {value!r}.")


def _whole(value: Any, least: int) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool) and value >= least


def _names(class_names: Sequence[str] | None, classes: int, mode: Mode) -> list[str]:
    if class_names is None:
        return ["prediction"] if mode == "regression" else [str(i) for i in range(classes)]
    if isinstance(class_names, str):
        raise InvalidType(f"class_names must be a list of names; got the text {class_names!r}.")
    if len(class_names) != classes:
        raise InvalidValue(
            f"class_names must name all {classes} columns of the predictions; got {len(class_names)} names."
        )
    return [str(name) for name in class_names]


def _class(label: int | str, names: list[str]) -> int:
    if isinstance(label, str) and label in names:
        return names.index(label)
    if not isinstance(label, str) and _whole(label, 0) and int(label) < len(names):
        return int(label)
    known = f"a class from 0 to {len(names) - 1}"
    if names != [str(i) for i in range(len(names))]:
        known += f" or one of {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
    raise InvalidValue(f"A label must be {known}; got {label!r}.")
