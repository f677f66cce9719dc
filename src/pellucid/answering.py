"""One request answered for one chunk of images, and what is said of each map."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.certainty import flat, saturated
from pellucid.engine.precision import HALF
from pellucid.errors import InvalidValue, ModelError
from pellucid.model import Model
from pellucid.outcomes import Attribution, Part
from pellucid.outputs import Reading, ends_in
from pellucid.prediction import Prediction
from pellucid.probe import Probe
from pellucid.request import Request
from pellucid.target import class_name

TOP = 5


def answer_request(probe: Probe, request: Request, total: int, alone: str | None = None) -> Part:
    """Runs one method on a chunk of `total` images, and looks at what it gives; failed ones are left out.

    `alone` is what is noted where each image is run alone.
    """
    engine, n = probe.engine, len(probe.inputs)
    probe.start()
    finding = request.method(probe, **request.options)
    score = probe.score.detach()
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
        texts = [flat(map[image], probe.inputs[image])]
        if request.method.family == "perturb" and probe.output == "probability":
            texts.append(saturated(map[image], float(score[image])))
        for text in filter(None, texts):
            probe.note(text, torch.arange(n, dtype=torch.long, device="cpu") == image)
    if alone and (total > 1 or request.method.cost(request.options).forward > 1):
        probe.note(alone)
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
    if reading.scale.name == "value":
        return predictions
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
