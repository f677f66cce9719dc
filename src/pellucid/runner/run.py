"""The verb `run`: a data set of any size, explained into a store that loses nothing."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO, get_args

from torch import Tensor, nn

from pellucid.attribute import attribute
from pellucid.choices import Engine as EngineName
from pellucid.choices import MapKind, Output, Precision
from pellucid.engine.chunks import batch_limit
from pellucid.engine.progress import showing
from pellucid.errors import InvalidType, InvalidValue, PellucidError, short_traceback
from pellucid.explain import versions
from pellucid.fingerprint import fingerprint
from pellucid.images import Picture
from pellucid.metric_request import MetricRequest
from pellucid.model import Model
from pellucid.request import Request
from pellucid.runner.engines import Engine, Local
from pellucid.runner.job import LABEL, Job, chunk_size, request_record
from pellucid.runner.leases import Leases, alone
from pellucid.runner.loading import ModelSource, itself
from pellucid.runner.plan import Plan, write_plan
from pellucid.runner.progress import Counts, counting
from pellucid.runner.results import Run
from pellucid.runner.schema import arrow, plan_schema
from pellucid.runner.shards import ShardLoop, damaged
from pellucid.runner.sources import Source, open_source
from pellucid.runner.stopping import stopping
from pellucid.runner.store import Store, differing, make_store
from pellucid.target import Contrast, OneTarget

SHARD = 512
"""Pictures of a shard, unless said, or so many that each worker gets some."""
TRIED = 64
"""Passes a picture up to which a method is tried on one picture before the run begins."""


@short_traceback
def run(
    model: Model | nn.Module | Callable[[Tensor], Any] | str | ModelSource,
    source: Any,
    methods: str | Sequence[str | tuple[str, Mapping[str, Any]]] = "grad-cam",
    *,
    store: str | os.PathLike[str],
    target: Any = None,
    metrics: str | Sequence[str | tuple[str, Mapping[str, Any]]] = (),
    output: Output | None = None,
    engine: EngineName | str = "local",
    workers: int | None = None,
    address: str | None = None,
    gpus_per_worker: float = 0.0,
    shard_size: int | str = "auto",
    maps: str = "raw",
    thumbnails: bool = False,
    retry_errors: bool = False,
    seed: int = 0,
    batch_size: int | str = "auto",
    precision: Precision = "auto",
    readers: int | None = None,
    progress: bool | None = None,
    json_progress: TextIO | None = None,
) -> Run:
    """Explains all pictures of a source, of any number, into a folder of Parquet files.

    Called again with the same request it goes on where it stopped, whatever stopped it, and ends with the
    same rows. A picture that cannot be read, or that a method fails on, has a row that says why.

    Args:
        model: a `Model`, any `nn.Module`, a callable (N, C, H, W) -> (N, K), or a text for `pellucid.load`.
        source: folders, globs, lists (CSV, Parquet, JSONL), WebDataset tars, COCO or VOC files, Hugging Face
            folders, by path or URL, one or several; pictures or tensors in memory; a torch `Dataset`.
        methods: names with options, "smooth-grad:samples=20", or (name, options).
        store: the run's folder; made where it is not there.
        target: None for the predicted class, a class, a `Contrast`, "label" for each picture's own label; or
            several of these, each of which is explained for every picture.
        metrics: what judges each map: "deletion:steps=100". Boxes and masks come from the source.
        output: which number a class target stands for; None for each method's own, as in its paper.
        engine: "local", this process; "processes" of this machine; "ray", a cluster.
        workers: processes or Ray actors; None for as many as there are cores, or GPUs where they take one.
        address: of a Ray cluster; None starts Ray on this machine.
        gpus_per_worker: the share of a GPU that each Ray actor takes.
        shard_size: pictures of a shard: what is done again after a crash.
        maps: "raw", as the formula gives them; "full", at the input's resolution; "none", numbers alone.
        thumbnails: whether a small picture is kept with each row.
        retry_errors: whether pictures that failed in an earlier call are tried again.
        seed: of everything drawn at random.
        batch_size: the most samples run together; never changes a result beyond rounding.
        precision: see `explain`.
        readers: threads of each worker that read pictures; None for one a core, at least 4.
        progress: True for a bar, False for none, None for one where standard error is a terminal.
        json_progress: where a line of JSON is written every five seconds.

    Returns:
        A `Run`: all rows, as Arrow, pandas, polars or SQL.

    Raises:
        InvalidValue, InvalidType: a request that does not hold, or another one than the store's.
        NotWritten: the disk is full; what was done stays, and the same call goes on when there is room.
        ExtraMissing: pyarrow or Ray is not installed.
        KeyboardInterrupt: after Ctrl-C, when the chunk was finished and written; a second one ends at once.

    Cost:
        For each picture, method and target what the method costs, and each metric; nothing else runs the
        model, but for one picture at the beginning, which tells whether the methods suit the model.

    Example:
        >>> import tempfile, torch
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     r = run(net, torch.rand(5, 3, 8, 8), ["saliency"], store=folder, progress=False)
        ...     print(r.count, r.to_arrow(["row", "method"]).num_rows, r.complete)
        5 5 True
    """
    if engine not in get_args(EngineName):
        raise InvalidValue(f"engine must be one of {', '.join(get_args(EngineName))}; got {engine!r}.")
    job, opened, loaded = plan_job(
        model, source, methods, target=target, metrics=metrics, output=output, maps=maps,
        thumbnails=thumbnails, seed=seed, batch_size=batch_size, precision=precision, readers=readers,
    )  # fmt: skip
    asked = request_record(job, loaded, fingerprint(loaded))
    folder = make_store(store)
    team = _workers(engine, workers)
    with Leases(folder / "leases") as leases, stopping() as stop:
        division = _Division(shard_size, team, ModelSource.of(model))
        found = _begun(folder, asked, job, opened, loaded, division, leases, progress)
        plan = Plan(folder / "plan")
        per_picture = len(job.methods) * len(job.targets)
        _check_shards(found, per_picture, plan.count, progress)
        _explain_all(
            found, plan, job, leases, stop, per_picture, retry_errors, progress, json_progress,
            lambda: _engine(engine, job, loaded, team, address, gpus_per_worker),
        )  # fmt: skip
    return Run(found, job.read)


def plan_job(
    model: Model | nn.Module | Callable[[Tensor], Any] | str | ModelSource,
    source: Any,
    methods: str | Sequence[str | tuple[str, Mapping[str, Any]]] = "grad-cam",
    *,
    target: Any = None,
    metrics: str | Sequence[str | tuple[str, Mapping[str, Any]]] = (),
    output: Output | None = None,
    maps: str = "raw",
    thumbnails: bool = False,
    seed: int = 0,
    batch_size: int | str = "auto",
    precision: Precision = "auto",
    readers: int | None = None,
) -> tuple[Job, Source, Model]:
    """What workers are told, the source, and the model, of arguments as of `run`; nothing is explained yet.

    Raises:
        InvalidValue, InvalidType: a request that does not hold.
    """
    arrow()
    loaded_by = ModelSource.of(model)
    loaded = loaded_by.load()
    judges = MetricRequest.several(metrics)
    kinds: tuple[MapKind, ...] = get_args(MapKind)
    kept = next((kind for kind in kinds if kind == maps), None)
    if kept is None:
        raise InvalidValue(f"maps must be one of {', '.join(kinds)}; got {maps!r}.")
    opened = source if isinstance(source, Source) else open_source(source)
    job = Job(
        load=loaded_by.load,
        read=opened.reader,
        methods=tuple((request.method.name, dict(request.given)) for request in _requests(methods)),
        targets=_targets(loaded, target),
        metrics=tuple((judge.metric.name, dict(judge.given)) for judge in judges),
        output=output,
        seed=seed,
        batch_size=batch_limit(batch_size, loaded.device),
        precision=precision,
        maps=kept,
        thumbnails=bool(thumbnails),
        carried=arrow().schema(list(opened.carried)),
        by_order=_by_order(loaded, opened),
        readers=readers or max(4, os.cpu_count() or 1),
    )
    return job, opened, loaded


def _explain_all(
    store: Store, plan: Plan, job: Job, leases: Leases, stop: threading.Event, per_picture: int, retry: bool,
    progress: bool | None, lines: TextIO | None, begin: Callable[[], Engine],
) -> None:  # fmt: skip
    """Does what is left, and says how to go on where it was stopped."""
    done = 0 if retry else store.pictures_done(plan.count)
    if done == plan.count:
        return
    counts = Counts(plan.count, done, done)
    with counting(counts, progress, lines) as told:
        loop = ShardLoop(store, plan, leases, per_picture, retry, told, stop)
        engine = begin()
        try:
            whole = loop.run(engine)
        finally:
            engine.close()
    if not whole:
        text = (
            f"Stopped after {counts.done} of {plan.count} pictures; they are in {str(store.folder)!r}. "
            "The same call goes on from there."
        )
        raise KeyboardInterrupt(text)


def _requests(methods: str | Sequence[str | tuple[str, Mapping[str, Any]]]) -> list[Request]:
    requests = Request.several(methods)
    titles = [request.title for request in requests]
    twice = sorted({title for title in titles if titles.count(title) > 1})
    if not requests or twice:
        came = f"{twice[0]!r} twice" if twice else "none"
        raise InvalidValue(f"methods must name at least one method, and each once; got {came}.")
    return requests


def _targets(model: Model, target: Any) -> tuple[OneTarget, ...]:
    """What is explained of every picture; classes are looked up, so that a wrong one is refused at once."""
    listed = list(target) if isinstance(target, list | tuple) else [target]
    for one in listed:
        if callable(one) or not (one is None or isinstance(one, int | str | Contrast)):
            raise InvalidType(
                "target must be a class, a Contrast, 'label', None for the predicted class, or a list of "
                f"these; got {type(one).__name__}, which a store cannot name."
            )
        for part in (one.a, one.b) if isinstance(one, Contrast) else (one,):
            if part is not None and part not in (LABEL, "predicted"):
                model.class_index(part)
    found = tuple(None if one == "predicted" else one for one in listed)
    if not found or len(set(map(str, found))) < len(found):
        raise InvalidValue(f"target must be one target, or several that differ; got {target!r}.")
    return found


def _by_order(model: Model, source: Source) -> tuple[str, ...] | None:
    """The source's class names, where a label is the model's class of the same place in their order.

    So torchvision's ImageFolder numbers its folders. It is taken where no folder has a name of the model's,
    and there are as many folders as the model has classes.
    """
    if not source.classes or model.labels is None or len(source.classes) != len(model.labels):
        return None
    for name in source.classes:
        try:
            model.class_index(name)
        except PellucidError:
            continue
        return None
    return tuple(source.classes)


def _workers(engine: str, workers: int | None) -> int:
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        raise InvalidValue(f"workers must be a whole number of at least 1; got {workers!r}.")
    if engine == "local":
        if workers not in (None, 1):
            raise InvalidValue(f"workers is for engine='processes' or 'ray'; got {workers} for 'local'.")
        return 1
    return workers or (os.cpu_count() or 1 if engine == "processes" else 0)


def _engine(name: str, job: Job, model: Model, workers: int, address: str | None, gpus: float) -> Engine:
    """The engine; in this process with the model that is there already."""
    if name == "local":
        return Local(replace(job, load=partial(itself, model)))
    from pellucid.runner.teams import Dispatch

    if name == "processes":
        from pellucid.runner.processes import ProcessTeam

        return Dispatch(ProcessTeam(job, workers), job)
    from pellucid.runner.cluster import RayTeam

    return Dispatch(RayTeam(job, workers or None, address, gpus), job)


@dataclass(frozen=True)
class _Division:
    """How the work is divided, and what loads the model."""

    shard_size: int | str
    workers: int
    loaded_by: ModelSource


def _begun(
    folder: Path, asked: Mapping[str, Any], job: Job, source: Source, model: Model, division: _Division,
    leases: Leases, progress: bool | None,
) -> Store:  # fmt: skip
    """The store of the request: that which is there, or a new one with its plan.

    Raises:
        InvalidValue: the store is another request's.
    """
    with alone(leases, "plan"):
        if (folder / "run.json").exists():
            known = Store.open(folder)
            there = {**known.request, "source": dict(known.source)}
            other = differing(there, {**asked, "source": dict(source.description)})
            if other:
                raise InvalidValue(
                    f"{str(folder)!r} holds a run of another request: {'; '.join(other)}. Give another "
                    "store, or ask for the same."
                )
            return known
        count = 0
        schema = plan_schema(list(source.carried))
        with showing("listing pictures", 0, progress, note=lambda: f"{count} so far") as bar:
            for so_far in write_plan(folder / "plan", source.batches(), schema):
                bar.at_least(so_far - count)
                bar.advance(so_far - count)
                count = so_far
        _try(Plan(folder / "plan"), job, model)
        chunk = chunk_size(job)
        made = Store(
            folder,
            asked,
            {
                "shard_size": _shard_size(division.shard_size, chunk, count, division.workers),
                "chunk_size": chunk,
                "batch_size": job.batch_size,
                "labels": "in the order of the source's classes" if job.by_order else "by name or number",
                "model_spec": division.loaded_by.spec,
                "model_options": dict(division.loaded_by.options),
            },
            dict(source.description),
            job.carried,
            versions(),
        )
        made.write()
        return made


def _shard_size(asked: int | str, chunk: int, count: int, workers: int) -> int:
    """Pictures of a shard: whole chunks, and at least four shards for each worker."""
    if asked == "auto":
        fair = -(-count // (4 * max(1, workers)))
        return max(chunk, min(SHARD, fair) // chunk * chunk)
    if not isinstance(asked, int) or isinstance(asked, bool) or asked < 1:
        raise InvalidValue(f"shard_size must be 'auto' or a whole number of at least 1; got {asked!r}.")
    return asked


def _try(plan: Plan, job: Job, model: Model) -> None:
    """Runs the methods on the first picture that can be read; refuses what the model cannot be asked.

    Raises:
        PellucidError: a method that does not suit the model, whatever the picture.
    """
    cheap = [r for r in job.requests if r.method.cost(r.options).forward <= TRIED]
    for row in plan.rows(0, min(8, plan.count)).to_pylist():
        try:
            opened, _ = job.read(row["uri"], row["member"], row["id"], range=model.range)
            inputs = model.read([opened] if isinstance(opened, Picture) else opened).inputs
        except PellucidError:
            continue
        targets = [target for target in job.targets if target != LABEL] or [None]
        outcomes, _ = attribute(
            model, inputs, cheap, targets, output=job.output, seed=job.seed, batch_size=job.batch_size,
            precision=job.precision, progress=False,
        )  # fmt: skip
        for outcome in outcomes:
            if isinstance(outcome.answer, PellucidError):
                raise outcome.answer
        return


def _check_shards(store: Store, per_picture: int, count: int, progress: bool | None) -> None:
    """Takes damaged shards away, so that they are done again, and says which."""
    import warnings

    with showing("checking what is done", len(store.done()), progress) as bar:
        broken = damaged(store, per_picture, count, bar.advance)
    for number in broken:
        path = store.path(number)
        warnings.warn(
            f"The shard {str(path)!r} is damaged; its pictures are done again.", UserWarning, stacklevel=4
        )
        path.unlink(missing_ok=True)
