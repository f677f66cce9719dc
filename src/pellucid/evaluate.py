"""The verb `evaluate`: methods by metrics over pictures, in a table with intervals."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pellucid.engine.progress import showing
from pellucid.errors import InvalidValue, PellucidError
from pellucid.evaluation.objects import Objects
from pellucid.evaluation.record import Column, Evaluation, assembled
from pellucid.explain import explain_all, versions
from pellucid.fingerprint import fingerprint
from pellucid.gathering import sources_of
from pellucid.measure import Maps, measure_all
from pellucid.metric_request import MetricRequest
from pellucid.model import Model
from pellucid.options.written import plain
from pellucid.request import Request
from pellucid.target import Output, Target

DEFAULT_METRICS = ("intervention", "deletion", "insertion", "sparseness")
"""What is measured unless asked otherwise."""


def evaluate(
    model: Model | nn.Module | Callable[[Tensor], Any],
    images: Any,
    methods: str | Sequence[str | tuple[str, Mapping[str, Any]]],
    metrics: str | Sequence[str | tuple[str, Mapping[str, Any]]] = DEFAULT_METRICS,
    *,
    boxes: Any = None,
    target: Target = None,
    output: Output | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    progress: bool | None = None,
    store: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Judges methods by metrics over pictures, one picture after another: memory holds the numbers alone.

    Args:
        model: a `Model`, any `nn.Module`, or a callable (N, C, H, W) -> (N, K).
        images: as for `explain`.
        methods: names with options, "smooth-grad:samples=20", or (name, options).
        metrics: likewise: "deletion:steps=100".
        boxes: where the objects are, for metrics of localisation: a COCO file, a folder of VOC files or of
            masks named as the pictures, a mapping of names to boxes (left, top, right, bottom) in pixels of
            the picture, or a bool tensor (N, H, W) over the inputs.
        target: as for `explain`.
        output: which number metrics read; None for each metric's own, as in its paper.
        seed: of everything drawn at random.
        batch_size: the most samples run together; never changes a result beyond rounding.
        progress: True for a bar, False for none, None for one where standard error is a terminal.
        store: a file of JSON lines that grows picture by picture. Called again with the same request, it goes
            on where the first call stopped; with another request it refuses.

    Returns:
        An `Evaluation`. What has no value for a picture is in its `missing`, with the reason.

    Raises:
        PellucidError: a method, metric or target that does not hold, no picture, or another request's store.

    Cost:
        For each picture the methods together, and each metric for each map: see `pellucid.metrics()`.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> found = evaluate(net, torch.rand(3, 3, 8, 8), ["saliency"], ["deletion:steps=4"], progress=False)
        >>> found["saliency", "deletion:steps=4"].count
        3
    """
    wrapped = Model.wrap(model)
    requests, judges = Request.several(methods), MetricRequest.several(metrics)
    if not requests or not judges:
        raise InvalidValue("There must be at least one method and one metric; got none.")
    sources = list(picture_sources(images))
    if not sources:
        raise InvalidValue("There must be at least one picture; got none.")
    if boxes is None and any("truth" in one.metric.needs for one in judges):
        needy = ", ".join(one.title for one in judges if "truth" in one.metric.needs)
        raise InvalidValue(f"boxes must say where the objects are, for {needy}; got none.")
    known = boxes if boxes is None or isinstance(boxes, Tensor) else Objects.of(boxes)
    columns = tuple(
        Column(
            one.title,
            one.metric.name,
            one.metric.higher_is_better,
            output or one.metric.output,
            {name: plain(value) for name, value in one.options.items()},
        )
        for one in judges
    )
    titles = tuple(request.title for request in requests)
    # Not without a store: to tell weights apart, all of them are read.
    asked = (
        {}
        if store is None
        else {
            "model": wrapped.name,
            "methods": [[r.method.name, {k: str(plain(v)) for k, v in r.options.items()}] for r in requests],
            "metrics": [[c.title, c.output, {k: str(v) for k, v in c.protocol.items()}] for c in columns],
            "target": str(plain(target)),
            "boxes": _told_apart(known),
            "seed": seed,
            "weights": fingerprint(wrapped),
            "pellucid": versions()["pellucid"],
        }
    )
    results = _stored(store, asked)
    done = {result["key"]: result for result in results}
    found: list[Mapping[str, Any]] = []
    with showing("evaluating", len(sources), progress) as bar:
        for number, (key, source) in enumerate(sources):
            one_target = _of(target, number, len(sources))
            if (known_result := done.get(key)) is None:
                truth = known[number : number + 1] if isinstance(known, Tensor) else known
                known_result = {
                    "key": key,
                    **_one(wrapped, source, requests, judges, one_target, truth, output, seed, batch_size),
                }
                _keep(store, known_result)
            found.append(known_result)
            bar.advance(1)
    return assembled(wrapped.name, titles, columns, found)


def _one(
    model: Model,
    source: Any,
    requests: Sequence[Request],
    judges: Sequence[MetricRequest],
    target: Target,
    truth: Any,
    output: Output | None,
    seed: int,
    batch_size: int | str,
) -> dict[str, Any]:
    """All metrics of all methods on one picture, as a plain record: values, or why there are none."""
    batch = model.read(source)
    started = time.perf_counter()
    outcomes, cost = explain_all(
        model, batch, requests, [target], output=output, seed=seed, batch_size=batch_size, progress=False
    )
    answers = [outcome.answer for outcome in outcomes]
    maps = [
        Maps(answer.attribution, request)
        for answer, request in zip(answers, requests, strict=True)
        if not isinstance(answer, PellucidError)
    ]
    size = (batch.inputs.shape[-2], batch.inputs.shape[-1])
    mask = truth
    if isinstance(truth, Objects):
        found = truth.mask(batch.pictures[0], batch.boxes[0], size)
        mask = None if found is None else found[None]
    measured, judging = measure_all(
        model, batch.inputs, maps, judges, target=target, truth=mask, output=output,
        extras=batch.extras, seed=seed, batch_size=batch_size, progress=False,
    )  # fmt: skip
    rows = iter(measured)
    values: list[list[float | str]] = []
    for answer in answers:
        if isinstance(answer, PellucidError):
            values.append([str(answer)] * len(judges))
        else:
            values.append([str(m.failures[0]) if m.failures else float(m.value[0]) for m in next(rows)])
    explained = [answer for answer in answers if not isinstance(answer, PellucidError)]
    total = cost + judging
    return {
        "picture": batch.pictures[0].name,
        "label": explained[0].labels[0] if explained else "",
        "values": values,
        "seconds": {
            request.title: answer.cost.seconds
            for answer, request in zip(answers, requests, strict=True)
            if not isinstance(answer, PellucidError)
        },
        "cost": {**vars(total), "seconds": time.perf_counter() - started},
    }


def picture_sources(images: Any) -> Iterator[tuple[str, Any]]:
    """Each picture with a key by which a stored result is found again."""
    if isinstance(images, Tensor):
        batch = images if images.ndim == 4 else images[None]
        for i in range(len(batch)):
            yield f"{i}", batch[i : i + 1]
        return
    for i, source in enumerate(sources_of(images)):
        named = isinstance(source.given, str | os.PathLike)
        yield f"{i}:{source.given}" if named else f"{i}", source.given


def _of(target: Target, number: int, count: int) -> Target:
    """The target of one picture."""
    if (isinstance(target, Tensor) and target.ndim > 0) or isinstance(target, list | tuple):
        if len(target) != count:
            raise InvalidValue(f"There must be one target per image: {count} images, {len(target)} targets.")
        return [target[number]]
    return target


def _told_apart(objects: Objects | Tensor | None) -> str:
    """What tells where objects are said to be from anywhere else; a mask by the path of its file."""
    if objects is None:
        return ""
    told = objects.cpu().numpy().tobytes() if isinstance(objects, Tensor) else repr(objects).encode()
    return hashlib.sha256(told).hexdigest()


def _stored(store: str | os.PathLike[str] | None, asked: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The results of an earlier call; the file is begun where there is none. A last line cut off is dropped.

    Raises:
        InvalidValue: the file holds the results of another request, or is no such file.
    """
    if store is None:
        return []
    file = Path(store)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"request": asked}) + "\n", encoding="utf-8")
        return []
    text = file.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    try:
        first, *lines = map(json.loads, whole.splitlines())
        stored = first["request"]
    except (ValueError, KeyError, TypeError):
        raise InvalidValue(
            f"{str(file)!r} must be a store of pellucid.evaluate; it is another file."
        ) from None
    other = [name for name in asked if stored.get(name) != asked[name]]
    if other:
        raise InvalidValue(
            f"{str(file)!r} holds an evaluation of another request: {', '.join(other)} differ. Give another "
            "store, or ask for the same."
        )
    if whole != text:
        file.write_text(whole, encoding="utf-8")
    return lines


def _keep(store: str | os.PathLike[str] | None, result: Mapping[str, Any]) -> None:
    if store is not None:
        with Path(store).open("a", encoding="utf-8") as file:
            file.write(json.dumps(result, allow_nan=False) + "\n")
