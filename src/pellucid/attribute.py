"""The tensor core that every verb calls: inputs and requests in, one outcome per request and target out.

No pictures are read and nothing is drawn; what one image or method cannot give costs the others nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.certainty import flat
from pellucid.engine.chunks import batch_limit, copies_limit, in_chunks
from pellucid.engine.cost import Cost
from pellucid.engine.mixing import SamplesMix
from pellucid.engine.precision import HALF, Precision
from pellucid.engine.progress import showing
from pellucid.engine.run import Engine
from pellucid.errors import InvalidType, InvalidValue, ModelError, ModelFailed, PellucidError
from pellucid.inputs import Extras
from pellucid.layers import layer_names
from pellucid.methods.finding import Finding, concatenated
from pellucid.model import Model
from pellucid.outputs import Reading, ends_in
from pellucid.prediction import Prediction
from pellucid.probe import Probe
from pellucid.request import Request
from pellucid.target import OneTarget, Output, Target, TargetFn, class_name

TOP = 5


@dataclass(frozen=True)
class Attribution:
    """What one request gave for one target: of some of the images, the tensors where they were computed.

    Attributes:
        images: which, counted from 0, in order.
        finding: the method's map, standard error, details.
        target_fn: the target, resolved for these images.
        score: (N,) the explained number of each.
        predictions: the classes of the highest probability of each.
        notes: what was said of each.
        lowered: whether some scores that count were had in bfloat16, of each.
        chosen: what was inferred, and what else there was.
        precision: what the model ran in, unless lowered.
        cost: what the request would have cost alone.
        seed: of everything drawn.
    """

    images: tuple[int, ...]
    finding: Finding
    target_fn: TargetFn
    score: Float[Tensor, " N"]
    predictions: Sequence[list[Prediction]]
    notes: Sequence[list[str]]
    lowered: Sequence[bool]
    chosen: Mapping[str, Any]
    precision: str = "float32"
    cost: Cost = field(default_factory=Cost)
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What one request gave for one target.

    Attributes:
        request: what was asked.
        answer: the `Attribution` of some images, or, where no image has one, the reason why.
        failures: the other images, counted from 0, and why they have none.
    """

    request: Request
    answer: Attribution | PellucidError
    failures: Mapping[int, PellucidError] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """What one request gave for a chunk of images, and those of the chunk for which it failed."""

    found: Attribution
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


def attribute(
    model: Model,
    inputs: Float[Tensor, "N C H W"],
    requests: Sequence[Request],
    targets: Sequence[Target] = (None,),
    *,
    output: Output | None = None,
    extras: Extras | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    precision: Precision = "auto",
    progress: bool | None = None,
) -> tuple[list[Outcome], Cost]:
    """Every request for every target over one batch of inputs, evidence shared; and what was really run.

    A method that cannot explain this model, or an image that cannot be explained, costs the others nothing:
    the outcome holds the reason. Images that fail together, with nothing to tell which of them it was, are
    run again one by one, for the methods that failed.

    Args:
        model: the model.
        inputs: (N, C, H, W), the model's own input, on its device.
        requests: methods with their options.
        targets: see `explain`; each request is answered for each.
        output: which number a class target stands for; None for each method's own.
        extras: what the model is given besides the inputs: see `Model.read`.
        seed: of everything drawn at random.
        batch_size: the most samples run together.
        precision: see `explain`.
        progress: see `explain`.

    Returns:
        One outcome for each target and request, targets in the outer order, and the cost of all. Tensors are
        outside the graph and stay on the device where they were computed.

    Raises:
        InvalidValue, InvalidType: a seed, batch size or number of targets that does not hold.

    Cost:
        What the methods cost together, less what they share.

    Example:
        >>> from torch import nn
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> requested = [Request.of("grad-cam"), Request.of("saliency")]
        >>> outcomes, cost = attribute(Model.wrap(net), torch.rand(2, 3, 9, 12), requested, [1])
        >>> [tuple(outcome.answer.finding.map.shape) for outcome in outcomes], cost.forward, cost.backward
        ([(2, 7, 10), (2, 1, 9, 12)], 2, 2)
    """
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise InvalidType(f"seed must be a whole number; got {seed!r}.")
    limit, most = batch_limit(batch_size, model.device), copies_limit(batch_size, model.device)
    for target in targets:
        if _is_list(target) and len(target) != len(inputs):
            raise InvalidValue(
                f"There must be one target per image: {len(inputs)} images, {len(target)} targets."
            )
    requested = [
        (t, request, request.method.explains(request.options) if output is None else output)
        for t in range(len(targets))
        for request in requests
    ]
    announced = [request.method.cost(request.options).forward for _, request, _ in requested]
    left = len(inputs) * sum(announced)
    engine, plan = Engine(model, precision, batch_size, watching=True), _plan(model, requests)
    engine.extras, engine.images = extras, len(inputs)
    answers = [Answer() for _ in requested]
    with showing(model.name, left, progress) as engine.progress, engine.session(seed):
        inputs = inputs.clone() if inputs.is_inference() else inputs

        def tried(images: range, which: Iterable[int]) -> Iterator[Tried]:
            """What comes of some images: together, and where that fails for a request, of each of them."""
            nonlocal left
            start, stop = images.start, images.stop
            base = Probe(engine, inputs[start:stop], seed=seed, limit=most, numbers=images, **plan)
            probes: dict[tuple[int, str], Probe] = {}
            again: list[int] = []
            which = [i for i in which if answers[i].refused is None]
            # All probes are there before the first is asked: evidence is made for all their targets.
            for t, _, about in (requested[i] for i in which):
                if (t, about) not in probes:
                    probes[t, about] = base.about(_some(targets[t], start, stop), about)
            for i in which:
                t, request, about = requested[i]
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
            for i, images, found, cost in list(tried(range(start, stop), range(len(requested)))):
                answers[i].take(images, found, cost)

        try:
            in_chunks(len(inputs), limit, step)
        except SamplesMix as mixed:
            engine.alone, engine.batch_size, most = mixed.note, 1, 1
            answers[:] = [Answer() for _ in requested]
        if engine.alone:
            in_chunks(len(inputs), 1, step)
    return [
        _outcome(request, answer, engine, seed)
        for answer, (_, request, _) in zip(answers, requested, strict=True)
    ], engine.spent


def _outcome(request: Request, answer: Answer, engine: Engine, seed: int) -> Outcome:
    """The outcome of all images, from what came of each chunk."""
    total = engine.images or 0
    parts = sorted((part.found for part in answer.parts), key=lambda part: part.images[0])
    images = tuple(image for part in parts for image in part.images)
    known, refused = answer.failures, answer.refused
    failures = {i: known.get(i) or refused for i in range(total) if i not in images}
    reasons = {i: error for i, error in failures.items() if error is not None}
    if not parts:
        return Outcome(request, answer.first or refused or reasons[min(reasons)], reasons)
    found = Attribution(
        images,
        concatenated([part.finding for part in parts]),
        TargetFn.concatenated([part.target_fn for part in parts]),
        torch.cat([part.score for part in parts]),
        [row for part in parts for row in part.predictions],
        [notes for part in parts for notes in part.notes],
        [lowered for part in parts for lowered in part.lowered],
        # The first chunk speaks for all.
        {what: choice for part in reversed(parts) for what, choice in part.chosen.items()},
        engine.ran_in(),
        answer.cost,
        seed,
    )
    return Outcome(request, found, reasons)


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
    score = probe.score
    left = [image for image in range(n) if image not in probe.failures]
    predictions = _read(probe, n, left)
    finding = finding.detached()
    map = finding.map
    for image in left:
        if not map[image].isfinite().all():
            number = probe.numbers[image]
            bad = map[image][~map[image].isfinite()][0].item()
            text = f"{request.title} gave a value that is not finite ({bad}) for image {number}."
            if engine.model.dtype in HALF or engine.precision == "bfloat16":
                text += " Half precision overflows where float32 does not: try the model in float32."
            probe.fail(image, InvalidValue(text))
    probe.note("The map is zero everywhere.", (map == 0).flatten(1).all(1).cpu() & ~_noted(probe, n))
    for image in left:
        if text := flat(map[image], probe.inputs[image]):
            probe.note(text, torch.arange(n, dtype=torch.long, device="cpu") == image)
    if engine.alone and (total > 1 or request.method.cost(request.options).forward > 1):
        probe.note(engine.alone)
    notes = [[text for text, images in probe.notes.items() if i in images] for i in range(n)]
    left = [image for image in left if image not in probe.failures]
    found = Attribution(
        tuple(probe.numbers[image] for image in left),
        finding if len(left) == n else finding.pick(left),
        probe.target_fn if len(left) == n else probe.target_fn.pick(left),
        score[left],
        [predictions[image] for image in left],
        [notes[image] for image in left],
        [image in probe.lowered for image in left],
        probe.chosen,
    )
    return Part(found, {probe.numbers[image]: error for image, error in probe.failures.items()})


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
        if probe.target_fn.function is None:
            raise
        return [[] for _ in range(n)]  # a callable target may read outputs that hold no classes
    for what, choice in reading.chosen.items():
        probe.choose(what, choice)
    if probe.target_fn.function is None:
        for text in filter(None, (ends_in(reading, probe.output), reading.note)):
            probe.note(text)
    elif probe.model.labels is not None and len(probe.model.labels) != max(2, outputs.shape[1]):
        return [[] for _ in range(n)]
    predictions: list[list[Prediction]] = [[] for _ in range(n)]
    for image, row in zip(left, _predictions(probe.model, outputs[list(left)], reading), strict=True):
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
