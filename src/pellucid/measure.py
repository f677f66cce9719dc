"""The tensor core of judging: maps and metrics in, a number of each map and image out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pellucid.attribute import some_targets
from pellucid.bound_method import BoundMethod
from pellucid.engine.chunks import batch_limit, gradient_batch_limit
from pellucid.engine.cost import Cost
from pellucid.engine.mixing import RowsUnknown, SamplesMix
from pellucid.engine.precision import Precision
from pellucid.engine.progress import showing
from pellucid.engine.run import Engine
from pellucid.errors import ModelError, PellucidError
from pellucid.inputs import Extras
from pellucid.metric_request import MetricRequest
from pellucid.metrics.measurement import Measurement
from pellucid.model import Model
from pellucid.probe import Probe
from pellucid.request import Request
from pellucid.target import Output, Target


@dataclass(frozen=True)
class Maps:
    """Maps to be judged: `attribution` (N, 1 or C, H, W), and the request that made them, where one did."""

    attribution: Float[Tensor, "N D _ _"]
    request: Request | None = None


@dataclass
class Measured:
    """What one metric says of the maps of all images.

    Attributes:
        request: the metric with its options.
        output: which number of the model it read.
        value: (N,) float64; NaN for an image in `failures`.
        details: tensors with the images first, of images that have a value.
        failures: images without a value, counted from 0, and why.
        cost: what it took.
    """

    request: MetricRequest
    output: str
    value: Float[Tensor, " N"]
    details: Mapping[str, Tensor] = field(default_factory=dict)
    failures: dict[int, PellucidError] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)


def measure(
    model: Model | nn.Module | Callable[[Tensor], Any],
    inputs: Float[Tensor, "N C H W"],
    attribution: Float[Tensor, "N D _ _"],
    metric: str,
    *,
    method: str | None = None,
    target: Target = None,
    truth: Bool[Tensor, "N H W"] | None = None,
    output: Output | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    progress: bool | None = False,
    **options: Any,
) -> Measured:
    """Judges the maps of some inputs by one metric.

    Args:
        model: a `Model`, any `nn.Module`, or a callable (N, C, H, W) -> (N, K).
        inputs: (N, C, H, W), the model's own input.
        attribution: (N, 1 or C, H, W), from wherever it comes.
        metric: a registered metric, with options if you like: "deletion:steps=100".
        method: the method that made the maps, for metrics that explain again.
        target: as for `explain`.
        truth: (N, H, W), where the object is, for metrics of localisation.
        output: "logit", "probability" or "loss"; None for the metric's own, as in its paper.
        seed: of everything drawn at random.
        batch_size: the most samples run together; never changes a result beyond rounding.
        progress: as for `explain`.
        **options: the metric's.

    Returns:
        `Measured`, of which `value` is (N,).

    Raises:
        PellucidError: a metric, option, map or target that does not hold, or no image has a value.

    Cost:
        The metric's: see `pellucid.metrics()`.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
        >>> measure(net, torch.rand(2, 3, 4, 4), torch.rand(2, 1, 4, 4), "deletion", steps=4).value.shape
        torch.Size([2])
    """
    request = Request.of(method) if method is not None else None
    ((found,),), _ = measure_all(
        Model.wrap(model),
        inputs,
        [Maps(attribution, request)],
        [MetricRequest.of(metric, options)],
        target=target,
        truth=truth,
        output=output,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    if len(found.failures) == len(inputs):
        raise found.failures[0]
    return found


def measure_all(
    model: Model,
    inputs: Float[Tensor, "N C H W"],
    maps: Sequence[Maps],
    metrics: Sequence[MetricRequest],
    *,
    target: Target = None,
    truth: Bool[Tensor, "N H W"] | None = None,
    output: Output | None = None,
    extras: Extras | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    precision: Precision = "float32",
    progress: bool | None = None,
) -> tuple[list[list[Measured]], Cost]:
    """Every metric of every map: for each of `maps` a list, one `Measured` for each metric, and the cost.

    What fails for one image, map or metric costs the others nothing. Arguments are those of `measure`.
    """
    engine = Engine(model, precision, batch_size, watching=True)
    engine.extras, engine.images = extras, len(inputs)
    limit, most = batch_limit(batch_size, model.device), gradient_batch_limit(batch_size, model.device)
    size = (inputs.shape[-2], inputs.shape[-1])
    announced = sum(m.metric.passes(m.options, size).forward for m in metrics) * len(maps)
    everything = [(one, judge) for one in range(len(maps)) for judge in range(len(metrics))]
    parts: dict[tuple[int, int], list[_Part]] = {at: [] for at in everything}

    def judged(images: range, which: Sequence[tuple[int, int]]) -> None:
        """The metrics of some images: together, and where that fails, of each of them."""
        start, stop = images.start, images.stop
        base = Probe(engine, inputs[start:stop], seed=seed, limit=most, numbers=images)
        about = {output or metrics[judge].metric.output for _, judge in which}
        probes = {kind: base.about(some_targets(target, start, stop), kind) for kind in about}
        again: list[tuple[int, int]] = []
        for one, judge in which:
            asked, request = metrics[judge], maps[one].request
            probe = probes[output or asked.metric.output]
            probe.start()
            found: Measurement | PellucidError
            with engine.bill() as bill:
                try:
                    found = asked.metric(
                        probe,
                        maps[one].attribution[start:stop].to(inputs.device),
                        explain=None
                        if request is None
                        else BoundMethod(request, output or request.method.explains(request.options)),
                        truth=None if truth is None else truth[start:stop].cpu(),
                        **asked.options,
                    )
                except PellucidError as error:
                    found = error
                except RowsUnknown as unknown:
                    if len(images) == 1:
                        raise
                    found = ModelError(unknown.note)
            if isinstance(found, PellucidError) and len(images) > 1:
                again.append((one, judge))
            else:
                failures = {0: found} if isinstance(found, PellucidError) else probe.failures
                parts[one, judge].append(_Part(images, found, dict(failures), bill.total()))
        for image in images if again else ():
            judged(range(image, image + 1), again)

    def all_images(chunk: int) -> None:
        for start in range(0, len(inputs), chunk):
            judged(range(start, min(start + chunk, len(inputs))), everything)

    title = f"judging {len(maps)} map{'s' if len(maps) > 1 else ''}"
    with showing(title, len(inputs) * announced, progress) as engine.progress, engine.session(seed):
        try:
            all_images(limit)
        except SamplesMix as mixed:
            engine.alone, engine.batch_size, most = mixed.note, 1, 1
            parts.update((at, []) for at in everything)
            all_images(1)
    joined = [
        [_joined(asked, output, parts[one, judge], len(inputs)) for judge, asked in enumerate(metrics)]
        for one in range(len(maps))
    ]
    return joined, engine.spent


@dataclass(frozen=True)
class _Part:
    """What a metric said of some images; of those in `failures`, counted within them, nothing."""

    images: range
    found: Measurement | PellucidError
    failures: Mapping[int, PellucidError]
    cost: Cost


def _joined(request: MetricRequest, output: Output | None, parts: Sequence[_Part], total: int) -> Measured:
    """What was said of all images."""
    value = torch.full((total,), torch.nan, dtype=torch.float64, device="cpu")
    failures: dict[int, PellucidError] = {}
    details: list[Mapping[str, Tensor]] = []
    for part in parts:
        failures |= {part.images[image]: error for image, error in part.failures.items()}
        if isinstance(part.found, PellucidError):
            continue
        left = [image for image in range(len(part.images)) if image not in part.failures]
        value[[part.images[image] for image in left]] = part.found.value[left]
        details.append({name: tensor[left] for name, tensor in part.found.details.items()})
    names = details[0] if details else {}
    return Measured(
        request,
        output or request.metric.output,
        value,
        {name: torch.cat([one[name] for one in details]) for name in names},
        failures,
        sum((part.cost for part in parts), Cost()),
    )
