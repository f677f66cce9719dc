"""The verb `explain`: pictures in, an Explanation out. What it shares with `compare` is `investigate`."""

import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pellucid.certainty import doubtful, flat
from pellucid.engine.cost import Cost
from pellucid.engine.mixing import SamplesMix
from pellucid.engine.progress import showing
from pellucid.engine.run import Engine, Precision, batch_limit, copies_limit, in_chunks
from pellucid.errors import InvalidType, InvalidValue, ModelError, ModelFailed, PellucidError, SomeFailed
from pellucid.explanation import Explanation
from pellucid.images import Batch
from pellucid.layers import layer_names
from pellucid.methods import Method, get_method, parse
from pellucid.methods.finding import Finding, Told
from pellucid.methods.registry import WRAPPERS
from pellucid.model import Model
from pellucid.outputs import Reading, ends_in
from pellucid.prediction import Prediction
from pellucid.probe import Probe
from pellucid.target import OneTarget, Output, Score, Target, class_name

TOP = 5
ALONE = (
    "The samples of a batch influence one another in this model ({}): each was run alone, so that its scores "
    "do not depend on which samples run together."
)


@dataclass(frozen=True)
class Request:
    """One method with the options it was given, and all its options settled."""

    method: Method
    given: Mapping[str, Any]
    options: Mapping[str, Any]

    @classmethod
    def of(cls, spec: str, given: Mapping[str, Any] | None = None) -> "Request":
        """From a name, or as on the command line: "smooth-grad:samples=20", with further options."""
        name, written = parse(spec)
        method = get_method(name)
        given = {**written, **(given or {})}
        return cls(method, given, method.settle(given))

    @property
    def title(self) -> str:
        """The method and the options it was given, as on the command line."""
        shown = ",".join(f"{name}={_written(value)}" for name, value in self.given.items())
        return self.method.name + (f":{shown}" if shown else "")


@dataclass(frozen=True)
class Outcome:
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


@dataclass(frozen=True)
class Part:
    """What one request found about some of the images; its tensors are kept on the CPU."""

    images: list[int]
    finding: Finding
    score: Score
    value: Float[Tensor, " N"]
    predictions: list[list[Prediction]]
    notes: list[list[str]]
    lowered: list[bool]
    chosen: Mapping[str, Any]
    failures: Mapping[int, PellucidError]


@dataclass
class Answer:
    """What has come of one request for one target.

    `refused` is an error that is about the request or the model, `first` that of several images together.
    """

    parts: list[Part] = field(default_factory=list)
    failures: dict[int, PellucidError] = field(default_factory=dict)
    refused: PellucidError | None = None
    first: PellucidError | None = None
    cost: Cost = field(default_factory=Cost)

    def take(self, images: range, found: Part | PellucidError, cost: Cost) -> None:
        """Adds what came of some images."""
        self.cost += cost
        if isinstance(found, Part):
            self.parts.append(found)
            self.failures |= found.failures
        elif len(images) == 1:
            self.failures[images[0]] = found
        else:
            self.first = self.first or found
        if self.refuses(found):
            self.refused = found

    def refuses(self, found: Part | PellucidError) -> TypeGuard[PellucidError]:
        """Whether an error is about the request or the model, whatever the image."""
        return isinstance(found, PellucidError) and not isinstance(found, ModelFailed) and not self.parts


Tried = tuple[int, range, Part | PellucidError, Cost]
"""The number of a request, some images, and what came of them at what cost."""


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
    **options: Any,
) -> Explanation:
    """Explains why a model gave images their scores, by one method.

    Args:
        model: a `Model`, any `nn.Module`, or a differentiable callable (N, C, H, W) -> (N, K).
        images: a path, a PIL image, a uint8 array (H, W[, C]), a list of these, or a float tensor
            (C, H, W) or (N, C, H, W), which is taken as the model's own input. A model of several inputs
            takes a tuple (images, further inputs) or a mapping of its arguments' names; tensors with one row
            per image follow the images.
        method: a registered method, with options if you like: "smooth-grad:samples=20".
        target: None for the class each image is predicted as; a class index or name; one of these per
            image; a `Contrast(a, b)`; or a callable `raw output -> (N,)`, which scores each row by itself. It
            is shown chunks of the images and perturbed copies of them; with a second argument,
            `(raw output, indices) -> (N,)`, it is told which image each row was made of.
        output: "logit", "probability" or "loss"; None for the method's own, as in its paper.
        seed: of everything drawn at random.
        batch_size: the most samples run together; never changes a result beyond rounding.
        precision: "float32" runs the model in its own precision, "bfloat16" under autocast. "auto" is its
            own, except for altered copies whose scores do no harm in bfloat16, on devices that are faster in
            it: the error this brings is measured on each image, kept below half of a sampled map's standard
            error, which then holds both, or a thousandth of another's maximum. The result says what ran.
        progress: True for a bar, False for none, None for one where standard error is a terminal.
        forward_kwargs: further arguments of the model, by name: tensors with one row per image follow the
            images into chunks and perturbed copies, everything else is passed as it is.
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
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> e = explain(net, torch.rand(2, 3, 9, 12), method="grad-cam", target=1)
        >>> e.attribution.shape, e.raw.shape, e.cost.forward, e.cost.backward
        (torch.Size([2, 1, 9, 12]), torch.Size([2, 7, 10]), 2, 2)
    """
    wrapped = Model.wrap(model)
    request = Request.of(method, options)
    (outcome,), _ = investigate(
        wrapped,
        wrapped.read(images, forward_kwargs),
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
        raise SomeFailed(outcome.answer, outcome.images, outcome.failures)
    return outcome.answer


def investigate(
    model: Model,
    batch: Batch,
    requests: Sequence[Request],
    targets: Sequence[Target],
    *,
    output: Output | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    precision: Precision = "auto",
    progress: bool | None = None,
) -> tuple[list[Outcome], Cost]:
    """Every request for every target over one batch, evidence shared; and what was really run.

    Targets are the outer order. A method that cannot explain this model, or an image that cannot be
    explained, costs the others nothing: the outcome holds the reason. Images that fail together, with nothing
    to tell which of them it was, are run again one by one, for the methods that failed.
    """
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise InvalidType(f"seed must be a whole number; got {seed!r}.")
    limit, most = batch_limit(batch_size, model.device), copies_limit(batch_size, model.device)
    for target in targets:
        if _is_list(target) and len(target) != len(batch.inputs):
            raise InvalidValue(
                f"There must be one target per image: {len(batch.inputs)} images, {len(target)} targets."
            )
    asked = [
        (t, request, request.method.explains(request.options) if output is None else output)
        for t in range(len(targets))
        for request in requests
    ]
    announced = [request.method.cost(request.options).forward for _, request, _ in asked]
    left = len(batch.inputs) * sum(announced)
    engine, plan = Engine(model, precision, batch_size, watching=True), _plan(model, requests)
    engine.extras, engine.images = batch.extras, len(batch.inputs)
    answers = [Answer() for _ in asked]
    with showing(model.name, left, progress) as engine.progress, engine.session(seed):
        inputs = batch.inputs.clone() if batch.inputs.is_inference() else batch.inputs

        def tried(images: range, which: Iterable[int]) -> Iterator[Tried]:
            """What comes of some images: together, and where that fails for a request, of each of them."""
            nonlocal left
            start, stop = images.start, images.stop
            base = Probe(engine, inputs[start:stop], seed=seed, limit=most, numbers=images, **plan)
            probes: dict[tuple[int, str], Probe] = {}
            again: list[int] = []
            which = [i for i in which if answers[i].refused is None]
            for t, _, about in (asked[i] for i in which):  # evidence is made for all targets that ask for it
                if (t, about) not in probes:
                    probes[t, about] = base.about(_some(targets[t], start, stop), about)
            for i in which:
                t, request, about = asked[i]
                found: Part | PellucidError
                with engine.bill() as bill:
                    try:
                        found = _examine(probes[t, about], request, len(inputs))
                    except PellucidError as error:
                        found = error
                if len(images) > 1 and isinstance(found, PellucidError) and not answers[i].refuses(found):
                    again.append(i)
                left -= len(images) * announced[i]
                engine.progress.left(left)
                yield i, images, found, bill.total()
            del base, probes  # with what they keep of a pass
            left += len(images) * sum(announced[i] for i in again)
            for image in images if again else ():
                yield from tried(range(image, image + 1), again)

        def step(start: int, stop: int) -> None:
            # Nothing is kept before all of it is done: where memory runs out the chunk begins again.
            for i, images, found, cost in list(tried(range(start, stop), range(len(asked)))):
                answers[i].take(images, found, cost)

        try:
            in_chunks(len(inputs), limit, step)
        except SamplesMix as mixed:
            engine.alone, engine.batch_size, most = mixed.suspect, 1, 1
            answers[:] = [Answer() for _ in asked]
        if engine.alone:
            in_chunks(len(inputs), 1, step)
    return [
        _outcome(request, answer, batch, engine, seed)
        for answer, (_, request, _) in zip(answers, asked, strict=True)
    ], engine.spent


def _outcome(request: Request, answer: Answer, batch: Batch, engine: Engine, seed: int) -> Outcome:
    n = len(batch.inputs)
    answer.parts.sort(key=lambda part: part.images[0])
    images = tuple(image for part in answer.parts for image in part.images)
    known, refused = answer.failures, answer.refused
    failures = {i: known.get(i) or refused for i in range(n) if i not in images}
    reasons = {i: error for i, error in failures.items() if error is not None}
    if not images:
        return Outcome(request, answer.first or refused or reasons[min(reasons)], images, reasons)
    return Outcome(request, _assemble(request, answer, batch, engine, seed), images, reasons)


def _plan(model: Model, requests: Sequence[Request]) -> dict[str, Any]:
    """All evidence the requests will ask for, so that one pass serves them; wrapped ones ask for more."""
    layers: list[str] = []
    for request in requests:
        if request.method.reads == "layers" and request.method.shares(request.options):
            try:
                layers += layer_names(model.network, request.options["layer"], request.options.get("layout"))
            except PellucidError:
                continue  # this request will fail by itself
    with_input = any(r.method.reads == "input gradient" and r.method.shares(r.options) for r in requests)
    return {"layers": tuple(dict.fromkeys(layers)), "with_input": with_input}


def _some(target: Target, start: int, stop: int) -> Target:
    """The targets of some of the images."""
    return target[start:stop] if _is_list(target) else target


def _is_list(target: Target) -> TypeGuard[Sequence[OneTarget] | Tensor]:
    return (isinstance(target, Sequence) and not isinstance(target, str)) or (
        isinstance(target, Tensor | np.ndarray) and target.ndim > 0
    )


def _examine(probe: Probe, request: Request, total: int) -> Part:
    """Runs one method on a chunk of `total` images, and looks at what it gives; failed ones are left out."""
    engine, n = probe.engine, len(probe.inputs)
    probe.start()
    finding = request.method(probe, **request.options)
    value = probe.value
    left = [image for image in range(n) if image not in probe.failures]
    predictions = _read(probe, n, left)
    finding, value = _kept(finding), value.cpu()
    map = finding.map
    for image in left:
        if not map[image].isfinite().all():
            number = probe.numbers[image]
            text = (
                f"{request.title} gave a value that is not finite for image {number}: the model's "
                "activations or gradients overflow. Try the model in float32."
            )
            probe.fail(image, InvalidValue(text))
    probe.note("The map is zero everywhere.", (map == 0).flatten(1).all(1) & ~_noted(probe, n))
    for image in left:
        if text := flat(map[image], probe.inputs[image]):
            probe.note(text, torch.arange(n, dtype=torch.long, device="cpu") == image)
    if engine.alone and (total > 1 or request.method.cost(request.options).forward > 1):
        probe.note(ALONE.format(engine.alone))
    notes = [[text for text, images in probe.notes.items() if i in images] for i in range(n)]
    left = [image for image in left if image not in probe.failures]
    return Part(
        [probe.numbers[image] for image in left],
        finding if len(left) == n else _of(finding, left),
        probe.score if len(left) == n else probe.score.pick(left),
        value[left],
        [predictions[image] for image in left],
        [notes[image] for image in left],
        [image in probe.lowered for image in left],
        probe.chosen,
        {probe.numbers[image]: error for image, error in probe.failures.items()},
    )


def _noted(probe: Probe, n: int) -> Tensor:
    noted = torch.zeros(n, dtype=torch.bool, device="cpu")
    for images in probe.notes.values():
        noted[images] = True
    return noted


def _read(probe: Probe, n: int, left: Sequence[int]) -> list[list[Prediction]]:
    """What each image that is `left` is predicted as; how the outputs were read is reported and noted."""
    try:
        outputs, reading = probe.outputs, probe.reading
    except ModelError:
        if probe.score.function is None:
            raise
        return [[] for _ in range(n)]  # a callable target may read outputs that hold no classes
    for what, choice in reading.chosen.items():
        probe.choose(what, choice)
    if probe.score.function is None:
        for text in filter(None, (ends_in(reading, probe.output), reading.note)):
            probe.note(text)
    elif probe.engine.model.labels is not None and len(probe.engine.model.labels) != max(2, outputs.shape[1]):
        return [[] for _ in range(n)]
    predictions: list[list[Prediction]] = [[] for _ in range(n)]
    for image, row in zip(left, _predictions(probe.engine.model, outputs[list(left)], reading), strict=True):
        predictions[image] = row
    return predictions


def _predictions(model: Model, outputs: Float[Tensor, "N K"], reading: Reading) -> list[list[Prediction]]:
    p = reading.scale.probabilities(outputs.float())
    values, classes = p.topk(min(TOP, p.shape[1]), dim=1)
    return [
        [
            Prediction(index, class_name(model, index, outputs.shape[1]), probability)
            for index, probability in zip(row, odds, strict=True)
        ]
        for row, odds in zip(classes.tolist(), values.tolist(), strict=True)
    ]


def _assemble(request: Request, answer: Answer, batch: Batch, engine: Engine, seed: int) -> Explanation:
    """One Explanation of all images from those of its chunks."""
    parts = answer.parts
    images = [image for part in parts for image in part.images]
    lowered = [low for part in parts for low in part.lowered]
    ran = [engine.ran_in() + (" and bfloat16" if low else "") for low in lowered]
    details = {**_joined([part.finding.details for part in parts]), **_choices(parts, batch)}
    if len(set(ran)) > 1:
        details["precisions"] = ran
    height, width = batch.inputs.shape[-2:]
    raw = torch.cat([part.finding.map for part in parts])
    stderrs = [part.finding.stderr for part in parts if part.finding.stderr is not None]
    deltas = [part.finding.delta for part in parts if part.finding.delta is not None]
    scores = [part.score for part in parts]
    method = request.method
    explanation = Explanation(
        method=method.name,
        options={name: _plain(value) for name, value in request.options.items() if _matters(name, request)},
        attribution=at_input(raw, (height, width)),
        raw=raw,
        target=[c for s, p in zip(scores, parts, strict=True) for c in _classes(s, len(p.value))],
        labels=[name for score in scores for name in score.names],
        score=torch.cat([part.value for part in parts]).float(),
        output=scores[0].output,
        prediction=[row for part in parts for row in part.predictions],
        model=engine.model.name,
        paper=method.paper,
        seed=seed,
        precision=max(ran, key=len),
        versions=versions(),
        cost=answer.cost,
        pictures=[batch.pictures[image] for image in images],
        boxes=[batch.boxes[image] for image in images],
        layer=list(parts[0].finding.layers),
        stderr=at_input(torch.cat(stderrs), (height, width)) if stderrs else None,
        delta=torch.cat(deltas) if deltas else None,
        details=details,
        trace=_joined([part.finding.trace for part in parts]),
        notes=[
            ([picture.note] if picture.note else []) + notes
            for picture, notes in zip(
                [batch.pictures[image] for image in images],
                (notes for part in parts for notes in part.notes),
                strict=True,
            )
        ],
    )
    if explanation.stderr is not None:
        for image, notes in enumerate(explanation.notes):
            notes += doubtful(explanation.relative_error(image), explanation.stderr[image], request.options)
    return explanation


def _choices(parts: Sequence[Part], batch: Batch) -> dict[str, Any]:
    """What was inferred, and what else there was; the first chunk speaks for all."""
    chosen = dict(batch.chosen) | {
        what: choice for part in reversed(parts) for what, choice in part.chosen.items()
    }
    return {"chosen": chosen} if chosen else {}


def _joined(told: Sequence[Told]) -> dict[str, Any]:
    """What was told of all images: tensors, or lists where shapes differ from image to image; or by layer."""
    joined: dict[str, Any] = {}
    for name in told[0]:
        values: list[Any] = [one[name] for one in told]
        if isinstance(values[0], Mapping):
            joined[name] = _joined(values)
            continue
        tensors = [value for value in values if isinstance(value, Tensor)]
        alike = len(tensors) == len(values) and len({tensor.shape[1:] for tensor in tensors}) == 1
        joined[name] = torch.cat(tensors) if alike else [one for value in values for one in value]
    return joined


def _of(finding: Finding, images: Sequence[int]) -> Finding:
    """A finding about some of its images."""

    def some(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: some(one) for name, one in value.items()}
        return [value[image] for image in images] if isinstance(value, list) else value[images]

    return Finding(
        some(finding.map),
        None if finding.stderr is None else some(finding.stderr),
        some(finding.details),
        finding.layers,
        None if finding.delta is None else some(finding.delta),
        some(finding.trace),
    )


def at_input(map: Tensor, size: tuple[int, int]) -> Float[Tensor, "N D H W"]:
    """A raw map at the input's resolution, float32: (N, h, w) resized bilinearly, (N, C, H, W) as it is."""
    if map.ndim == 4:
        return map.float()
    if map.shape[1:] == size:  # also keeps infinite standard errors, which weights of 0 would make NaN
        return map[:, None].float()
    return interpolate(map[:, None].float(), size, mode="bilinear", align_corners=False)


def _kept(finding: Finding) -> Finding:
    """A finding as it is kept: its tensors on the CPU and outside the graph, half precision widened."""

    def kept(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu()
        return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor

    def all_kept(told: Any) -> Any:
        if isinstance(told, Mapping):
            return {name: all_kept(value) for name, value in told.items()}
        return kept(told) if isinstance(told, Tensor) else [kept(one) for one in told]

    return Finding(
        kept(finding.map),
        None if finding.stderr is None else kept(finding.stderr),
        all_kept(finding.details),
        finding.layers,
        None if finding.delta is None else kept(finding.delta),
        all_kept(finding.trace),
    )


def _classes(score: Score, n: int) -> list[int | None]:
    return [None] * n if score.classes is None else score.classes.tolist()


def _matters(name: str, request: Request) -> bool:
    """Whether an option is stored: a wrapper's only where it was used."""
    wrapped = {"augment": request.options["augment"]}
    return wrapped.get(name, bool(request.options["smooth"])) if name in _WRAPPERS else True


_WRAPPERS = {option.name for option in WRAPPERS}


def _plain(value: Any) -> Any:
    """An option as it is stored: modules by their class, tuples as lists."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__} {tuple(value.shape)}"
    if isinstance(value, Path):
        return str(value)
    if not isinstance(value, str | int | float | list | tuple | None):  # a module, a callable, a picture
        return getattr(value, "__name__", type(value).__name__)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _written(value: Any) -> str:
    """An option as it is written on the command line."""
    plain = _plain(value)
    return ",".join(map(str, plain)) if isinstance(plain, list) else str(plain)


@cache
def versions() -> dict[str, str]:
    """The versions a result was made with."""
    names = ("pellucid", "torch", "timm", "torchvision")
    return {"python": platform.python_version(), **{n: importlib.metadata.version(n) for n in names}}
