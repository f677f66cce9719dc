"""What is asked of a model: an output becomes one score per sample.

A target is `None` or "predicted" (the class each image is predicted as), a class (index or name), a
`Contrast(a, b)` or "a^b", one of these per image, or a callable `raw output -> (N,)`. Once the outputs of the
unperturbed images are known it is resolved to a `TargetFn`, which stays fixed however the images are
perturbed afterwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import InvalidType, InvalidValue
from pellucid.model import Model
from pellucid.output_scale import Output as Output
from pellucid.outputs import NO_CHOICE, Reading
from pellucid.structures import tensor_of
from pellucid.target_function import TargetFunction


@dataclass(frozen=True)
class Contrast:
    """Explain why `a` rather than `b`: the score of class `a` minus that of class `b`.

    Example:
        >>> Contrast("tiger cat", "tabby")
        Contrast(a='tiger cat', b='tabby')
    """

    a: int | str
    b: int | str


OneTarget = SupportsIndex | str | Contrast | None
Target = OneTarget | Callable[[Any], Tensor] | Sequence[OneTarget] | Tensor | NDArray[np.integer]


@dataclass(frozen=True)
class TargetFn:
    """A resolved target: called with the model's raw output it gives one number per sample, (N,).

    `classes` and, for a contrast, `against` hold a class index per sample; -1 in `against` means none.
    A model with one logit has the classes 0 and 1, of logit -z and z. `reading` says where the classes'
    scores are in the output; `numbers` which image each sample was made of.
    """

    classes: Int[Tensor, " N"] | None
    against: Int[Tensor, " N"] | None
    function: TargetFunction | None
    output: Output
    names: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    reading: Reading = NO_CHOICE

    @property
    def explained(self) -> str:
        """What the score is: "logit", "probability", "log-probability", "loss", "value", or "score" of a
        callable."""
        if self.function is not None:
            return "score"
        scale = self.reading.scale.name
        return scale if scale == "value" or self.output == "logit" else self.output

    def repeat(self, times: int) -> "TargetFn":
        """The same question about `times` perturbed inputs of each sample, copies of one sample adjacent."""
        return self.pick([sample for sample in range(len(self.names)) for _ in range(times)])

    def pick(self, samples: Sequence[int]) -> "TargetFn":
        """The question about the samples so numbered, in this order, each as often as it is named."""
        names = tuple(self.names[sample] for sample in samples)
        rows = tuple(self.numbers[sample] for sample in samples)
        if self.classes is None or self.against is None:
            return replace(self, names=names, numbers=rows)
        which = torch.tensor(samples, dtype=torch.long, device=self.classes.device)
        classes, against = self.classes[which], self.against[which]
        return replace(self, classes=classes, against=against, names=names, numbers=rows)

    @staticmethod
    def concatenated(scores: "Sequence[TargetFn]") -> "TargetFn":
        """One question about the samples of several of the same kind."""
        together = replace(
            scores[0],
            names=tuple(name for score in scores for name in score.names),
            numbers=tuple(number for score in scores for number in score.numbers),
        )
        classes = [score.classes for score in scores if score.classes is not None]
        against = [score.against for score in scores if score.against is not None]
        if not classes or not against:
            return together
        return replace(together, classes=torch.cat(classes), against=torch.cat(against))

    def __call__(self, raw: Any) -> Float[Tensor, " N"]:
        """The score of each sample, from the model's raw output."""
        if self.function is not None:
            return self.function(raw, self.numbers)
        return self.of_outputs(self.reading.outputs(raw, len(self.names)))

    def of_outputs(self, outputs: Float[Tensor, "N K"]) -> Float[Tensor, " N"]:
        """The score of outputs already unwrapped to (N, K)."""
        if self.classes is None or self.against is None:
            raise InvalidValue("This needs a target that is a class or a contrast; it is a callable.")
        if len(outputs) != len(self.classes):
            raise InvalidValue(
                f"The model must give one row of outputs per image: {len(self.classes)} images, "
                f"{len(outputs)} rows."
            )
        classes, against = self.classes.to(outputs.device), self.against.to(outputs.device)
        half = outputs.dtype in (torch.bfloat16, torch.float16)
        values = self.reading.scale.class_values(outputs.float() if half else outputs, self.output)
        chosen = values.gather(1, classes[:, None])[:, 0]
        if (against < 0).all():
            return chosen
        other = values.gather(1, against.clamp(min=0)[:, None])[:, 0]
        return chosen - torch.where(against < 0, torch.zeros_like(other), other)


def resolve(
    target: Target,
    raw: Any,
    model: Model,
    output: Output = "logit",
    *,
    reading: Reading | Callable[[], Reading] | None = None,
    numbers: Sequence[int] | None = None,
    images: int | None = None,
) -> TargetFn:
    """Fixes `target` for the samples whose raw output is `raw`.

    Args:
        target: what is asked.
        raw: what the model gave for these samples.
        model: that gave it.
        output: which number a class target stands for.
        reading: where the classes' scores are in the output; found out by default.
        numbers: which of all images these samples are; by default the first.
        images: how many images there are in all.

    Raises:
        InvalidValue: a class that does not exist, a number of targets that is not the number of images,
            a contrast of losses, an `output` that is none of logit, probability and loss, a callable that
            does not score each row by itself.
        InvalidType: a target of another type.
    """
    if output not in get_args(Output):
        raise InvalidValue(f"output must be one of {', '.join(get_args(Output))}; got {output!r}.")
    if callable(target):
        function = TargetFunction.of(target, raw, numbers, images)
        return TargetFn(
            None, None, function, output, (function.name,) * len(function.numbers), function.numbers
        )
    found = model.reading(raw, None if numbers is None else len(numbers)) if reading is None else reading
    reading = found if isinstance(found, Reading) else found()
    outputs = reading.outputs(raw, None if numbers is None else len(numbers))
    _refuse_rows(outputs)
    values = reading.scale.name == "value"
    n, classes = outputs.shape[0], outputs.shape[1] if values else class_count(outputs)
    refuse_labels(model, classes)
    if values and output == "loss":
        raise InvalidValue("A loss needs classes; the model's outputs are values: leave out output='loss'.")
    if values and classes > 1 and any(one is None for one in _per_image(target, n)):
        raise InvalidValue(
            f"The model gives {classes} values, none of which is predicted: pass target=, the number of one."
        )
    predicted = reading.scale.class_values(outputs, "logit").argmax(1).tolist()
    each = [_one(t, i, predicted, model, classes) for i, t in enumerate(_per_image(target, n))]
    if output == "loss" and any(b >= 0 for _, b in each):
        raise InvalidValue("A Contrast explains logits or probabilities; got output='loss'.")
    names = tuple(
        class_name(model, a, outputs.shape[1], values)
        + (f" - {class_name(model, b, outputs.shape[1], values)}" if b >= 0 else "")
        for a, b in each
    )
    columns = zip(*each, strict=True)
    a, b = (torch.tensor(column, dtype=torch.long, device=outputs.device) for column in columns)
    rows = tuple(range(n) if numbers is None else numbers)
    return TargetFn(a, b, None, output, names, rows, reading)


def class_count(outputs: Float[Tensor, "N K"]) -> int:
    """How many classes outputs tell apart: a single one tells two."""
    return max(2, outputs.shape[1])


def refuse_labels(model: Model, classes: int) -> None:
    """Refuses class names that are not those of the model's classes.

    Raises:
        InvalidValue: more names, or fewer, than there are classes.
    """
    if model.labels is not None and len(model.labels) != classes:
        raise InvalidValue(
            f"labels must name each class once: {model.name} tells {classes} classes apart, there "
            f"{'is 1 name' if len(model.labels) == 1 else f'are {len(model.labels)} names'}."
        )


def _refuse_rows(outputs: Float[Tensor, "N K"]) -> None:
    """A callable that answers [class, probability] has told nothing about the other classes."""
    if outputs.shape[1] != 2:
        return
    first, second = outputs.detach().T
    if (first == first.round()).all() and (first > 1).any() and ((second >= 0) & (second <= 1)).all():
        raise InvalidValue(
            "A model must give one score for each class, (N, K); it gives what looks like rows of [class, "
            f"probability], such as {outputs[0].tolist()}: return the scores of all classes."
        )


def _per_image(target: Any, n: int) -> list[OneTarget]:
    if isinstance(target, Tensor | np.ndarray):
        target = tensor_of(target)
        if target.is_floating_point() or target.ndim > 1:
            raise InvalidType(
                f"A target tensor must hold one whole class index per image; got {target.dtype} "
                f"of shape {tuple(target.shape)}."
            )
        target = target.tolist()
    if isinstance(target, Sequence) and not isinstance(target, str):
        if len(target) != n:
            raise InvalidValue(f"There must be one target per image: {n} images, {len(target)} targets.")
        return list(target)
    return [target] * n


def _one(target: Any, i: int, predicted: Sequence[int], model: Model, classes: int) -> tuple[int, int]:
    """(class, class it is contrasted with or -1) of image i."""
    target = _as_written(target, model)
    if target is None:
        return predicted[i], -1
    if isinstance(target, Contrast):
        return _class(target.a, model, classes), _class(target.b, model, classes)
    return _class(target, model, classes), -1


def _as_written(target: Any, model: Model) -> Any:
    """What "A^B" and "predicted" mean, as the command line has them, unless a class has that name."""
    if not isinstance(target, str) or (model.labels is not None and target in model.labels):
        return target
    a, contrast, b = (part.strip() for part in target.partition("^"))
    if contrast and a and b:
        return Contrast(a, b)
    return None if target == "predicted" else target


def _class(target: Any, model: Model, classes: int) -> int:
    if isinstance(target, str) or (hasattr(target, "__index__") and not isinstance(target, bool)):
        index = model.class_index(target)
    else:
        category = getattr(target, "category", None)  # as pytorch-grad-cam's ClassifierOutputTarget has it
        hint = ""
        if isinstance(category, int):
            hint = f": pass its class, target={category}"
        elif callable(target):
            hint = (
                ": a list of callables, one for each image, is not taken; pass one that scores all rows, "
                "target=lambda outputs: outputs[:, 3], or a list of classes"
            )
        raise InvalidType(
            "A target must be a class index or name, one per image, a Contrast, a callable or None; "
            f"got {type(target).__name__}{hint}."
        )
    if not 0 <= index < classes:
        raise InvalidValue(f"A target must be a class from 0 to {classes - 1}; got {index}.")
    return index


def class_name(model: Model, index: int, outputs: int, values: bool = False) -> str:
    """What a class is called; the two sides of a single logit without names are positive and negative.

    Outputs that are values are called by their labels, or by their number.
    """
    if values and model.labels is None:
        return "value" if outputs == 1 else f"value {index}"
    if values:
        return model.label(index)
    if outputs == 1 and (model.labels is None or len(model.labels) != 2):
        return ("negative", "positive")[index]
    return model.label(index)
