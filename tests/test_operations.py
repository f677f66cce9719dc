"""A model run with its operations replaced: as they are it is the model, whatever its code does in place."""

import contextlib
import gc
import weakref
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode, _len_torch_function_stack

import pellucid
from nets import BUILDERS, Around, TinyCNN, Viewing, net, pictures, seeded, state_of, watched
from pellucid.engine.calls import Call
from pellucid.engine.capture import capture
from pellucid.engine.forward_pass import Capture
from pellucid.engine.memory import ByTensor
from pellucid.engine.names import recognised
from pellucid.engine.operations import Operations
from pellucid.engine.run import Engine
from pellucid.errors import ModelError
from pellucid.model import Model
from pellucid.outputs import outputs_of
from pellucid.probe import Probe, run_with
from zoo import swept

KNOWN = [name for name in BUILDERS if name != "no_grad inside"]
PUBLISHED = ["alexnet", "resnet18", "densenet121", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny",
             "swin_t", "vit_b_16", "googlenet"]  # fmt: skip


def run(module, x: Tensor, replaced=None, layers=(), channels_last: bool = False) -> Capture:
    engine = Engine(Model(module))
    with engine.session(0):
        return capture(engine, x, layers, True, channels_last=channels_last, replaced=replaced)


def told(taken: Capture) -> tuple[Tensor, Tensor]:
    """The outputs, and the gradient of a fixed mixture of them."""
    outputs = outputs_of(taken.raw[0] if isinstance(taken.raw, tuple) else taken.raw)
    mixture = torch.linspace(-1, 2, outputs[0].numel(), dtype=outputs.dtype).expand_as(outputs)
    gradient = taken.gradients(outputs, mixture)[1]
    assert gradient is not None
    return outputs.detach(), gradient


def assert_same(
    found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], rounding: float = 1e-13
) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) <= rounding * float(other.abs().max())


# --- without handlers it is the model -----------------------------------------------------------------------


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", KNOWN)
def test_a_run_that_replaces_nothing_is_plain_autograd(name, channels_last):
    x = pictures(name, 2)
    expected = told(run(net(name), x, channels_last=channels_last))
    found = told(run(net(name), x, Operations, channels_last=channels_last))
    assert_same(found, expected)
    if not any(part in name for part in ("vit", "deit", "beit", "swin", "nhwc")):
        assert torch.equal(found[0], expected[0])  # only attention is taken apart


@pytest.mark.parametrize("name", swept(PUBLISHED, ["alexnet", "resnet18", "mobilenet_v3_small", "vit_b_16"]))
def test_published_models_run_as_they_do(name):
    models = pytest.importorskip("torchvision.models")
    options = {"init_weights": False} if name == "googlenet" else {}
    module = seeded(getattr(models, name), num_classes=7, **options).double()
    if name == "vit_b_16":
        module = seeded(models.VisionTransformer, 64, 32, 2, 4, 32, 64, num_classes=7).double()
        nn.init.normal_(module.heads.head.weight)
    x = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    attends = name in ("swin_t", "vit_b_16")
    for channels_last in (False, True):
        expected = told(run(module, x, channels_last=channels_last))
        found = told(run(module, x, Operations, channels_last=channels_last))
        assert_same(found, expected, 1e-11)
        assert attends or torch.equal(found[0], expected[0])


# --- in place: what a model's code says, and the same written without ---------------------------------------


def zeros(x: Tensor) -> Tensor:
    return torch.zeros(x.shape, dtype=x.dtype)


def joined(x: Tensor, change, first: int = 0, last: int = 3) -> Tensor:
    """x with some of its channels changed."""
    return torch.cat([x[:, :first], change(x[:, first:last]), x[:, last:]], 1)


def statement(x):
    x.add_(x.sigmoid())
    return x * 2


def held_by_another_name(x):
    kept = x * 1.5
    other = kept
    kept += 1
    kept *= other
    return other + kept.sin()


def result_under_a_new_name(x):
    x = x * 1.5
    y = x.relu_()
    x.add_(1)
    return x * y


def returned_under_the_old_name(x):
    x = x * 1.5
    x.relu_()
    return x


def view_is_changed(x):
    x = x * 1.5
    x[:, :3].relu_()
    return x


def whole_is_changed(x):
    x = x * 1.5
    view, other = x.flatten(2), x[:, 1:4]
    x.relu_()
    return torch.cat([other, view.view_as(x)[:, :3] * 2], 1)


def view_of_a_view(x):
    x = x * 1.5
    view = x.view(2, 3, 2, 9, 11).transpose(1, 2)
    view[:, 0].mul_(3)
    view.relu_()
    x.add_(1)
    return view.transpose(1, 2).reshape(x.shape) * x


def view_of_a_view_twin(x):
    y = (x * 1.5).view(2, 3, 2, 9, 11)
    y = torch.cat([y[:, :, :1] * 3, y[:, :, 1:]], 2).relu().reshape(x.shape) + 1
    return y * y


def chunks(x):
    x = x * 1.5
    a, b = x.chunk(2, 1)
    b.mul_(a)
    a.sub_(1)
    return torch.cat([b, a], 1) * x


def chunks_twin(x):
    a, b = (x * 1.5).chunk(2, 1)
    a, b = a - 1, b * a
    return torch.cat([b * a, a * b], 1)


def indexed(x):
    x = x * 1.5
    x[:, 0] = 0
    x[x > 1] = x[x > 1] * 2
    return x


def indexed_twin(x):
    x = joined(x * 1.5, lambda part: part * 0, 0, 1)
    return torch.where(x > 1, x * 2, x)


def pieces(x):
    out = zeros(x)
    a, b = out[:, :3], out[:, 3:]
    a.copy_(x[:, 3:])
    b.copy_(x[:, :3].exp())
    a.mul_(2)
    return out * x


def masked(x):
    x = x.clone()
    x.masked_fill_(x < 0.1, 0.5)
    x.clamp_(max=0.7)
    return x


def out_argument(x):
    out = torch.empty_like(x.detach())
    torch.mul(x, x, out=out)
    return out + x


def all_of(x):
    out = zeros(x)
    out[...] = x
    return out.sin()


def told_in_place(x):
    x = functional.silu(functional.elu(x, inplace=True), True)
    return functional.leaky_relu_(functional.dropout(x, 0.5, False, True))


def augmented(x):
    y = x * 1.0
    y /= 2
    y -= 0.1
    y **= 2
    y.div_(3)
    return y


def shapes(x):
    y = x * 1.0
    y.unsqueeze_(0)
    y = y * 2
    y.squeeze_(0)
    return y.transpose_(0, 1).mul_(3).transpose(0, 1)


def filled(x):
    y = x * 1.5
    y[:, 0].fill_(2.0)
    y[:, 1].zero_()
    y[0, 2].copy_(x[1, 2])
    return y * x


def filled_twin(x):
    y = x * 1.5
    y = torch.cat([torch.full_like(y[:, :1], 2.0), torch.zeros_like(y[:, :1]), y[:, 2:]], 1)
    first = torch.cat([y[0, :2], x[1, 2:3], y[0, 3:]])
    return torch.stack([first, y[1]]) * x


def permuted(x):
    y = (x * 1.5).permute(0, 2, 3, 1)
    y += 1
    y.relu_()
    return y.permute(0, 3, 1, 2)


def in_a_list(x):
    parts = [x * 1.5]
    parts[0] += 1
    parts[0].relu_()
    return parts[0]


def rows(x):
    return torch.stack([row.sin() for row in x])


def constants(x):
    return x * x.max().item() + x.mean().item() + x.detach() * x.data


def greatest(x):
    return x * x.max(1).values[:, None] + torch.max(x, dim=2, keepdim=True)[0]


def by_name(x):
    ones = torch.ones(6, 6, 1, 1, dtype=x.dtype)
    x = functional.conv2d(input=x, weight=ones)
    return functional.relu(input=torch.cat(tensors=[x[:, :3], x[:, 3:]], dim=1), inplace=True)


def unbound(x):
    a, b = torch.split(x, 3, 1)
    c, d = x.unbind(1)[:2]
    return torch.cat([b * c[:, None], a - d[:, None]], 1)


def sliced_by_tensors(x):
    n = torch.tensor(3)
    return torch.cat([x[:, :n], x[:, n:].exp()], 1)


def scale_without_graph(x):
    with torch.no_grad():
        scale = x.abs().max()
    return x / scale


def operators_of_aten(x):
    return torch.ops.aten.relu(x) + torch.ops.aten.sigmoid.default(x)


def itself(x):
    return x


PAIRS = {
    statement: lambda x: (x + x.sigmoid()) * 2,
    held_by_another_name: lambda x: (y := (x * 1.5 + 1) ** 2) + y.sin(),
    result_under_a_new_name: lambda x: ((x * 1.5).relu() + 1) ** 2,
    returned_under_the_old_name: lambda x: (x * 1.5).relu(),
    view_is_changed: lambda x: joined(x * 1.5, torch.relu),
    whole_is_changed: lambda x: torch.cat([(y := (x * 1.5).relu())[:, 1:4], y[:, :3] * 2], 1),
    view_of_a_view: view_of_a_view_twin,
    chunks: chunks_twin,
    indexed: indexed_twin,
    pieces: lambda x: torch.cat([x[:, 3:] * 2, x[:, :3].exp()], 1) * x,
    masked: lambda x: torch.where(x < 0.1, 0.5, x).clamp(max=0.7),
    out_argument: lambda x: x * x + x,
    all_of: torch.sin,
    told_in_place: lambda x: functional.leaky_relu(functional.silu(functional.elu(x))),
    augmented: lambda x: (x / 2 - 0.1) ** 2 / 3,
    shapes: lambda x: x * 2 * 3,
    filled: filled_twin,
    permuted: lambda x: (x * 1.5 + 1).relu(),
    in_a_list: lambda x: (x * 1.5 + 1).relu(),
    rows: torch.sin,
    constants: lambda x: x * x.max().detach() + x.detach() ** 2 + x.mean().detach(),
    greatest: lambda x: x * x.amax(1, keepdim=True) + x.amax(2, keepdim=True),
    by_name: lambda x: x.sum(1, keepdim=True).relu().expand_as(x),
    unbound: lambda x: torch.cat([x[:, 3:] * x[:, :1], x[:, :3] - x[:, 1:2]], 1),
    sliced_by_tensors: lambda x: torch.cat([x[:, :3], x[:, 3:].exp()], 1),
    scale_without_graph: lambda x: x / x.detach().abs().max(),
    operators_of_aten: lambda x: x.relu() + x.sigmoid(),
}


class Doing(nn.Module):
    """Something done to what a convolution gives, before the classifier."""

    def __init__(self, act) -> None:
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(3, 6, 3, padding=1), act, nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act(self.conv(x)).mean((2, 3)))


def doing(act) -> nn.Module:
    return seeded(Doing, act).double()


X = torch.rand(2, 3, 9, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("written", PAIRS, ids=lambda f: f.__name__)
def test_what_is_written_in_place_is_what_it_says(written, channels_last):
    expected = told(run(doing(PAIRS[written]), X))
    found = told(run(doing(written), X, Operations, channels_last=channels_last))
    assert_same(found, expected)


# --- kinds of models ----------------------------------------------------------------------------------------


class Cut(torch.autograd.Function):
    """A user's own activation."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Reversed(torch.autograd.Function):
    """The identity, whose gradient has the other sign: only its way back tells."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Act(nn.Module):
    """A layer around a function."""

    def __init__(self, act) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x)


def checkpointed(reentrant: bool):
    from torch.utils.checkpoint import checkpoint

    return lambda x: checkpoint(lambda y: y.sin().exp() * y, x, use_reentrant=reentrant)


def test_what_a_checkpoint_forgets_is_kept():
    class Sine(Operations):
        def __init__(self):
            super().__init__()
            self.handlers = {"sin": lambda call: call.args[0] * 2}

    expected = told(run(doing(lambda x: x.sin().exp() * x), X))
    assert_same(told(run(doing(checkpointed(False)), X, Operations)), expected)
    expected = told(run(doing(lambda x: (x * 2).exp() * x), X))
    assert_same(told(run(doing(checkpointed(False)), X, Sine)), expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("act", [Cut.apply, Reversed.apply, torch.jit.script(torch.nn.functional.silu)])
def test_what_is_no_operation_of_pytorch_is_refused_with_its_place(act):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), Act(act), nn.Conv2d(4, 5, 3), nn.Flatten()).double()
    with pytest.raises(ModelError, match=r"in layer '2' computes something by .*no rule can stand in"):
        run(module, X, Operations)


@pytest.mark.filterwarnings("ignore")
def test_a_scripted_layer_is_refused_by_name():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), torch.jit.trace(nn.Conv2d(4, 5, 3).double(), X[:, [0, 1, 2, 0]])
    )
    with pytest.raises(ModelError, match="layer '1' is TorchScript, which lets no one look in"):
        run(module.double(), X, Operations)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_layer_runs_as_it_was_written():
    module = seeded(TinyCNN).double()
    expected = told(run(module, X))
    compiled = seeded(TinyCNN).double()
    compiled.conv2 = torch.compile(compiled.conv2, backend="aot_eager")
    compiled.forward = torch.compile(compiled.forward, backend="aot_eager")
    assert_same(told(run(Around(compiled), X, Operations)), expected)


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_layer_is_refused_by_name_before_anything_runs():
    try:
        with torch.no_grad():
            module = torch.ao.quantization.quantize_dynamic(seeded(TinyCNN), {nn.Linear}, dtype=torch.qint8)
    except (RuntimeError, AttributeError, ImportError) as error:
        pytest.skip(f"torch has no dynamic quantisation here: {error}")
    probe = probing(module, torch.rand(1, 3, 9, 9))
    with pytest.raises(ModelError, match="layer 'fc' is quantised and has no gradient"):
        run_with(probe, "plain", Operations)
    assert probe.engine.spent.forward == 0


def parametrised(kind: str) -> nn.Module:
    module = seeded(TinyCNN).double()
    match kind:
        case "weight norm":
            nn.utils.parametrizations.weight_norm(module.conv2)
        case "spectral norm":
            nn.utils.parametrizations.spectral_norm(module.conv2)
        case "weight norm of old":
            nn.utils.weight_norm(module.conv2)
        case "computed before":
            weight = nn.Parameter(module.conv2.weight.detach())
            del module.conv2.weight
            module.conv2.weight = weight * 2
    return module.eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["weight norm", "spectral norm", "weight norm of old", "computed before"])
def test_weights_that_are_computed_are_constants(kind):
    module = parametrised(kind)
    assert_same(told(run(module, X, Operations)), told(run(module, X)))


def test_standardised_weights_are_constants():
    timm = pytest.importorskip("timm")
    module = seeded(
        timm.create_model, "resnetv2_50", num_classes=3, layers=(1, 1), channels=(16, 32)
    ).double()
    assert_same(told(run(module, X.repeat(1, 1, 4, 4), Operations)), told(run(module, X.repeat(1, 1, 4, 4))))


def test_a_plain_callable_is_run_like_a_module():
    def model(x):
        x = x.flatten(1)[:, :5] * 2 - 1
        x.relu_()
        return x

    assert_same(told(run(model, X, Operations)), told(run(lambda x: (x * 2 - 1).relu().flatten(1)[:, :5], X)))


def test_tensors_and_modes_of_the_users_own_are_let_be():
    class Own(Tensor):
        pass

    class Counting(TorchFunctionMode):
        count = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            Counting.count += 1
            return func(*args, **(kwargs or {}))

    def act(x):
        with Counting():
            return x.relu().sin()

    expected = told(run(doing(lambda x: x.relu().sin()), X))
    assert_same(told(run(doing(act), X.as_subclass(Own), Operations)), expected)
    assert Counting.count == 2


def test_operations_may_be_run_within_a_handler():
    other, seen = seeded(TinyCNN).double(), []

    class Asking(Operations):
        def other(self, call: Call):
            if call.name == "relu":
                seen.append(told(run(other, X, Operations)))
            return super().other(call)

    module = doing(torch.relu)
    assert_same(told(run(module, X, Asking)), told(run(module, X)))
    assert_same(seen[0], told(run(other, X)))


# --- what cannot be, and what is left afterwards ------------------------------------------------------------


def several(x):
    parts = [x * 1.0, x * 2.0]
    torch._foreach_add_(parts, 1.0)
    return parts[0] * parts[1]


def without_graph(x):
    x = x * 1.5
    with torch.no_grad():
        x.mul_(2)
    return x


def with_gaps(x):
    out = torch.empty_strided(x.shape, [2 * stride for stride in x.stride()], dtype=x.dtype)
    out[:, :3].copy_(x[:, :3])
    return out


def through_another_type(x):
    x = torch.fft.fft2(x)
    torch.view_as_real(x).relu_()
    return x.real


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (several, r"in layer 'act' changes several tensors by one operation \(_foreach_add\)"),
        (without_graph, "in layer 'act' changes in place, under torch.no_grad, what depends on the input"),
        (through_another_type, "in layer 'act' changes a view of its activations in place"),
        (with_gaps, "in layer 'act' changes a view of its activations in place"),
    ],
)
def test_a_change_that_cannot_be_followed_is_refused_with_its_place(act, told):
    with pytest.raises(ModelError, match=told):
        run(doing(Act(act)), X, Operations)


def fails(x):
    raise ValueError("no luck")


def raising(call: Call):
    raise torch.OutOfMemoryError("full")


class Raising(Operations):
    """Fails at the first ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.handlers = {"relu": raising}


@pytest.mark.parametrize(
    ("act", "make", "error"),
    [
        (fails, Operations, ModelError),
        (torch.relu, Raising, torch.OutOfMemoryError),
        (torch.sin, Operations, None),
    ],
)
def test_nothing_is_left_of_a_run(act, make, error):
    module, x = doing(Act(act)), X.clone()
    before, modes = state_of(module, x), _len_torch_function_stack()
    with pytest.raises(error) if error else contextlib.nullcontext():
        run(module, x, make)
    assert _len_torch_function_stack() == modes
    assert state_of(module, x) == before


def test_a_hook_that_fails_leaves_nothing_either():
    module = doing(torch.relu)
    module.conv.register_forward_hook(lambda *_: fails(0))
    before = state_of(module)
    with pytest.raises(ModelError, match="no luck"):
        run(module, X, Operations)
    assert _len_torch_function_stack() == 0
    assert state_of(module) == before


def test_a_models_buffers_are_not_written_to():
    class Remembering(TinyCNN):
        def __init__(self):
            super().__init__()
            self.register_buffer("last", torch.zeros(2, 3, 9, 11))

        def forward(self, x):
            self.last.copy_(x)
            return super().forward(self.last * 1)

    module = seeded(Remembering).double()
    assert_same(told(run(module, X, Operations)), told(run(seeded(TinyCNN).double(), X)))
    assert not module.last.any()


def test_the_place_is_known_behind_a_layer_that_failed():
    class Trying(nn.Module):
        def __init__(self):
            super().__init__()
            self.bad, self.good = Act(fails), Act(torch.sin)

        def forward(self, x):
            try:
                return self.bad(x)
            except ValueError:
                return self.good(x) + x

    places = {}

    class Noting(Operations):
        def other(self, call: Call):
            places[call.name] = call.where
            return super().other(call)

    run(nn.Sequential(Trying(), nn.Flatten()), X, Noting)
    assert places == {"sin": "0.good", "add": "0", "flatten": "1"}


def test_nothing_is_kept_that_the_graph_does_not_need():
    """Of x -> x1 -> relu in place -> x2 -> relu in place -> ... no value before a ReLU is needed."""
    alive = []

    class Watching(Operations):
        def other(self, call: Call):
            made = super().other(call)
            if call.name in ("conv2d", "relu"):
                alive.append((call.name, weakref.ref(made.untyped_storage())))
            return made

    layers = [part for _ in range(3) for part in (nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True))]
    taken = run(nn.Sequential(*layers, nn.Flatten()).double(), X, Watching)
    gc.collect()
    kept = [name for name, storage in alive if storage() is not None]
    assert len(alive) == 6
    assert taken.raw.requires_grad  # its graph is still there
    assert kept == ["relu"] * 3, kept  # each result is what a ReLU's own gradient reads


def test_what_was_written_is_forgotten_after_the_run_though_the_model_holds_the_old():
    held = []

    def act(x):
        x = x * 1.5
        held.append(x)
        x.relu_()
        return x

    assert len(run(doing(act), X, Operations).operations.now) == 0
    assert len(held) == 1


def test_a_layers_evidence_is_what_the_operation_in_place_has_made():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            x = self.conv(x)
            x.relu_()
            return x

    module = nn.Sequential(seeded(Two), nn.Flatten()).double()
    expected, taken = run(module, X, None, ["0"]), run(module, X, Operations, ["0"])
    assert torch.equal(taken.taps["0"].maps, expected.taps["0"].maps)
    outputs = outputs_of(taken.raw[0] if isinstance(taken.raw, tuple) else taken.raw)
    assert torch.equal(
        taken.gradients(outputs[:, 0])[0]["0"], expected.gradients(outputs_of(expected.raw)[:, 0])[0]["0"]
    )


@pytest.mark.parametrize(
    ("function", "name", "in_place"),
    [
        (Tensor.__iadd__, "add", True),
        (Tensor.__int__, "__int__", False),
        (Tensor.__invert__, "__invert__", False),
        (torch.ops.aten.relu_.default, "relu", True),
        (torch.ops.aten.relu, "relu", False),
    ],
)
def test_operations_are_recognised_whichever_way_they_are_called(function, name, in_place):
    known = recognised(function)
    assert (known.name, known.in_place) == (name, in_place)


def test_a_mapping_by_tensor_keeps_none_alive_and_knows_them_by_identity():
    notes, x, y = ByTensor(), torch.ones(2), torch.ones(2)
    notes[x], notes[y] = "x", "y"
    notes[x] += "!"
    assert (notes[x], notes[y], next(iter(notes)) is x, len(notes)) == ("x!", "y", True, 2)
    del x
    assert list(notes.values()) == ["y"]
    del notes[y]
    assert y not in notes


# --- what a probe gives -------------------------------------------------------------------------------------


def probing(module: nn.Module, x: Tensor, target=0) -> Probe:
    return Probe(Engine(Model(module)), x, target)


def test_one_run_serves_all_who_give_its_key_and_all_targets_and_layers():
    module, counter = watched(net("residual"))
    x = pictures("residual", 2)
    probe = probing(module, x)
    with probe.engine.session(0):
        first = run_with(probe, "plain", Operations, "net.stage1")
        again = run_with(probe, "plain", Operations)
        other = run_with(probe.about(1, "logit"), "plain", Operations)
        assert first.operations is again.operations is other.operations
        assert torch.equal(first.score, first.outputs[:, 0])
        assert torch.equal(other.score, first.outputs[:, 1])
        assert probe.raw is first.taken.raw  # the prediction
        assert counter.forward == [2]
        at_layers, at_input = first.backward(first.score)
        assert torch.equal(at_input, other.backward(first.outputs, torch.eye(6)[[0, 0]].double())[1])
        assert at_layers["net.stage1"].shape == first.layer("net.stage1")[0].maps.shape
        assert counter.backward == [2, 2]
        assert run_with(probe, "another", Operations).operations is not first.operations
        assert counter.forward == [2, 2]


def plainly(probe: Probe) -> Tensor:
    """The gradient, by operations that replace nothing."""
    modified = run_with(probe, "plain", Operations)
    return modified.backward(modified.score)[1]


def halving(probe: Probe) -> Tensor:
    """The same where memory suffices for two images."""
    modified = run_with(probe, "halving", Halving)
    return modified.backward(modified.score)[1]


class Halving(Operations):
    """Has no memory for more than two images."""

    sizes: ClassVar[list[int]] = []

    def other(self, call: Call):
        if call.name == "conv2d":
            Halving.sizes.append(len(call.args[0]))
            if len(call.args[0]) > 2:
                raise torch.OutOfMemoryError("full")
        return super().other(call)


@pytest.fixture
def toys(own_methods):
    """Registered methods that read nothing but replaced operations."""
    for name, function in (("plainly", plainly), ("halving", halving)):
        pellucid.method(name, family="relevance", paper="none", passes=(1, 1), reads="replaced operations")(
            function
        )


def test_a_method_alone_costs_one_pass_forward_and_one_back(toys):
    module, counter = watched(net("in-place"))
    x = pictures("in-place", 3)
    found = pellucid.explain(module, x, "plainly", progress=False)
    assert (counter.forward, counter.backward) == ([3], [3])
    assert (found.cost.forward, found.cost.backward) == (3, 3)
    plain = pellucid.explain(module, x, "input-x-gradient", progress=False)
    assert_same((found.raw * x,), (plain.raw,))
    assert torch.equal(found.score, plain.score)


def test_memory_that_runs_out_halves_the_batch(toys):
    x = pictures("reused", 5)
    Halving.sizes.clear()
    found = pellucid.explain(net("reused"), x, "halving", progress=False, batch_size=4).raw
    first = [size for i, size in enumerate(Halving.sizes) if i == 0 or size != Halving.sizes[i - 1]]
    assert first == [4, 2, 1]
    assert_same((found,), (pellucid.explain(net("reused"), x, "plainly", progress=False).raw,))


def test_copies_with_channels_last_are_run_otherwise_where_a_model_cannot_take_them():
    module, x = seeded(Viewing).double(), pictures("view", 2)
    probe = probing(module, x)
    with probe.engine.session(0):
        copies = probe.perturbed(x.repeat_interleave(2, 0))
        modified = run_with(copies, "plain", Operations)
        gradient = modified.backward(modified.score)[1]
        assert not probe.engine.channels_last
        assert probe.engine.spent.forward == 2 + 4
    expected = run(module, x)
    assert_same((gradient[::2],), (expected.gradients(outputs_of(expected.raw)[:, 0])[1],))
