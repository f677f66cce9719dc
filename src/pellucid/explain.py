"""The verb `explain`: pictures in, an Explanation out. What it shares with `compare` is `explain_all`."""

import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pellucid.attribute import attribute
from pellucid.certainty import doubtful
from pellucid.choice import Choice
from pellucid.engine.cost import Cost
from pellucid.engine.precision import Precision
from pellucid.errors import InvalidValue, PellucidError, SomeFailed, short_traceback
from pellucid.explanation import Explanation
from pellucid.images import Batch
from pellucid.methods.definition import WRAPPERS
from pellucid.model import Model
from pellucid.options.written import plain
from pellucid.outcomes import Attribution
from pellucid.request import Request
from pellucid.target import Output, Target, TargetFn


@dataclass(frozen=True)
class Explained:
    """What one request gave for one target.

    Attributes:
        request: what was asked.
        answer: the Explanation of `images`, or, where no image has one, the reason why.
        images: those that were explained, counted from 0.
        failures: the others, and why they have no explanation.
    """

    request: Request
    answer: Explanation | PellucidError
    images: tuple[int, ...] = ()
    failures: Mapping[int, PellucidError] = field(default_factory=dict)


@short_traceback
def explain(
    model: Model | nn.Module | Callable[[Tensor], Any],
    images: Any,
    method: str = "grad-cam",
    *,
    target: Target = None,
    output: Output | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    precision: Precision = "auto",
    progress: bool | None = None,
    forward_kwargs: Mapping[str, Any] | None = None,
    choice: Choice | str | os.PathLike[str] | None = None,
    **options: Any,
) -> Explanation:
    """Explains why a model gave images their scores, by one method.

    Args:
        model: a `Model`, any `nn.Module`, or a differentiable callable (N, C, H, W) -> (N, K).
        images: a path, a folder (with all below it), a glob, a PIL image, a uint8 array (H, W[, C]), any
            iterable of these, or a float tensor or array (C, H, W) or (N, C, H, W), which is taken as the
            model's own input. A model of several inputs takes a tuple (images, further inputs) or a mapping
            of its arguments' names; tensors with one row per image follow the images.
        method: a registered method, with options if you like: "smooth-grad:samples=20".
        target: None for the class each image is predicted as; a class index or name; a `Contrast(a, b)`,
            also written "a^b"; one of these per image; or a callable `raw output -> (N,)`, which scores each
            row by itself. It is shown chunks of the images and perturbed copies of them; with a second
            argument, `(raw output, indices) -> (N,)`, it is told which image each row was made of.
        output: "logit", "probability" or "loss"; None for the method's own, as in its paper.
        seed: of everything drawn at random.
        batch_size: the most samples run together; never changes a result beyond rounding.
        precision: "float32" runs the model in its own precision, "bfloat16" under autocast. "auto" is its
            own, except for perturbed inputs whose scores do no harm in bfloat16, on devices that are faster
            in it: the error this brings is measured on each image, kept below half of a sampled map's
            standard error, which then holds both, or a thousandth of another's maximum. The result says what
            ran.
        progress: True for a bar, False for none, None for one where standard error is a terminal.
        forward_kwargs: further arguments of the model, by name: tensors with one row per image follow the
            images into chunks and perturbed copies, everything else is passed as it is.
        choice: with method="auto", what `choose` found or the file it was saved to: the method that suits
            this model.
        **options: the method's, and `smooth=`, `smooth_noise=`, `smooth_statistic=`, `augment=`, which
            every method takes.

    Returns:
        An `Explanation` of all images.

    Raises:
        SomeFailed: some of several images cannot be explained; the error holds the explanation of the others.
        InvalidValue, InvalidType: an image, target, method or option that does not hold.
        ModelError: the model fails on the images, or cannot be explained by this method.

    Cost:
        The method's: see `pellucid.methods()`.

    Example:
        >>> import torch
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> e = explain(net, torch.rand(2, 3, 9, 12), method="grad-cam", target=1)
        >>> e.attribution.shape, e.raw.shape, e.cost.forward, e.cost.backward
        (torch.Size([2, 1, 9, 12]), torch.Size([2, 7, 10]), 2, 2)
    """
    wrapped = Model.wrap(model)
    if method == "auto" or choice is not None:
        method, options = _chosen(wrapped, method, choice, options)
    request = Request.of(method, options)
    batch = wrapped.read(images, forward_kwargs)
    (outcome,), _ = explain_all(
        wrapped,
        batch,
        [request],
        [target],
        output=output,
        seed=seed,
        batch_size=batch_size,
        precision=precision,
        progress=progress,
    )
    if isinstance(outcome.answer, PellucidError):
        raise outcome.answer
    if outcome.failures:
        names = [picture.name for picture in batch.pictures]
        raise SomeFailed(outcome.answer, outcome.images, outcome.failures, names)
    return outcome.answer


def _chosen(
    model: Model, method: str, choice: Choice | str | os.PathLike[str] | None, options: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The method and options that suit a model, by a choice that was made for it.

    Raises:
        InvalidValue: no choice for "auto", another method beside a choice, or a choice for another model.
    """
    if choice is None:
        raise InvalidValue(
            "method='auto' needs choice=, the file that pellucid.choose(model, pictures).save('choice.json') "
            "writes; or name a method."
        )
    if method != "auto":
        raise InvalidValue(f"choice= is for method='auto'; got method={method!r}.")
    known = choice if isinstance(choice, Choice) else Choice.load(choice)
    known.check(model)
    return known.chosen.method, {**known.chosen.options, **options}


def explain_all(
    model: Model,
    batch: Batch,
    requests: Sequence[Request],
    targets: Sequence[Target],
    **settings: Any,
) -> tuple[list[Explained], Cost]:
    """Every request for every target over one batch of pictures: `attribute`, and Explanations made of it.

    `settings` are `attribute`'s: `output`, `seed`, `batch_size`, `precision`, `progress`.
    """
    outcomes, cost = attribute(model, batch.inputs, requests, targets, extras=batch.extras, **settings)
    return [
        Explained(
            outcome.request,
            outcome.answer
            if isinstance(outcome.answer, PellucidError)
            else _explanation(outcome.request, outcome.answer, batch, model),
            () if isinstance(outcome.answer, PellucidError) else outcome.answer.images,
            outcome.failures,
        )
        for outcome in outcomes
    ], cost


def _explanation(request: Request, found: Attribution, batch: Batch, model: Model) -> Explanation:
    """What was found about some images of a batch, with their pictures."""
    finding, method, options = found.finding.on_cpu(), request.method, request.options
    ran = [found.precision + (" and bfloat16" if low else "") for low in found.lowered]
    details: dict[str, Any] = dict(finding.details)
    if chosen := {**batch.chosen, **found.chosen}:
        details["chosen"] = chosen
    if len(set(ran)) > 1:
        details["precisions"] = ran
    height, width = batch.inputs.shape[-2:]
    pictures = [batch.pictures[image] for image in found.images]
    explanation = Explanation(
        method=method.name,
        options={name: plain(value) for name, value in options.items() if matters(name, options)},
        attribution=at_input(finding.map, (height, width)),
        raw=finding.map,
        target=_classes(found.target_fn, len(found.images)),
        labels=list(found.target_fn.names),
        score=found.score.detach().float().cpu(),
        output=found.target_fn.explained,
        prediction=list(found.predictions),
        model=model.name,
        paper=method.paper,
        seed=found.seed,
        precision=max(ran, key=len),
        versions=versions(),
        cost=found.cost,
        pictures=pictures,
        boxes=[batch.boxes[image] for image in found.images],
        layer=list(finding.layers),
        stderr=None if finding.stderr is None else at_input(finding.stderr, (height, width)),
        delta=finding.delta,
        details=details,
        trace=dict(finding.trace),
        notes=[picture.notes + notes for picture, notes in zip(pictures, found.notes, strict=True)],
    )
    if explanation.stderr is not None:
        for image, notes in enumerate(explanation.notes):
            notes += doubtful(explanation.relative_error(image), explanation.stderr[image], request.options)
    return explanation


def at_input(map: Tensor, size: tuple[int, int]) -> Float[Tensor, "N D H W"]:
    """A raw map at the input's resolution, float32: (N, h, w) resized bilinearly, (N, C, H, W) as it is."""
    if map.ndim == 4:
        return map.float()
    if map.shape[1:] == size:  # also keeps infinite standard errors, which weights of 0 would make NaN
        return map[:, None].float()
    return interpolate(map[:, None].float(), size, mode="bilinear", align_corners=False)


def _classes(target_fn: TargetFn, n: int) -> list[int | None]:
    return [None] * n if target_fn.classes is None else target_fn.classes.tolist()


def matters(name: str, options: Mapping[str, Any]) -> bool:
    """Whether an option is stored: a wrapper's only where it was used."""
    wrapped = {"augment": bool(options["augment"])}
    return wrapped.get(name, bool(options["smooth"])) if name in _WRAPPERS else True


_WRAPPERS = {option.name for option in WRAPPERS}


@cache
def versions() -> dict[str, str]:
    """The versions a result was made with."""
    names = ("pellucid", "torch", "timm", "torchvision")
    return {"python": platform.python_version(), **{n: importlib.metadata.version(n) for n in names}}
