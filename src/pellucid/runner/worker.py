"""The worker: pictures of a plan in, rows of a shard out; the same function in this process and any other."""

import ctypes
import io
import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.allocator import give_back
from pellucid.attribute import attribute
from pellucid.certainty import relative_error
from pellucid.engine.chunks import out_of_memory
from pellucid.errors import InvalidValue, PellucidError, first_line
from pellucid.evaluation.objects import boxes_in_input, mask_in_input
from pellucid.explain import at_input
from pellucid.images import Box, Picture
from pellucid.measure import Maps, measure_all
from pellucid.metric_request import MetricRequest
from pellucid.outcomes import Attribution, Outcome
from pellucid.request import Request
from pellucid.runner.job import LABEL, Chunk, Job, target_text
from pellucid.runner.maps import encode_map, inside, statistics
from pellucid.runner.schema import arrow, row_schema
from pellucid.runner.sources import read_picture
from pellucid.target import OneTarget, Target

if TYPE_CHECKING:
    import pyarrow

THUMBNAIL = 128
"""Pixels of a thumbnail's longer side."""
TRIM = 32
"""Pictures after which free memory is given back: what readers and model leave is in pieces."""


@dataclass
class Reading:
    """One picture on its way: what the row tells of it, and the model's input or why there is none."""

    columns: dict[str, Any]
    inputs: Float[Tensor, "1 C H W"] | None = None
    mask: Bool[Tensor, "H W"] | None = None
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    kind: str = "picture"


def one_core() -> None:
    """Makes PyTorch use one core in this thread alone.

    Threads that read pictures would wait for each other's parts of every small sum, and for the model's. What
    PyTorch itself offers is for the whole process; OpenMP's own setting is each thread's.
    """
    torch.get_num_threads()  # takes over the process's number, once a thread, before it is changed here
    with suppress(AttributeError, OSError):  # a build without OpenMP
        ctypes.CDLL(None).omp_set_num_threads(1)


class Worker:
    """Holds the model, and makes rows of pictures."""

    def __init__(self, job: Job) -> None:
        if job.threads is not None:
            torch.set_num_threads(job.threads)
        self.job, self.model = job, job.load()
        self.requests, self.judges = job.requests, job.judges
        self.schema = row_schema(list(job.carried), [judge.title for judge in self.judges])
        self._since = 0
        self._pool = ThreadPoolExecutor(
            job.readers, thread_name_prefix="pellucid-reader", initializer=one_core
        )
        self._class_index = lru_cache(maxsize=100_000)(self._find_class)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- reading -------------------------------------------------------------------------------------------

    def begin(self, chunk: Chunk) -> "list[Future[Reading]]":
        """Begins to read a chunk's pictures, in threads."""
        rows = zip(chunk.rows, chunk.plan.to_pylist(), strict=True)
        return [self._pool.submit(self._read, number, planned) for number, planned in rows]

    def _read(self, number: int, planned: dict[str, Any]) -> Reading:
        """Reads and preprocesses one picture; whatever goes wrong is about that picture alone."""
        label, notes = planned["label"], []
        index = None
        try:
            index = None if label is None else self._class_index(label)
        except PellucidError as error:
            notes = [f"The label is none of the model's classes. {error}"]
        ready = Reading({**planned, "row": number, "label_index": index}, notes=notes)
        try:
            opened, digest = self.job.read(
                planned["uri"], planned["member"], planned["id"], range=self.model.range
            )
            ready.columns["digest"] = digest
            batch = self.model.read([opened] if isinstance(opened, Picture) else opened)
            picture, box = batch.pictures[0], batch.boxes[0]
            height, width = batch.inputs.shape[-2:]
            seen = [box.left, box.top, box.right, box.bottom]
            ready.columns |= {
                "width": picture.rgb.width, "height": picture.rgb.height, "seen": seen,
                "input_height": height, "input_width": width,
            }  # fmt: skip
            if self.job.thumbnails:
                ready.columns["thumbnail"] = _thumbnail(picture)
            ready.notes = [*picture.notes, *ready.notes]
            ready.mask = _object(planned, picture, box, (height, width))
            ready.inputs = batch.inputs
        except PellucidError as error:
            ready.error = str(error)
        except Exception as error:  # a decoder, a callable preprocess: the other pictures go on
            if out_of_memory(error) or isinstance(error, MemoryError):
                raise
            ready.error = f"{planned['id']} cannot be read: {type(error).__name__}: {first_line(error)}"
        return ready

    def _find_class(self, label: str) -> int:
        by_order = self.job.by_order
        if by_order is None:
            return self.model.class_index(label)
        if label not in by_order:
            raise InvalidValue(f"It must be one of the source's {len(by_order)} classes; got {label!r}.")
        return by_order.index(label)

    # --- explaining ----------------------------------------------------------------------------------------

    def explain(self, chunk: Chunk, reading: "Sequence[Future[Reading]]") -> "pyarrow.Table":
        """The rows of a chunk whose pictures were begun to be read; one a picture, method and target."""
        pictures = [self._finish(future, chunk, at) for at, future in enumerate(reading)]
        answers: dict[int, list[dict[str, Any]]] = {}
        for some in _of_one_shape(pictures, alone=chunk.alone):
            answers |= dict(zip(some, self._explain([pictures[at] for at in some]), strict=True))
        rows = [
            row
            for at, ready in enumerate(pictures)
            for row in (answers[at] if at in answers else failed_rows(self.job, self.requests, ready))
        ]
        self._since += len(pictures)
        if self._since >= TRIM:
            self._since = 0
            give_back()
        return arrow().Table.from_pylist(rows, schema=self.schema)

    def _finish(self, future: "Future[Reading]", chunk: Chunk, at: int) -> Reading:
        try:
            return future.result()
        except (MemoryError, RuntimeError):  # memory ran out with several in the making: now, alone
            return self._read(chunk.rows[at], chunk.plan.slice(at, 1).to_pylist()[0])

    def _explain(self, pictures: Sequence[Reading]) -> list[list[dict[str, Any]]]:
        """The rows of pictures of one shape; where memory runs out or the model fails, of half at a time."""
        try:
            return self._rows(pictures)
        except Exception as error:  # also what nobody foresaw: the other pictures go on
            if len(pictures) == 1:
                memory = out_of_memory(error) or isinstance(error, MemoryError)
                what = "Memory ran out" if memory else type(error).__name__
                pictures[0].error = f"{what}: {first_line(error)}"
                pictures[0].kind = "worker" if memory else "method"
                return [failed_rows(self.job, self.requests, pictures[0])]
        half = len(pictures) // 2
        return [*self._explain(pictures[:half]), *self._explain(pictures[half:])]

    def _rows(self, pictures: Sequence[Reading]) -> list[list[dict[str, Any]]]:
        job = self.job
        inputs = torch.cat([ready.inputs for ready in pictures if ready.inputs is not None])
        targets = [_targets(target, pictures) for target in job.targets]
        outcomes, _ = attribute(
            self.model, inputs, self.requests, targets, output=job.output, seed=job.seed,
            batch_size=job.batch_size, precision=job.precision, progress=False,
        )  # fmt: skip
        rows: list[list[dict[str, Any]]] = [[] for _ in pictures]
        for i, outcome in enumerate(outcomes):
            asked = job.targets[i // len(self.requests)]
            measured = self._measured(inputs, outcome, targets[i // len(self.requests)], pictures)
            answer = outcome.answer
            at = {image: k for k, image in enumerate(getattr(answer, "images", ()))}
            for image, ready in enumerate(pictures):
                columns = {
                    **ready.columns, "method": outcome.request.title, "target_asked": target_text(asked),
                    "notes": ready.notes,
                }  # fmt: skip
                if asked == LABEL and ready.columns["label_index"] is None:
                    label = ready.columns["label"]
                    why = "it has none" if label is None else f"{label!r} is none of the model's classes"
                    columns |= {"error": f"The target is the picture's label: {why}.", "error_kind": "label"}
                elif isinstance(answer, Attribution) and image in at:
                    columns |= self._found(answer, at[image], ready)
                    columns |= measured.get(image, {})
                else:
                    error = outcome.failures.get(image, answer)
                    columns |= {"error": str(error), "error_kind": "method"}
                rows[image].append(columns)
        for one in rows:
            for row in one[1:]:
                row["thumbnail"] = None
        return rows

    def _found(self, answer: Attribution, k: int, ready: Reading) -> dict[str, Any]:
        """What one method found of one picture."""
        map, function = answer.finding.map[k], answer.target_fn
        size = (ready.columns["input_height"], ready.columns["input_width"])
        best = answer.predictions[k][0] if answer.predictions[k] else None
        columns: dict[str, Any] = {
            "prediction": best and best.index,
            "prediction_label": best and best.label,
            "probability": best and best.probability,
            "target": None if function.classes is None else int(function.classes[k]),
            "target_label": function.names[k],
            "output": function.explained,
            "score": float(answer.score[k]),
            "layer": ",".join(answer.finding.layers),
            **statistics(map),
            "inside": None if ready.mask is None else inside(map, ready.mask),
            "notes": [*ready.notes, *answer.notes[k]],
        }
        if answer.finding.stderr is not None:
            error = relative_error(map.cpu(), answer.finding.stderr[k].cpu())
            columns["relative_error"] = error if math.isfinite(error) else None
        if self.job.maps != "none":
            kept = map if self.job.maps == "raw" else at_input(map[None], size)[0]
            columns |= encode_map(kept[0] if kept.ndim == 3 and len(kept) == 1 else kept)
        return columns

    def _measured(
        self, inputs: Float[Tensor, "N C H W"], outcome: Outcome, target: Target, pictures: Sequence[Reading]
    ) -> dict[int, dict[str, Any]]:
        """The metrics of one method's maps, by image."""
        answer = outcome.answer
        if not self.judges or isinstance(answer, PellucidError):
            return {}
        found: dict[int, dict[str, Any]] = {image: {"missing": []} for image in answer.images}
        with_truth = [image for image in answer.images if pictures[image].mask is not None]
        needs = [judge for judge in self.judges if "truth" in judge.metric.needs]
        others = [judge for judge in self.judges if judge not in needs]
        for images, judges in ((list(answer.images), others), (with_truth, needs)):
            if images and judges:
                self._measure(inputs, outcome.request, answer, images, judges, target, pictures, found)
        for image in answer.images:
            if image not in with_truth:
                found[image]["missing"] += [
                    f"{judge.title}: nobody said where the object is." for judge in needs
                ]
        return found

    def _measure(
        self, inputs: Tensor, request: Request, answer: Attribution, images: list[int],
        judges: list[MetricRequest], target: Target, pictures: Sequence[Reading],
        found: dict[int, dict[str, Any]],
    ) -> None:  # fmt: skip
        job = self.job
        at = [answer.images.index(image) for image in images]
        size = (inputs.shape[-2], inputs.shape[-1])
        masks = [pictures[image].mask for image in images]
        truth = torch.stack([mask for mask in masks if mask is not None]) if masks[0] is not None else None
        one_each: Target = [target[image] for image in images] if isinstance(target, list) else target
        (measured,), _ = measure_all(
            self.model, inputs[images], [Maps(at_input(answer.finding.map[at], size), request)], judges,
            target=one_each, truth=truth, output=job.output, seed=job.seed, batch_size=job.batch_size,
            progress=False,
        )  # fmt: skip
        for judge, values in zip(judges, measured, strict=True):
            for k, image in enumerate(images):
                if k in values.failures:
                    found[image]["missing"].append(f"{judge.title}: {values.failures[k]}")
                else:
                    found[image][judge.title] = float(values.value[k])


def failed_rows(job: Job, requests: Sequence[Request], ready: Reading) -> list[dict[str, Any]]:
    """The rows of a picture that has no map by any method."""
    return [
        {
            **ready.columns,
            "method": request.title,
            "target_asked": target_text(target),
            "notes": ready.notes,
            "error": ready.error,
            "error_kind": ready.kind,
        }
        for target in job.targets
        for request in requests
    ]


def _targets(target: OneTarget, pictures: Sequence[Reading]) -> Target:
    """A target for `attribute`; a picture without a label is asked what it is predicted as, and left out."""
    return [ready.columns["label_index"] for ready in pictures] if target == LABEL else target


def _of_one_shape(pictures: Sequence[Reading], *, alone: bool) -> list[list[int]]:
    """The pictures that can be run together, in the order of the first of each shape."""
    groups: dict[Any, list[int]] = {}
    for at, ready in enumerate(pictures):
        if ready.inputs is not None:
            groups.setdefault(at if alone else tuple(ready.inputs.shape[1:]), []).append(at)
    return list(groups.values())


def _thumbnail(picture: Picture) -> bytes:
    small = picture.rgb.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _object(
    planned: dict[str, Any], picture: Picture, box: Box, size: tuple[int, int]
) -> Bool[Tensor, "H W"] | None:
    """Which pixels of the input show the object, where the plan says it."""
    if planned["mask"] is not None:
        opened, _ = read_picture(planned["mask"], None, planned["mask"])
        if not isinstance(opened, Picture):
            raise InvalidValue(f"The mask {planned['mask']!r} must be a picture.")
        pixels = np.asarray(opened.opened)
        return mask_in_input(pixels, planned["mask"], picture.rgb.size, box, size)
    if planned["boxes"]:
        return boxes_in_input([Box(*edges) for edges in planned["boxes"]], box, size)
    return None
