"""What a prediction function answered, checked: a wrong answer would be explained as if it were right."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import InvalidType, InvalidValue

Mode = Literal["classification", "regression"]
Numbers = NDArray[np.float64]

_SUM_WITHIN = 1e-3  # of 1: float16 and rounded probabilities pass
_OTHERWISE = 'or, to explain any number, return one per input and pass mode="regression"'


def predictions(predict: Callable[[Any], Any], inputs: Sequence[Any] | Numbers, mode: Mode) -> Numbers:
    """The answers of `predict` as (n, T): T class probabilities, or for "regression" one number, T = 1.

    Raises:
        InvalidType: an answer that is no array of numbers.
        InvalidValue: an answer of another shape, for another number of inputs, with NaN or infinity, or, for
            "classification", one that is no probabilities.
    """
    answer, n = _array(predict(inputs)), len(inputs)
    if mode == "regression":
        if answer.shape not in ((n,), (n, 1)):
            raise InvalidValue(
                f'With mode="regression" the prediction function must return one number for each of {n} '
                f"inputs; got shape {answer.shape}."
            )
    elif answer.ndim != 2 or len(answer) != n or answer.shape[1] < 2:
        raise InvalidValue(
            f"The prediction function must return a probability for each of {n} inputs and each class, "
            f"({n}, classes); got {_came(answer, n)}"
        )
    if not np.isfinite(answer).all():
        row = int((~np.isfinite(answer)).reshape(n, -1).any(1).argmax())
        raise InvalidValue(
            f"Predictions must be finite; got {answer[row].tolist()} for {_shown(inputs[row])}: "
            "the model cannot be explained where it gives no number."
        )
    if mode == "classification":
        _refuse_other_than_probabilities(answer)
    return answer.reshape(n, -1)


def _array(answer: Any) -> Numbers:
    if isinstance(answer, Tensor):
        answer = answer.detach().cpu().double().numpy()
    try:
        return np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidType(
            f"The prediction function must return an array of numbers; got {type(answer).__name__} "
            f"that is none ({error})."
        ) from error


def _came(answer: Numbers, n: int) -> str:
    """What came instead of (n, classes), and what to do."""
    if answer.ndim == 0:
        return f"one number, {float(answer):g}: it is called with a list and must answer for all of it."
    if len(answer) != n:
        return f"{len(answer)} rows: it must answer every input, in order."
    if answer.ndim == 1:
        return f"one number each: pass predict_proba instead of predict, {_OTHERWISE}."
    if answer.ndim == 2 and answer.shape[1] == 1:
        return f"a single column: return the probabilities of both classes, {_OTHERWISE}."
    return f"shape {answer.shape}."


def _refuse_other_than_probabilities(answer: Numbers) -> None:
    off = (answer < 0).any(1) | (np.abs(answer.sum(1) - 1) > _SUM_WITHIN)
    if not off.any():
        return
    row = answer[off.argmax()]
    shown = "[" + ", ".join(f"{v:g}" for v in row[:4]) + (", ...]" if len(row) > 4 else "]")
    first, second = answer[:, 0], answer[:, 1]
    if answer.shape[1] == 2 and (first == first.round()).all() and ((second >= 0) & (second <= 1)).all():
        raise InvalidValue(
            f"Each row must hold the probabilities of all classes; got what looks like [class, probability], "
            f"{shown}: return the whole row, (n, classes)."
        )
    raise InvalidValue(
        f"Each row must be probabilities: not negative, and of sum 1; got {shown}, of sum {row.sum():g}: "
        f"apply a softmax to logits, {_OTHERWISE}."
    )


def _shown(value: Any) -> str:
    text = repr(value.tolist() if isinstance(value, np.ndarray) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."
