"""Properties of the contract, over every method and a zoo of ordinary models.

CAMs are asked for with `signed=True`: rectified maps of untrained models are often empty, and empty maps
are equal whatever goes wrong.
"""

import gc
import weakref
from collections.abc import Iterable
from contextlib import nullcontext
from functools import cache, partial

import numpy as np
import pytest
import torch
from torch import nn

import pellucid
from nets import (
    BUILDERS,
    BUILT_IN,
    CHEAP,
    CONVOLUTIONAL,
    GRADIENT_SAMPLED,
    SAMPLED,
    Around,
    Lamp,
    NoGradStem,
    TinyCNN,
    net,
    normalise_in_place,
    pictures,
    state_of,
    unchecked,
    watched,
)
from pellucid.engine.pace import CPU_WAYS
from pellucid.errors import ModelError
from pellucid.explanation import Explanation
from pellucid.methods.definition import Passes
from zoo import seeded

CAMS = [m.name for m in pellucid.methods() if m.family == "cam"]
CHEAP_CAMS = ["grad-cam", "grad-cam++", "grad-cam-elementwise", "hirescam", "xgrad-cam", "layer-cam",
              "eigen-cam", "eigen-grad-cam", "random-cam"]  # fmt: skip
ALL = list(CHEAP.items())
WRAPPED = [("grad-cam", {"smooth": 3, "signed": True}), ("saliency", {"augment": True}),
           ("hirescam", {"smooth": 3, "smooth_statistic": "variance"}),
           ("input-x-gradient", {"smooth": 2, "augment": True}),
           ("layer-cam", {"principal": True, "signed": True})]  # fmt: skip
ATTENTION = {m.name for m in pellucid.methods() if m.family == "attention"}
methods = pytest.mark.parametrize(
    ("method", "options"),
    [asked for asked in ALL + WRAPPED if asked[0] not in ATTENTION],
    ids=lambda v: str(v),
)
models = pytest.mark.parametrize("name", BUILDERS)
KINDS = ("residual", "vit")
"""Networks on which every method is tried each time."""
BESIDES = ("in-place", "reused", "nhwc", "view", "single logit", "no_grad inside", "train mode", "vit hf",
           "swin timm", "swin hf")  # fmt: skip
"""Networks on which a method of each kind is tried each time. `make test-full` tries all methods on all."""
ONE_OF_EACH = {"grad-cam", "eigen-cam", "score-cam", "ablation-cam", "saliency", "smooth-grad", "rise",
               "i-gos", "integrated-gradients", "lrp", "guided-backprop", "full-grad", "deep-lift",
               "attention-rollout", "legrad"}  # fmt: skip
ONE_OF_EACH_KIND = [request for request in ALL + WRAPPED if request[0] in ONE_OF_EACH]
"""Requests of every kind of evidence, plain and wrapped."""


REQUESTS = {"whole": ALL + WRAPPED, "one of each kind": ONE_OF_EACH_KIND}
full = pytest.mark.full


def swept(names: Iterable[str], kinds: Iterable[str] = KINDS) -> pytest.MarkDecorator:
    """Networks, each with what is asked of it: of `kinds` everything, in the full suite of all."""
    cases = [pytest.param(name, "whole", marks=() if name in kinds else full) for name in names]
    cases += [(name, "one of each kind") for name in names if name in {*KINDS, *BESIDES} - {*kinds}]
    return pytest.mark.parametrize(("name", "kind"), cases)


def attends(module: nn.Module) -> bool:
    """Whether all of a network's tokens attend to each other, not those of windows."""
    kinds = {type(child).__name__ for child in module.modules()}
    return any("Attention" in kind for kind in kinds) and not any("Swin" in kind for kind in kinds)


def everything(
    module: nn.Module, x: torch.Tensor, requests=ALL + WRAPPED, checked=False, **options
) -> dict[str, Explanation]:
    """All methods on one batch; CAM may refuse a model, whose head is not the one it needs."""
    with nullcontext() if checked else unchecked():  # annotations are checked once, which is slow
        comparison = pellucid.compare(module, x, requests, progress=False, **options, verdict=False)
    refused = {refusal.title.split(":")[0] for refusal in comparison.refusals}
    asked = {request[0] for request in requests}
    reading = ("gradient", "path", "mask", "relevance")  # the input's gradient, or its like
    blind = {m.name for m in pellucid.methods() if m.family in reading or m.name == "opti-cam"} & asked
    expected = (blind if isinstance(module, NoGradStem) else set()) | (
        set() if attends(module) else ATTENTION
    )
    assert refused - {"cam"} == expected & asked
    return {entry.title: entry.explanation for entry in comparison.entries}


# In chunks of a given size results repeat bit for bit; the sizes that "auto" settles on depend on the clock.
repeatable = partial(everything, batch_size=4)
repeated = partial(pellucid.explain, batch_size=4)


@cache
def usual(name: str, kind: str = "whole") -> dict[str, Explanation]:
    """What a network of the zoo gives for its pictures, annotations checked."""
    return everything(net(name), pictures(name), REQUESTS[kind], checked=True)


def assert_same(one: dict[str, Explanation], other: dict[str, Explanation], tolerance: float = 1e-9) -> None:
    assert list(one) == list(other)
    for title, e in one.items():
        for a, b in ((e.raw, other[title].raw), (e.attribution, other[title].attribution)):
            limit = a.abs().amax() * (tolerance if a.dtype == torch.float64 else max(tolerance, 1e-6))
            assert (a - b).abs().max() <= limit, title


# --- what a result is ---------------------------------------------------------------------------------------


@swept(BUILDERS)
def test_every_method_gives_a_finite_signed_map_at_input_resolution(name, kind):
    n, channels, height, width = pictures(name).shape
    for title, e in usual(name, kind).items():
        assert e.attribution.dtype == torch.float32, title
        assert e.attribution.shape in [(n, 1, height, width), (n, channels, height, width)], title
        assert e.raw.shape[0] == n, title
        assert e.raw.dtype == torch.float64, title
        assert e.raw.isfinite().all(), title
        assert e.attribution.isfinite().all(), title
        for map, notes in zip(e.raw, e.notes, strict=True):  # so that what follows says something
            assert map.any() or notes, title
        if e.stderr is not None:
            assert e.stderr.shape == e.attribution.shape, title
            assert (e.stderr >= 0).all(), title
        assert len(e.labels) == len(e.target) == len(e.score) == len(e.prediction) == n, title
        assert e.target == [row[0].index for row in e.prediction], title  # the predicted class, by default


@swept(BUILDERS)
def test_neither_the_other_images_nor_the_batch_size_matter(name, kind):
    x, together, requests = pictures(name), usual(name, kind), REQUESTS[kind]
    assert_same(together, everything(net(name), x, requests, batch_size=2))
    single = everything(net(name), x[1:2], requests)
    assert_same({title: e[1] for title, e in together.items()}, single)


@swept(["residual", "vit"], kinds=[])
def test_any_batch_size_changes_nothing(name, kind):
    x, requests = pictures(name, 4), REQUESTS[kind]
    expected = everything(net(name), x, requests)
    for batch_size in (1, 5, 64):
        assert_same(expected, everything(net(name), x, requests, batch_size=batch_size))


@swept(["residual", "vit", "swin hf", "no_grad inside"], kinds=["residual"])
def test_each_method_alone_gives_what_it_gives_beside_others(name, kind):
    x = pictures(name, 2)
    for title, e in everything(net(name), x, REQUESTS[kind]).items():
        with unchecked():
            alone = pellucid.explain(net(name), x, title, progress=False)
        assert_same({title: e}, {title: alone})
        # Alone, a layer's gradient needs no second pass in the one; beside a method that must run image by
        # image, all do in the other.
        if name not in ("no_grad inside", "swin hf"):
            assert (alone.cost.forward, alone.cost.backward) == (e.cost.forward, e.cost.backward), title


@models
def test_auto_is_the_layer_it_names(name):
    x = pictures(name)
    for method in ("hirescam", "eigen-cam"):
        auto = pellucid.explain(net(name), x, method)
        named = pellucid.explain(net(name), x, method, layer=auto.layer)
        assert named.layer == auto.layer
        assert_same({method: auto}, {method: named})


TWINS = pytest.mark.parametrize("twin", ["module", "functional", "inplace functional", "method"])
LAYERED = {m.name for m in BUILT_IN for option in m.options if option.name == "layer"}


@cache
def written(twin: str, layer: str | None = None) -> dict[str, Explanation]:
    """What a network gives whose activations are written in some way: of the input, or of a layer."""
    requests = [(m, o) for m, o in ALL if m not in LAYERED]
    if layer is not None:
        requests = [(m, o | {"layer": layer}) for m, o in ALL if m in LAYERED and m != "cam"]
    return everything(seeded(TinyCNN, twin).double(), pictures("in-place"), requests)


@TWINS
def test_activations_may_be_written_in_any_way(twin):
    assert_same(written("inplace"), written(twin))


@TWINS
@pytest.mark.parametrize(
    "layer", ["bn1", *(pytest.param(other, marks=full) for other in ("conv1", "conv2", "bn2"))]
)
def test_layers_before_activations_written_in_any_way(twin, layer):
    assert_same(written("inplace", layer), written(twin, layer))


def test_a_module_that_is_used_twice_is_explained_where_it_ran_last():
    module, x = seeded(TinyCNN, "module").double(), pictures("in-place")
    with torch.no_grad():
        A = module.relu(module.bn2(module.conv2(module.relu(module.bn1(module.conv1(x))))))
    e = pellucid.explain(module, x, "hirescam", layer="relu", target=2)
    expected = (A * module.fc.weight.detach()[2, :, None, None]).sum(1) / A[0, 0].numel()
    torch.testing.assert_close(e.raw, expected)
    assert any("runs 2 times" in warning for warning in e.warnings)


@pytest.mark.parametrize("size", [(33, 47), (47, 33), (8, 64), (31, 1), (2, 3)])
def test_odd_and_narrow_pictures(size):
    module, x = seeded(Lamp).double(), torch.rand(2, 3, *size, dtype=torch.float64)
    pixels = size[0] * size[1]
    segments = (np.arange(pixels) * 4 // pixels).reshape(size)  # a grid has no blocks without pixels
    requests = [(m, o | {"segments": segments} if "segments" in o else o) for m, o in ALL + WRAPPED]
    for title, e in everything(module, x, requests).items():
        assert e.attribution.shape[-2:] == size, title


PLACES = ((4, 40), (28, 4), (16, 24))


@pytest.mark.parametrize(
    ("place", "layout", "prefix"),
    [
        pytest.param(place, *layout, marks=() if i % 3 == j else full)
        for i, layout in enumerate([("NCHW", 0), ("NHWC", 0), ("NTC", 0), ("NTC", 1), ("NTC", 5), ("TNC", 1)])
        for j, place in enumerate(PLACES)
    ],
)
def test_evidence_lies_where_the_light_is(place, layout, prefix):
    patch = 4 if layout in ("NTC", "TNC") else 1
    module, x = Lamp(layout, prefix, patch).double().eval(), torch.zeros(2, 3, 32, 48, dtype=torch.float64)
    x[:, :, place[0] : place[0] + 4, place[1] : place[1] + 4] = 1
    requests = [(m, o | {"layer": "act"} if m in CAMS else o) for m, o in ALL + WRAPPED
                if not o.get("augment") and not o.get("smooth_statistic")
                and pellucid.METHODS[m].family not in ("perturb", "mask") and m != "xrai"]  # fmt: skip
    for title, e in everything(module, x, requests, target=0).items():
        heat = e.attribution.abs().sum(1)
        for one in heat:
            y, x_ = divmod(int(one.flatten().argmax()), one.shape[1])
            assert place[0] <= y < place[0] + 4, title
            assert place[1] <= x_ < place[1] + 4, title


# --- seeds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        *(f"{m}:{','.join(f'{o}={v}' for o, v in how.items())}" for m, how in SAMPLED.items()),
        "saliency:smooth=4",
        "grad-cam:smooth=4,signed=1",
    ],
)
def test_a_seed_fixes_the_draws_and_another_changes_them(method):
    x = pictures("in-place")
    first, again, other = (repeated(net("residual"), x, method, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.raw, again.raw)
    assert not torch.equal(first.raw, other.raw)
    assert first.seed == 3


def test_the_global_random_state_has_no_say():
    x = pictures("in-place")
    torch.manual_seed(1)
    first = repeatable(net("residual"), x)
    torch.manual_seed(2)
    assert_same(first, repeatable(net("residual"), x), tolerance=0)


def test_a_model_that_draws_numbers_gives_the_same_map_for_the_same_seed():
    module = Around(seeded(TinyCNN).double(), before=lambda x: x + torch.randn_like(x))
    x = pictures("in-place")
    first, again, other = (pellucid.explain(module, x, "hirescam", seed=s) for s in (0, 0, 1))
    assert torch.equal(first.raw, again.raw)
    assert not torch.equal(first.raw, other.raw)


# --- nothing is changed -------------------------------------------------------------------------------------


@swept(BUILDERS)
def test_nothing_a_user_owns_is_changed(name, kind):
    module, x = BUILDERS[name]().double(), pictures(name)
    parameters = list(module.parameters())
    parameters[0].grad = torch.ones_like(parameters[0])
    parameters[-1].requires_grad_(False)
    module.register_forward_hook(lambda *_: None)
    np.random.seed(1)
    torch.manual_seed(12345)
    before = state_of(module, x)
    everything(module, x, REQUESTS[kind])
    after = state_of(module, x)
    assert {key for key in before if before[key] != after[key]} == set()


class Breaks(nn.Module):
    """Fails in its forward or backward pass, after hooks and modes were set."""

    def __init__(self, error: BaseException, when: str) -> None:
        super().__init__()
        self.net, self.error, self.when, self.calls = seeded(TinyCNN).double(), error, when, 0

    def forward(self, x):
        error, when = self.error, self.when
        self.calls += 1
        y = self.net(x)
        if when == "forward" or (when == "third forward" and self.calls >= 3):
            raise error

        class Breaking(torch.autograd.Function):
            @staticmethod
            def forward(ctx, y):
                return y.clone()

            @staticmethod
            def backward(ctx, g):
                raise error

        return Breaking.apply(y) if when == "backward" else y


@pytest.mark.parametrize("when", ["forward", "third forward", "backward"])
@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), SystemExit()], ids=repr)
@pytest.mark.parametrize("method", ["grad-cam:augment=1", "smooth-grad:samples=30", "saliency:smooth=30"])
def test_nothing_is_changed_when_the_model_fails_or_the_user_stops(when, error, method):
    module, x = Breaks(error, when).train(), pictures("in-place")
    torch.manual_seed(12345)
    before = state_of(module, x)
    expected = ModelError if isinstance(error, RuntimeError) else type(error)
    with pytest.raises(expected, match="broken" if isinstance(error, RuntimeError) else None):
        pellucid.explain(module, x, method, batch_size=4)
    after = state_of(module, x)
    assert {key for key in before if before[key] != after[key]} == set()


def test_a_user_input_survives_a_model_that_normalises_in_place():
    module, x = Around(seeded(TinyCNN).double(), before=normalise_in_place), pictures("in-place")
    kept = x.clone()
    clean = Around(seeded(TinyCNN).double(), before=lambda x: (x - 0.5) / 0.25)
    assert_same(repeatable(module, x), repeatable(clean, x))
    for method in ("grad-cam:smooth=2,signed=1", "saliency:augment=1", "input-x-gradient"):
        found, expected = pellucid.explain(module, x, method), pellucid.explain(clean, x, method)
        torch.testing.assert_close(found.raw, expected.raw)  # its own copy of the input survives, too
    assert torch.equal(x, kept)


# --- under the user's own modes -----------------------------------------------------------------------------


MODES = pytest.mark.parametrize(
    "mode",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16),
     lambda: torch.autograd.set_detect_anomaly(True, check_nan=False), torch.enable_grad],
    ids=["no_grad", "inference_mode", "autocast", "anomaly", "enable_grad"],
)  # fmt: skip


@cache
def plainly(name: str, kind: str) -> tuple[nn.Module, dict[str, Explanation]]:
    """A network in float32, and what it gives outside of any mode."""
    module = BUILDERS[name]()
    return module, repeatable(module, pictures(name).float(), REQUESTS[kind])


@MODES
@pytest.mark.parametrize(
    ("name", "kind"),
    [("in-place", "whole"), ("vit", "one of each kind"), pytest.param("vit", "whole", marks=full),
     pytest.param("swin timm", "one of each kind", marks=full)],
)  # fmt: skip
def test_a_callers_mode_makes_no_difference(name, kind, mode):
    x = pictures(name).float()
    module, expected = plainly(name, kind)
    with mode():
        before = state_of(module)["settings"]
        found = repeatable(module, x, REQUESTS[kind])
        assert state_of(module)["settings"] == before
    assert_same(expected, found, tolerance=0)


@cache
def repeatably(name: str, kind: str = "whole") -> dict[str, Explanation]:
    """What a network of the zoo gives bit for bit each time."""
    return repeatable(net(name), pictures(name), REQUESTS[kind])


@swept(["in-place", "vit"], kinds=["in-place"])
def test_an_input_made_in_inference_mode_is_explained(name, kind):
    with torch.inference_mode():
        x = pictures(name)
    assert_same(repeatably(name, kind), repeatable(net(name), x, REQUESTS[kind]), tolerance=0)


def test_frozen_parameters_make_no_difference():
    x = pictures("frozen")
    assert_same(repeatably("in-place"), repeatable(net("frozen"), x), tolerance=0)


def test_a_model_in_train_mode_is_explained_in_evaluation_mode():
    x = pictures("train mode")
    module = BUILDERS["train mode"]().double()
    expected = repeatable(BUILDERS["train mode"]().double().eval(), x)
    statistics = module[0].bn1.running_mean.clone()
    assert_same(expected, repeatable(module, x), tolerance=0)
    assert all(child.training for child in module[1:].modules())
    assert torch.equal(module[0].bn1.running_mean, statistics)


def test_an_input_that_asks_for_gradients_gets_none():
    x = pictures("in-place").requires_grad_()
    for title, e in everything(net("in-place"), x).items():
        assert x.grad is None, title
        assert not any(t.requires_grad for t in (e.raw, e.attribution, e.score)), title


# --- precision ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@swept(["residual", "nhwc", "vit", "swin timm", "vit hf"], kinds=["residual"])
def test_half_precision_models_are_explained(name, kind, dtype):
    module, x, requests = BUILDERS[name]().to(dtype), pictures(name, 2), REQUESTS[kind]
    full = everything(BUILDERS[name]().float(), x.float(), [("hirescam", {})], target=1)
    for title, e in everything(module, x, [*requests, ("hirescam", {})], target=1).items():
        assert e.precision == str(dtype).removeprefix("torch."), title
        assert e.raw.isfinite().all(), title
        assert e.attribution.dtype == torch.float32, title
        if e.method == "hirescam" and not e.options.get("smooth"):
            a, b = e.raw.flatten(), full["hirescam"].raw.flatten()
            assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.99, title


@swept(["in-place", "vit", "swin timm"], kinds=["in-place"])
def test_bfloat16_runs_where_asked_and_says_so(name, kind):
    module, x, requests = BUILDERS[name](), pictures(name, 2).float(), REQUESTS[kind]
    requests = [*requests, *(r for r in ALL if r[0] == "hirescam" and r not in requests)]
    low = everything(module, x, requests, target=1, precision="bfloat16")
    for title, e in everything(module, x, requests, target=1).items():
        assert e.precision == "float32"
        assert low[title].precision == "bfloat16"
        assert low[title].raw.isfinite().all()
    assert not torch.equal(low["hirescam:signed=True"].raw, e.raw)


@swept(CONVOLUTIONAL)
def test_float64_agrees_with_float32(name, kind):
    x, requests = pictures(name, 2), [request for request in REQUESTS[kind] if request in ALL]
    low = everything(BUILDERS[name]().float(), x.float(), requests, target=0)
    for title, e in everything(net(name), x, requests, target=0).items():
        if "eigen" in title or "opti" in title:
            continue  # as ill-conditioned as two close singular values, or Adam's first step
        if "deep-shap" in title:
            continue  # of a flat reference, rounding decides which pixel is the maximum
        scale = e.raw.abs().max()
        assert (e.raw - low[title].raw).abs().max() <= 1e-3 * scale, title


# --- memory -------------------------------------------------------------------------------------------------


@methods
def test_nothing_of_a_pass_outlives_it(method, options):
    module, x, seen = seeded(TinyCNN).double(), pictures("in-place"), []
    for child in module.modules():
        child.register_forward_hook(lambda m, args, out: seen.extend(map(weakref.ref, (*args, out))))
    gc.collect()
    gc.disable()
    try:
        e = pellucid.explain(module, x, method, progress=False, **options)
        alive = [ref() for ref in seen if ref() is not None]
    finally:
        gc.enable()
    assert seen
    assert not alive
    assert e.raw.grad_fn is None


# --- passes, counted by the model itself --------------------------------------------------------------------


def test_nine_cams_cost_one_forward_and_one_backward():
    module, counter = watched(seeded(TinyCNN).double())
    x = pictures("in-place")
    comparison = pellucid.compare(module, x, CHEAP_CAMS, verdict=False)
    assert not comparison.refusals
    assert (counter.forward, counter.backward) == ([3], [3])
    assert (comparison.cost.forward, comparison.cost.backward) == (3, 3)


def test_all_methods_that_read_the_picture_itself_cost_one_forward_and_one_backward():
    module, counter = watched(seeded(TinyCNN).double())
    requests = [
        m.name
        for m in pellucid.methods()
        if m.cost(m.resolve_options({})) in (Passes(1, 0), Passes(1, 1))
        and m.reads not in ("replaced operations", "perturbed inputs")
    ]
    comparison = pellucid.compare(module, pictures("in-place"), requests, verdict=False)
    assert len(comparison) == len(requests)
    assert (counter.forward, counter.backward) == ([3], [3])


def test_several_layers_cost_one_forward_and_one_backward():
    module, counter = watched(seeded(TinyCNN).double())
    requests = [
        (m, {"layer": layer}) for m in CHEAP_CAMS for layer in ("net.conv1", ["net.bn1", "net.conv2"], "auto")
    ]
    pellucid.compare(module, pictures("in-place"), requests, verdict=False)
    assert (counter.forward, counter.backward) == ([3], [3])


def test_two_targets_cost_one_forward_and_two_backward():
    module, counter = watched(seeded(TinyCNN).double())
    comparison = pellucid.compare(module, pictures("in-place"), CHEAP_CAMS, targets=[None, 2], verdict=False)
    assert len(comparison) == 2 * len(CHEAP_CAMS)
    assert (counter.forward, counter.backward) == ([3], [3, 3])
    assert (comparison.cost.forward, comparison.cost.backward) == (3, 6)


def test_auto_beside_an_earlier_layer_takes_nothing_from_it():
    module, x = seeded(TinyCNN).double(), pictures("in-place")
    requests = ["hirescam", "hirescam:layer=conv1", "saliency"]
    for request, e in zip(
        requests, pellucid.compare(module, x, requests, verdict=False).explanations, strict=True
    ):
        assert torch.equal(e.raw, pellucid.explain(module, x, request).raw)
        assert e.raw.any()


def test_kin_of_smooth_grad_share_their_samples():
    module, counter = watched(seeded(TinyCNN).double())
    requests = [(m, {"samples": 6}) for m in GRADIENT_SAMPLED]
    comparison = pellucid.compare(module, pictures("in-place", 1), requests, verdict=False)
    assert (sum(counter.forward), sum(counter.backward)) == (7, 6)
    assert [e.cost.forward for e in comparison.explanations] == [7, 7, 7]  # what each had cost alone


@methods
@pytest.mark.parametrize(("target", "batch_size"), [(None, 2), ([0, 1, 2], "auto")])
def test_the_cost_told_is_the_cost_announced_and_the_cost_counted(method, options, target, batch_size):
    module, counter = watched(seeded(TinyCNN).double())
    x = pictures("in-place")
    e = pellucid.explain(module, x, method, target=target, batch_size=batch_size, **options)
    entry = next(m for m in pellucid.methods() if m.name == method)
    forward, backward, *per_channel = entry.cost(entry.resolve_options(options))
    if method == "occlusion":  # announced for 224 x 224: here the windows lie at 0 and 13, and 0, 20 and 27
        forward = 2 * 3 + 1
    channels = sum(per_channel) * e.details["weights"].shape[1] if any(per_channel) else 0
    assert (sum(counter.forward), sum(counter.backward)) == (e.cost.forward, e.cost.backward)
    assert e.cost.backward == 3 * backward
    if e.cost.resumed:  # each chunk also carries the unaltered output, and runs the part before the layer
        chunks = e.cost.resumed - 3 * channels
        assert 3 <= chunks <= 3 * channels
        assert e.cost.forward == 3 * forward + chunks + 2
    else:
        assert e.cost.forward == 3 * (forward + channels)
    assert e.cost.seconds > 0
    limit = max(way.chunk for way in CPU_WAYS) if batch_size == "auto" else batch_size
    assert max(counter.forward) <= limit


def test_a_model_without_a_graph_of_its_own_is_counted_too():
    module, counter = watched(BUILDERS["no_grad inside"]().double())
    e = pellucid.explain(module, pictures("in-place"), "grad-cam", layer="net.conv1")
    assert (e.cost.forward, e.cost.backward) == (sum(counter.forward), sum(counter.backward))
