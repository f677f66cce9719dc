"""Trials: all maps of a unit, right and wrong ones, how good each is, and what interventions say of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.progress import showing
from pellucid.engine.run import Engine
from pellucid.errors import PellucidError
from pellucid.explain import Explained, explain_all
from pellucid.measure import Maps, measure_all
from pellucid.metric_request import MetricRequest
from pellucid.metrics.floors import floors
from pellucid.metrics.interventions import BLOCK, Interventions, cell_evidence, intervene
from pellucid.model import Model
from pellucid.probe import Probe
from pellucid.request import Request
from pellucid.truth.quality import GRID, quality
from pellucid.truth.tasks import Half, PastedTask, Task, task_of
from pellucid.truth.units import Unit, Units, units
from pellucid.truth.wrong import redrawn, uninformed

Origin = Literal["method", "floor", "decoy", "other class", "redrawn"]
"""Where a map comes from: a method; the picture alone; the box of another element; a method asked about
another class, or about the same network with weights drawn anew."""

METHODS = (
    "grad-cam",
    "grad-cam++",
    "layer-cam",
    "hirescam",
    "eigen-cam",
    "score-cam",
    "ablation-cam",
    "saliency",
    "input-x-gradient",
    "smooth-grad:samples=16",
    "integrated-gradients",
    "guided-backprop",
    "full-grad",
    "lrp",
    "deep-lift",
    "rise:samples=400",
    "occlusion",
    "lime:samples=200,segments=grid:8",
    "kernel-shap:samples=200,segments=grid:8",
)
"""The methods that are tried unless others are named: of each family some, sampled ones with few samples."""

METHODS_FOR_PHOTOGRAPHS = (
    "grad-cam",
    "grad-cam++",
    "layer-cam",
    "hirescam",
    "eigen-cam",
    "saliency",
    "input-x-gradient",
    "smooth-grad:samples=8",
    "integrated-gradients:steps=16",
    "guided-backprop",
    "full-grad",
    "lrp",
    "deep-lift",
    "rise:samples=200",
)
"""The same for the large network, of which a pass costs a hundred times as much."""

METRICS = ("intervention", "deletion", "insertion")
"""The metrics that are tried unless others are named."""

BLOCKS = 4
"""Blocks of interventions made of each picture."""

CHEAP = 4
"""Methods of at most so many passes are asked about the redrawn network, too."""

_OWN_SEED = 7919  # of the floors that are judged: not those that judge


@dataclass(frozen=True)
class TriedMap:
    """One map of a unit.

    Attributes:
        title: the method with its options, or what else it is.
        origin: where it comes from.
        evidence: (cells,), as the judge sees it.
        passes: what it cost, forward and backward.
        share, hit: how good it is; NaN of a diffuse decision.
        points_at: which element of the scene it hits best; None if the picture has none to hit.
        metrics: what each metric says of it.
    """

    title: str
    origin: Origin
    evidence: Float[Tensor, " cells"]
    passes: int
    share: float
    hit: float
    points_at: int | None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def q(self) -> float:
        """The mean of share and hit."""
        return (self.share + self.hit) / 2


@dataclass(frozen=True)
class Trial:
    """A unit with all its maps.

    Attributes:
        unit: the decision.
        half: of its task.
        maps: of all origins.
        interventions: by the target's score.
        levels: evidence of the floors that the judge compares with, by name.
        failures: methods that could not explain it, and why.
    """

    unit: Unit
    half: Half
    maps: tuple[TriedMap, ...]
    interventions: Interventions
    levels: Mapping[str, Float[Tensor, " cells"]]
    failures: Mapping[str, str]


@dataclass(frozen=True)
class Session:
    """What was tried of one task.

    Attributes:
        task: its name.
        half: what it is for.
        localised: whether its decisions have a place.
        accuracy: of its network on new scenes; None of the network for photographs.
        enough: whether that is high enough.
        seen, right, decisions: of how many scenes the units were chosen: see `Units`.
        trials: one for each unit.
    """

    task: str
    half: Half
    localised: bool
    accuracy: float | None
    enough: bool
    seen: int
    right: int
    decisions: int
    trials: tuple[Trial, ...]


def run_session(
    task: Task | str,
    pictures: int,
    *,
    methods: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Session:
    """Explains and judges the first units of a task by all methods, and wrong maps beside them.

    Args:
        task: or its name.
        pictures: how many units.
        methods: names with options, as for `compare`; None is METHODS, or METHODS_FOR_PHOTOGRAPHS.
        metrics: names with options, as for `measure`; None is METRICS, for photographs no metric.
        seed: draws scenes, samples and interventions.
        progress: whether bars are shown.

    Raises:
        NotFound: no task has that name.
        InvalidValue: a method or metric that there is not.
    """
    task = task_of(task)
    usual = (METHODS_FOR_PHOTOGRAPHS, ()) if isinstance(task, PastedTask) else (METHODS, METRICS)
    if not task.localised:
        metrics = ()  # there is nothing that they could be right about
    requests = [Request.of(method) for method in (usual[0] if methods is None else methods)]
    asked = [MetricRequest.of(metric) for metric in (usual[1] if metrics is None else metrics)]
    subject = task.subject(progress=progress)
    found = units(task, pictures, seed, progress=progress)
    trials = _trials(found, task.half, subject.model, requests, asked, seed, progress) if found else ()
    return Session(
        task.name,
        task.half,
        task.localised,
        subject.accuracy,
        subject.enough,
        found.seen,
        found.right,
        found.decisions,
        trials,
    )


@dataclass(frozen=True)
class _Made:
    """The maps of one title and origin, of all units: (N, D, H, W), NaN of those that have none."""

    title: str
    origin: Origin
    maps: Float[Tensor, "N D H W"]
    passes: int
    request: Request | None = None


def _trials(
    found: Units,
    half: Half,
    model: Model,
    requests: Sequence[Request],
    metrics: Sequence[MetricRequest],
    seed: int,
    progress: bool | None,
) -> tuple[Trial, ...]:
    inputs = torch.stack([unit.inputs for unit in found])
    made, failures = _made(found, inputs, model, requests, seed, progress)
    judged = [one for one in made if one.origin in ("method", "floor", "decoy")]
    values = _measured(model, inputs, judged, metrics, [unit.target for unit in found], seed, progress)
    done = _interventions(model, inputs, [unit.target for unit in found], seed, progress)
    trials = []
    for i, unit in enumerate(found):
        some = [one for one in made if one.maps[i].isfinite().all()]
        maps = torch.stack([one.maps[i].double().sum(0) for one in some])
        grid = done[i].grid
        evidence = grid.sums(maps)
        levels = floors(inputs[i : i + 1], torch.Generator("cpu").manual_seed(seed))
        tried = []
        for one, cells, share, hit, element in zip(some, evidence, *_compared(unit, evidence), strict=True):
            said = {name: float(values[one.title][name][i]) for name in values.get(one.title, {})}
            kept = said if one.origin in ("method", "floor", "decoy") else {}
            tried.append(TriedMap(one.title, one.origin, cells, one.passes, share, hit, element, kept))
        known = {name: cell_evidence(grid, map)[0] for name, map in levels.items()}
        trials.append(Trial(unit, half, tuple(tried), done[i], known, failures))
    return tuple(trials)


def _compared(
    unit: Unit, evidence: Float[Tensor, "M cells"]
) -> tuple[list[float], list[float], list[int | None]]:
    """Of each map its share, its hit, and which element it hits best."""
    maps = evidence.view(-1, GRID, GRID).float()
    every = [
        quality(maps, torch.from_numpy(unit.scene.region(i))).hit for i in range(len(unit.scene.elements))
    ]
    points: list[int | None] = [int(i) for i in torch.stack(every).argmax(0)] if every else [None] * len(maps)
    if unit.truth is None:
        nothing = [float("nan")] * len(maps)
        return nothing, nothing, points
    found = quality(maps, unit.truth)
    return found.share.tolist(), found.hit.tolist(), points


def _made(
    found: Units,
    inputs: Float[Tensor, "N C H W"],
    model: Model,
    requests: Sequence[Request],
    seed: int,
    progress: bool | None,
) -> tuple[list[_Made], dict[str, str]]:
    """All maps of all units, and which methods cannot explain the model."""
    batch = model.read(inputs)
    targets, rivals = [unit.target for unit in found], [unit.rival for unit in found]
    count = len(requests)
    settings = {"seed": seed, "progress": progress}
    outcomes, _ = explain_all(model, batch, requests, [targets, rivals], **settings)
    failures = {
        one.request.title: str(one.answer)
        for one in outcomes[:count]
        if isinstance(one.answer, PellucidError)
    }
    made = [_of_method(one, "method", len(found)) for one in outcomes[:count]]
    made += [_of_method(one, "other class", len(found)) for one in outcomes[count:]]
    cheap = [request for request in requests if _is_cheap(request)]
    if cheap:
        learned_nothing = redrawn(model, seed)
        outcomes, _ = explain_all(learned_nothing, batch, cheap, [targets], **settings)
        made += [_of_method(one, "redrawn", len(found)) for one in outcomes]
    kept = [one for one in made if one is not None]
    each = [uninformed(unit, seed + _OWN_SEED) for unit in found]
    for title in dict.fromkeys(title for maps in each for title in maps):
        missing = torch.full((1, *inputs.shape[-2:]), torch.nan, dtype=torch.float32, device="cpu")
        origin: Origin = "decoy" if title == "decoy" else "floor"
        kept.append(_Made(title, origin, torch.stack([maps.get(title, missing) for maps in each]), 0))
    return kept, failures


def _is_cheap(request: Request) -> bool:
    cost = request.method.cost(request.options)
    return cost.forward + cost.backward <= CHEAP and not (cost.per_channel or cost.behind_per_channel)


def _of_method(outcome: Explained, origin: Origin, count: int) -> _Made | None:
    """The maps that came of a request, in the place of their units."""
    answer = outcome.answer
    if isinstance(answer, PellucidError):
        return None
    maps = answer.attribution.new_full((count, *answer.attribution.shape[1:]), torch.nan)
    maps[list(outcome.images)] = answer.attribution
    cost = answer.cost.share(len(outcome.images))
    passes = cost.forward + cost.backward + cost.resumed
    return _Made(outcome.request.title, origin, maps, passes, outcome.request)


def _measured(
    model: Model,
    inputs: Float[Tensor, "N C H W"],
    judged: Sequence[_Made],
    metrics: Sequence[MetricRequest],
    targets: list[int],
    seed: int,
    progress: bool | None,
) -> dict[str, dict[str, Float[Tensor, " N"]]]:
    """By map and metric, the values of all units, NaN where there is none; more is better."""
    if not metrics:
        return {}
    maps = [Maps(one.maps.nan_to_num(), one.request) for one in judged]
    rows, _ = measure_all(model, inputs, maps, metrics, target=targets, seed=seed, progress=progress)
    found: dict[str, dict[str, Float[Tensor, " N"]]] = {}
    for one, row in zip(judged, rows, strict=True):
        better = {
            asked.title: measured.value if asked.metric.higher_is_better else -measured.value
            for asked, measured in zip(metrics, row, strict=True)
        }
        found[one.title] = better
    return found


def _interventions(
    model: Model, inputs: Float[Tensor, "N C H W"], targets: Sequence[int], seed: int, progress: bool | None
) -> list[Interventions]:
    """The interventions on each picture, as the judge makes them."""
    engine = Engine(model, "float32", "auto", watching=True)
    engine.images = len(inputs)
    made = []
    with (
        showing("hiding parts", len(inputs) * BLOCKS * BLOCK, progress) as engine.progress,
        engine.session(seed),
    ):
        for i, target in enumerate(targets):
            probe = Probe(engine, inputs[i : i + 1], target, "logit", seed=seed, numbers=[i])
            made += intervene(probe.one(0), float(probe.score[0]), BLOCKS)
    return made


def first(done: Interventions, blocks: int) -> Interventions:
    """The interventions of the first blocks."""
    count = blocks * BLOCK
    return replace(
        done, hidden=done.hidden[:count], replacement=done.replacement[:count], drop=done.drop[:count]
    )
