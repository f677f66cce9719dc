"""What a worker is told: the model and the request, as one value that can be sent anywhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pellucid.choices import MapKind, Precision
from pellucid.metric_request import MetricRequest
from pellucid.model import Model
from pellucid.options.written import plain
from pellucid.request import Request
from pellucid.runner.sources.source import Reader
from pellucid.target import Contrast, OneTarget, Output

if TYPE_CHECKING:
    import pyarrow

LABEL = "label"
"""The target that is each picture's own label."""


@dataclass(frozen=True)
class Job:
    """What is done with every picture.

    Attributes:
        load: gives the model; called once by each worker.
        read: reads the picture of a row of the plan.
        methods, metrics: names with the options that were given.
        targets: each a class, a `Contrast`, None for the predicted class, or "label" for the picture's own.
        output: which number a class target stands for; None for each method's own.
        seed: of everything drawn at random.
        batch_size: the most samples run together.
        precision: see `explain`.
        maps: what of each map is kept.
        thumbnails: whether a small picture is kept.
        carried: the columns that come along, as an Arrow schema.
        by_order: the source's class names, where a label is the model's class of the same place in the order
            of the alphabet; None where labels are the model's own names or numbers.
        readers: threads that read pictures.
        threads: of PyTorch, in a worker that is a process of its own; None for its own default.
    """

    load: Callable[[], Model]
    read: Reader
    methods: tuple[tuple[str, Mapping[str, Any]], ...]
    targets: tuple[OneTarget, ...]
    metrics: tuple[tuple[str, Mapping[str, Any]], ...]
    output: Output | None
    seed: int
    batch_size: int
    precision: Precision
    maps: MapKind
    thumbnails: bool
    carried: "pyarrow.Schema"
    by_order: tuple[str, ...] | None = None
    readers: int = 4
    threads: int | None = None

    @property
    def requests(self) -> list[Request]:
        """The methods, their options resolved."""
        return [Request.of(name, given) for name, given in self.methods]

    @property
    def judges(self) -> list[MetricRequest]:
        """The metrics, their options resolved."""
        return [MetricRequest.of(name, given) for name, given in self.metrics]


@dataclass(frozen=True)
class Chunk:
    """Some pictures of one shard that are explained together.

    Attributes:
        shard, number: which chunk of which shard.
        rows: the pictures' numbers in the plan.
        plan: their rows of the plan.
        alone: whether each picture is run by itself, as those are with which a worker died.
    """

    shard: int
    number: int
    rows: tuple[int, ...]
    plan: "pyarrow.Table" = field(repr=False)
    alone: bool = False


def target_text(target: OneTarget) -> str:
    """A target as it is written on the command line, and in the column `target_asked`.

    >>> target_text(None), target_text(Contrast("cat", "dog")), target_text(3)
    ('predicted', 'cat^dog', '3')
    """
    if target is None:
        return "predicted"
    return f"{target.a}^{target.b}" if isinstance(target, Contrast) else str(target)


def request_record(job: Job, model: Model, weights: str) -> dict[str, Any]:
    """What tells one run from another, as JSON."""
    return {
        "model": model.name,
        "weights": weights,
        "preprocess": repr(model.preprocess if model.preprocess is not None else model.transform),
        "methods": [[r.method.name, {k: _known(v) for k, v in r.options.items()}] for r in job.requests],
        "titles": [request.title for request in job.requests],
        "targets": [target_text(target) for target in job.targets],
        "metrics": [[r.metric.name, {k: _known(v) for k, v in r.options.items()}] for r in job.judges],
        "columns": [request.title for request in job.judges],
        "output": job.output,
        "seed": job.seed,
        "precision": job.precision,
        "maps": job.maps,
        "thumbnails": job.thumbnails,
    }


def chunk_size(job: Job) -> int:
    """How many pictures are handed to the model in one call: fewer where a picture takes many passes.

    A run that is stopped finishes its chunk, which must not take long.
    """
    passes = sum(max(1, request.method.cost(request.options).forward) for request in job.requests)
    return max(1, min(8 * job.batch_size, 2048 // max(1, passes * len(job.targets))))


def _known(value: Any) -> Any:
    """An option's value as JSON, or as text where that has no such value."""
    simple = plain(value)
    return simple if simple is None or isinstance(simple, bool | int | float | str) else str(simple)
