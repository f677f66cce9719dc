"""Altering pictures in the order of their maps, as deletion and insertion do."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.alteration import Alteration
from pellucid.attribute import some_targets
from pellucid.errors import PellucidError
from pellucid.explain import Explained
from pellucid.images import Batch
from pellucid.measure import Maps, measure_all
from pellucid.metric_request import MetricRequest
from pellucid.model import Model
from pellucid.preprocess import Preprocess
from pellucid.target import Output, Target


def alter_all(
    model: Model,
    batch: Batch,
    outcomes: Sequence[Explained],
    targets: Sequence[Target],
    *,
    output: Output | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    progress: bool | None = None,
) -> tuple[list[Alteration], list[str]]:
    """Every map's deletion and insertion, targets in the outer order, and why maps have none.

    Arguments are those of `judge_all`; the output is a probability unless said.

    Cost:
        58 forward for each map.
    """
    metrics = [MetricRequest.of("deletion", {}), MetricRequest.of("insertion", {})]
    colour = _colour(model, batch.inputs)
    found, without = [], []
    count = len(outcomes) // len(targets)
    for t, target in enumerate(targets):
        some = outcomes[t * count : (t + 1) * count]
        for image in range(len(batch.inputs)):
            maps = [
                (one.request.title, one.answer, one.images.index(image))
                for one in some
                if not isinstance(one.answer, PellucidError) and image in one.images
            ]
            if not maps:
                continue
            name = batch.pictures[image].name
            try:
                curves, _ = measure_all(
                    model,
                    batch.inputs[image : image + 1],
                    [Maps(answer.attribution[at][None]) for _, answer, at in maps],
                    metrics,
                    target=some_targets(target, image, image + 1),
                    output=output,
                    extras=None if batch.extras is None else batch.extras.of(image),
                    seed=seed,
                    batch_size=batch_size,
                    progress=progress,
                )
            except PellucidError as error:
                without.append(f"{name} has no curves: {error}")
                continue
            for (title, answer, at), (deletion, insertion) in zip(maps, curves, strict=True):
                failed = {**deletion.failures, **insertion.failures}
                if failed:
                    without.append(f"{name} has no curves by {title}: {failed[0]}")
                    continue
                found.append(
                    Alteration(
                        name,
                        answer.labels[at],
                        model.name,
                        title,
                        deletion.output,
                        deletion.details["curve"][0].double(),
                        insertion.details["curve"][0].double(),
                        deletion.details["parts"][0],
                        colour,
                    )
                )
    return found, without


def _colour(model: Model, inputs: Tensor) -> tuple[int, int, int]:
    """What a removed pixel, 0 in the model's own input, looks like."""
    black = torch.zeros_like(inputs[:1, :, :1, :1])
    if isinstance(model.preprocess, Preprocess) and inputs.shape[1] == len(model.preprocess.mean):
        red, green, blue = model.preprocess.undo(black)[0].rgb.resize((1, 1)).tobytes()
        return red, green, blue
    return 0, 0, 0
