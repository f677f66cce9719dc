"""What a model is, which layers and methods suit it, and what they cost: found by trying."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.engine.find_layers import survey
from pellucid.engine.run import Engine
from pellucid.errors import PellucidError, short_traceback
from pellucid.explain import explain_all
from pellucid.images import Batch
from pellucid.layers import Layout
from pellucid.methods import METHODS, Method
from pellucid.model import Model
from pellucid.prediction import Prediction
from pellucid.preprocess import Preprocess
from pellucid.probe import Probe
from pellucid.request import Request
from pellucid.target import class_count, class_name, refuse_labels

# Instead of a method's default, to see whether it works.
_FEW = {"samples": 2, "steps": 2, "groups": 1, "references": ["zero"], "classes": 2, "points": 1,
        "areas": (0.1,), "search": "nesterov"}  # fmt: skip
_SEGMENTS = {"segments": "grid:2", "samples": 16}  # all coalitions of four segments
_JUDGE = "random-cam"  # asks for a layer's maps and nothing else
_TIMED = 3  # passes, of which the fastest counts
_SLOWER = 2  # times a plain pass: less may be what small runs cost
_SLOWEST = 10  # times a plain pass: more is what something took that happens once
_COARSEST = 3  # cells along a side: fewer are no map of where evidence lies


@dataclass(frozen=True)
class FeatureLayer:
    """A layer whose output holds feature maps of the picture; `shape` is that of its output."""

    name: str
    kind: str
    layout: Layout
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Verdict:
    """Whether a method can explain the model, why not, and how long one picture takes by default.

    `forward` and `backward` are passes per picture; `seconds` is None where the method does not work. They
    are `measured` where the method was run as it is by default, else estimated: from a shorter run, or, for
    what runs the model for every channel of a layer, from one pass.
    """

    method: str
    works: bool
    reason: str
    warnings: tuple[str, ...]
    forward: int
    backward: int
    seconds: float | None
    measured: bool = False


@dataclass(frozen=True)
class Recommendation:
    """The method to begin with, and why, in a sentence or two."""

    method: str
    because: str


@dataclass(frozen=True)
class Diagnosis:
    """What `examine` found out about a model.

    Attributes:
        model, kind: its name and class.
        parameters, frozen: how many, and how many of them do not require gradients.
        training: how many of its modules are in training mode; Pellucid runs all in evaluation mode.
        parameter_bytes: of parameters and buffers.
        graph_bytes: kept for one picture's backward pass; None where there is none.
        device, dtype: of its parameters.
        input_shape: (C, H, W) of one input.
        preprocess: how pictures become inputs; None where it must be given tensors.
        classes, named: how many it tells apart, and whether they have names.
        prediction: the class of the first image, with its probability.
        layers: all layers that hold feature maps, in the order they run.
        auto: the layer that `layer="auto"` chooses; None where there is none.
        chosen: what was inferred, as in an explanation's `details["chosen"]`: how that layer was found; which
            output holds the scores, on what scale they are; why, and what else there was.
        methods: a verdict for every registered method.
        recommended: the method to begin with; None where none works.
        forward_seconds, backward_seconds: for one image; backward without forward, None where there is none.
    """

    model: str
    kind: str
    parameters: int
    frozen: int
    training: int
    parameter_bytes: int
    graph_bytes: int | None
    device: str
    dtype: str
    input_shape: tuple[int, ...]
    preprocess: Preprocess | None
    classes: int
    named: bool
    prediction: Prediction
    layers: tuple[FeatureLayer, ...]
    auto: str | None
    chosen: dict[str, Any]
    methods: tuple[Verdict, ...]
    recommended: Recommendation | None
    forward_seconds: float
    backward_seconds: float | None


@short_traceback
def examine(model: Model | nn.Module | Callable[[Tensor], Any], images: Any = None) -> Diagnosis:
    """Examines a model with the first of `images`: its layers, which methods work, and what they cost.

    Every registered method is tried once, the sampled ones with few samples. Those that run the model for
    every channel of a layer would take minutes: they need the layer's maps, as Random-CAM does, which is
    tried in their place.

    Args:
        model: as for `explain`.
        images: as for `explain`; by default a photograph of a cat, or noise for a model that does not say
            how a picture becomes its input.

    Raises:
        ModelError: the model fails on the image.

    Example:
        >>> head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *head)
        >>> d = examine(net)
        >>> d.auto, d.classes, [layer.name for layer in d.layers]
        ('1', 2, ['0', '1'])
        >>> d.recommended.method  # its maps are pooled straight into the classifier
        'grad-cam'
        >>> sorted(v.method for v in d.methods if not v.works)  # it has no attention
        ['attention-rollout', 'legrad', 'transformer-attribution']
    """
    wrapped = Model.wrap(model)
    batch = _first(_batch(wrapped, images))
    engine = Engine(wrapped)
    training = sum(getattr(child, "training", False) for child in _modules(wrapped).values())
    with engine.session(0):
        engine.extras, engine.images = batch.extras, len(batch.inputs)
        probe = Probe(engine, batch.inputs)
        outputs = probe.outputs
        layers, layer = feature_layers(engine, batch.inputs)
        forward, backward = _seconds(engine, batch.inputs)
        kept = _graph_bytes(engine, batch.inputs)
        reading = probe.reading
    auto = layer["name"] if layer is not None else None
    values = reading.scale.name == "value"
    classes = outputs.shape[1] if values else class_count(outputs)
    refuse_labels(wrapped, classes)
    odds = reading.scale.probabilities(outputs.float())[0]
    best = int(odds.argmax())
    parameters = list(wrapped.module.parameters()) if isinstance(wrapped.module, nn.Module) else []
    buffers = list(wrapped.module.buffers()) if isinstance(wrapped.module, nn.Module) else []
    chosen = dict(reading.chosen) | ({"layer": layer} if layer is not None else {})
    verdicts = _verdicts(wrapped, batch, forward, backward, _channels(layers, auto))
    return Diagnosis(
        model=wrapped.name,
        kind=type(wrapped.module).__name__,
        parameters=sum(p.numel() for p in parameters),
        frozen=sum(p.numel() for p in parameters if not p.requires_grad),
        training=training,
        parameter_bytes=sum(t.nbytes for t in parameters + buffers),
        graph_bytes=kept,
        device=str(wrapped.device),
        dtype=str(wrapped.dtype).removeprefix("torch."),
        input_shape=tuple(batch.inputs.shape[1:]),
        preprocess=wrapped.preprocess,
        classes=classes,
        named=wrapped.labels is not None,
        prediction=Prediction(best, class_name(wrapped, best, outputs.shape[1], values), float(odds[best])),
        layers=layers,
        auto=auto,
        chosen=chosen,
        methods=verdicts,
        recommended=recommend(verdicts, layers, layer),
        forward_seconds=forward,
        backward_seconds=backward,
    )


def feature_layers(engine: Engine, inputs: Tensor) -> tuple[tuple[FeatureLayer, ...], dict[str, Any] | None]:
    """All layers whose output holds feature maps, in the order they finish, and how "auto" chooses.

    One forward pass, and one over changed pictures where outputs cannot be followed.
    """
    if not engine.model.is_module:
        return (), None
    auto, events = survey(engine, inputs)
    found: dict[str, FeatureLayer] = {}
    for event in events:
        if event.layout is not None:
            kind = type(engine.network.get_submodule(event.name)).__name__
            found[event.name] = FeatureLayer(event.name, kind, event.layout, tuple(event.shape))
    return tuple(found.values()), auto.report() if auto is not None else None


def _modules(model: Model) -> dict[str, nn.Module]:
    return dict(model.module.named_modules()) if isinstance(model.module, nn.Module) else {}


def _batch(model: Model, images: Any) -> Batch:
    if images is not None:
        return model.read(images)
    if model.preprocess is not None:
        return model.read("sample:cat")
    first = next((m for m in _modules(model).values() if isinstance(m, nn.Conv2d)), None)
    channels = first.in_channels if first is not None else 3
    return model.read(
        torch.rand(
            channels,
            224,
            224,
            generator=torch.Generator(device="cpu").manual_seed(0),
            dtype=torch.float32,
            device="cpu",
        )
    )


def _first(batch: Batch) -> Batch:
    extras = None if batch.extras is None else batch.extras.first()
    return Batch(batch.inputs[:1], batch.pictures[:1], batch.boxes[:1], extras, batch.chosen)


def _seconds(engine: Engine, inputs: Tensor) -> tuple[float, float | None]:
    """Of one forward pass without a graph, and of what a backward pass to the input adds."""

    def forward() -> None:
        with torch.no_grad():
            engine.forward(inputs.clone())

    def both() -> None:
        Probe(engine, inputs, with_input=True).input_gradient()

    alone = _fastest(forward, inputs.device)
    try:
        return alone, max(0.0, _fastest(both, inputs.device) - alone)
    except PellucidError:
        return alone, None


def _fastest(run: Callable[[], None], device: torch.device) -> float:
    """The least seconds of a few runs: whatever else the machine does only adds to them."""
    times = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


def _graph_bytes(engine: Engine, inputs: Tensor) -> int | None:
    """What autograd keeps of one pass, parameters apart; each piece of memory is counted once."""
    own = {
        t.untyped_storage().data_ptr() for m in _modules(engine.model).values() for t in m.parameters(False)
    }
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            Probe(engine, inputs, with_input=True).input_gradient()
    except PellucidError:
        return None
    return sum(kept.values())


def _channels(layers: tuple[FeatureLayer, ...], auto: str | None) -> int:
    """How many channels the layer of "auto" has."""
    for layer in layers:
        if layer.name == auto:
            return layer.shape[layer.layout.channel_axis]
    return 0


def _verdicts(
    model: Model, batch: Batch, forward: float, backward: float | None, channels: int
) -> tuple[Verdict, ...]:
    costs = {name: method.cost(method.resolve_options({})) for name, method in METHODS.items()}
    side = max(batch.inputs.shape[-2:])
    tried = [method for name, method in METHODS.items() if not costs[name].per_channel]
    requests = [Request.of(method.name, _cheap(method, side)) for method in tried]
    _warm_up(model, batch, requests)
    outcomes, _ = explain_all(model, batch, requests, [None], progress=False)
    answers = {outcome.request.method.name: outcome.answer for outcome in outcomes}
    spent = {name: a.cost.seconds for name, a in answers.items() if not isinstance(a, PellucidError)}
    first = spent.get(_JUDGE, min(spent.values(), default=0.0))  # the pass that most methods begin with

    def plain(forward_passes: int, backward_passes: int) -> float:
        return forward_passes * forward + backward_passes * (backward or 0.0)

    verdicts = []
    for name, cost in costs.items():
        answer = answers.get(name, answers[_JUDGE])
        passes = cost.forward + cost.per_channel * channels, cost.backward
        if isinstance(answer, PellucidError):
            verdicts.append(Verdict(name, False, str(answer), (), *passes, None))
            continue
        whole = name in answers and not _cheap(METHODS[name], side)
        if name not in answers:
            seconds = plain(*passes)
        elif whole:
            seconds = answer.cost.seconds
        else:
            ran = plain(answer.cost.forward, answer.cost.backward)
            seconds = _lengthened(answer.cost.seconds, first, ran, plain(*passes), forward)
        # A shortened run brings warnings of its own.
        warnings = tuple(answer.warnings) if whole else ()
        verdicts.append(Verdict(name, True, "", warnings, *passes, seconds, whole))
    return tuple(verdicts)


def _warm_up(model: Model, batch: Batch, requests: Sequence[Request]) -> None:
    """Runs a method of each family that is tried as it is by default, so that none is billed for being first.

    What runs first in a process imports, compiles and allocates what others then find.
    """
    first: dict[str, Request] = {}
    for request in requests:
        if request == Request.of(request.method.name):
            first.setdefault(request.method.family, request)
    explain_all(model, batch, list(first.values()), [None], progress=False)


def _lengthened(measured: float, first: float, ran: float, all_passes: float, forward: float) -> float:
    """What a method takes with all its passes, from the seconds of a run with few.

    The first pass looks at more than the others and took `first` seconds with all that is found in it; every
    other takes what a plain pass takes, or what it was seen to take where that is clearly more, as with
    other rules on the way back.

    Example:
        >>> _lengthened(1.2, 1.0, 0.3, 5.1, 0.1)  # 0.2 s for what plain passes do in 0.2 s
        6.0
        >>> _lengthened(2.0, 1.0, 0.3, 5.1, 0.1)  # five times as long
        26.0
    """
    others = ran - forward
    slower = min((measured - first) / others, _SLOWEST) if others > 0 else 1.0
    return round(measured + max(0.0, all_passes - ran) * (slower if slower > _SLOWER else 1.0), 6)


def _cheap(method: Method, side: int) -> dict[str, Any]:
    """Options with which a method takes few passes; one window hides a whole image of that side."""
    names = [option.name for option in method.options]
    cheap = {**_FEW, "window": side, "stride": side, **(_SEGMENTS if "segments" in names else {})}
    return {name: cheap[name] for name in names if name in cheap}


def recommend(
    verdicts: Sequence[Verdict], layers: Sequence[FeatureLayer], auto: Mapping[str, Any] | None
) -> Recommendation | None:
    """The method to begin with: the first that suits the model, works and does not warn.

    Args:
        verdicts: of the methods that were tried.
        layers: those with feature maps.
        auto: how "auto" chose one of them, as `feature_layers` tells it.

    Example:
        >>> verdicts = [Verdict("rise", True, "", (), 4001, 0, 9.0)]
        >>> print(recommend(verdicts, [], None).because)
        The model gives scores and no gradients, so it can only be asked about altered pictures, 4001 of them.
    """
    works = {verdict.method: verdict for verdict in verdicts if verdict.works}
    suitable = [found for found in _suitable(works, layers, auto) if found.method in works]
    if not suitable:
        return None
    warned = {found.method: " ".join(works[found.method].warnings) for found in suitable}
    best = next((found for found in suitable if not warned[found.method]), suitable[0])
    passed = dict.fromkeys(found.method for found in suitable[: suitable.index(best)])
    told = [f"{method} warned: {warned[method]}" for method in passed]
    told += [f"It warned: {warned[best.method]}"] if warned[best.method] else []
    return Recommendation(best.method, " ".join([best.because, *told]))


def _suitable(
    works: Mapping[str, Verdict], layers: Sequence[FeatureLayer], auto: Mapping[str, Any] | None
) -> Iterator[Recommendation]:
    """Methods that suit what was found, the best first, and what of it speaks for them."""
    for name in ("legrad", "transformer-attribution"):
        text = (
            "The model is a transformer: this reads its attention layers and the score's gradients in them."
        )
        yield Recommendation(name, text)
    layer = next((layer for layer in layers if auto is not None and layer.name == auto["name"]), None)
    if layer is not None and auto is not None and not auto["around"] and min(layer.layout.grid) >= _COARSEST:
        height, width = layer.layout.grid
        maps = f"The last feature maps ({layer.name}, {height}×{width}) are"
        if "cam" in works:
            yield Recommendation(
                "grad-cam",
                f"{maps} pooled straight into the classifier: Grad-CAM there tells how much each cell adds "
                "to the score, in one forward and one backward pass.",
            )
        else:
            yield Recommendation(
                "hirescam",
                f"{maps} not pooled straight into the classifier, so each cell counts by its own gradient: "
                "HiResCAM weighs it so, where Grad-CAM takes a mean over cells.",
            )
    yield Recommendation(
        "integrated-gradients",
        "This needs nothing but the gradients that the model gives, and is complete: its map adds up to what "
        "the score gains from the baseline to the picture.",
    )
    yield Recommendation("saliency", "This needs nothing but the gradients that the model gives.")
    for name in ("partition-shap", "rise", "occlusion"):
        asked = f"{works[name].forward} of them" if name in works else ""
        yield Recommendation(
            name,
            "The model gives scores and no gradients, so it can only be asked about altered pictures, "
            f"{asked}.",
        )
