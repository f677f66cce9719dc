"""DeepLIFT: closed forms, a literal twin, completeness on every network and operation, and captum, live."""

import math

import pytest
import torch
from captum.attr import DeepLift
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import pellucid
import pellucid.methods.relevance.deep_lift
from nets import BUILDERS, TinyCNN, net, pictures, watched
from pellucid.engine.rescale.multipliers import quotient, softmax
from pellucid.errors import InvalidValue, ModelError
from zoo import Homogeneous, ResidualNet, assert_close, images, raw, seeded

COMPLETE = [name for name in BUILDERS if name != "no_grad inside"]


def lift(net, x, **options) -> pellucid.Explanation:
    return pellucid.explain(net, x, "deep-lift", progress=False, **{"target": 1, **options})


class Applied(nn.Module):
    """A linear map of the image to (N, 6, 8), an operation on that, and a linear readout of 3 classes."""

    def __init__(self, operation) -> None:
        super().__init__()
        self.fc, self.act = nn.Linear(3 * 4 * 5, 48), Lambda(operation)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.scale * self.fc(x.flatten(1)).view(-1, 6, 8)).flatten(1)
        weights = torch.linspace(-1, 1, 3 * y.shape[1], dtype=y.dtype).sin().view(3, -1)
        return y @ weights.T


class Lambda(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def applied(operation) -> nn.Module:
    return seeded(Applied, operation).double()


def small(n: int = 2, seed: int = 1) -> Tensor:
    return images(n, (4, 5), seed=seed)


# --- what the map is ----------------------------------------------------------------------------------------


def test_the_rescale_rule_is_its_literal_chain_of_multipliers():
    mlp = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(60, 7), nn.ReLU(), nn.Linear(7, 5), nn.ReLU(),
                                       nn.Linear(5, 3))).double()  # fmt: skip
    x, start = small(1), small(1, seed=5)
    t, t0 = ([v.flatten().tolist()] for v in (x, start))
    weights = [(mlp[i].weight.tolist(), mlp[i].bias.tolist()) for i in (1, 3, 5)]
    for w, b in weights:  # t[2l] goes into layer l, t[2l + 1] comes out of it
        for values in (t, t0):
            z = [
                sum(a * v for a, v in zip(row, values[-1], strict=True)) + c
                for row, c in zip(w, b, strict=True)
            ]
            values += [z, [max(v, 0.0) for v in z]]
    m = [0.0, 1.0, 0.0]  # of class 1 itself
    for i, (w, _) in reversed(list(enumerate(weights))):
        if i < 2:  # the multipliers of the ReLU behind layer i
            z, z0 = t[2 * i + 1], t0[2 * i + 1]
            m = [k * (max(a, 0) - max(b, 0)) / (a - b) for k, a, b in zip(m, z, z0, strict=True)]
        m = [sum(k * row[j] for k, row in zip(m, w, strict=True)) for j in range(len(w[0]))]
    literal = torch.tensor([k * (a - b) for k, a, b in zip(m, t[0], t0[0], strict=True)], dtype=torch.float64)
    torch.testing.assert_close(lift(mlp, x, baseline=start).raw.flatten(), literal, rtol=1e-10, atol=1e-14)


def test_without_biases_from_zero_it_is_input_x_gradient():
    x, bare = images(), seeded(Homogeneous).double()
    torch.testing.assert_close(lift(bare, x).raw, raw(bare, x, "input-x-gradient", target=1))


@pytest.mark.parametrize(
    "act", [torch.tanh, torch.sigmoid, functional.softplus, functional.gelu, functional.mish]
)
def test_of_one_nonlinearity_between_linear_layers_it_is_integrated_gradients(act):
    x, one = small(), applied(act)
    smooth = raw(one, x, "integrated-gradients", target=1, baseline=0.3, steps=100)
    assert_close(lift(one, x, baseline=0.3).raw, smooth, 1e-6)


def test_evidence_passes_through_a_saturated_unit():
    """The paper's figure 1: y = 1 - relu(1 - x1 - x2), whose gradient at (1, 1) is zero."""

    class Saturated(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1 - (1 - x.sum((2, 3))).relu()

    x = torch.ones(1, 1, 1, 2)
    assert not raw(Saturated(), x, "saliency", target=1).any()  # of a single logit, itself
    torch.testing.assert_close(lift(Saturated(), x).raw, torch.full((1, 1, 1, 2), 0.5))


def test_a_maximums_change_goes_to_where_the_larger_one_was():
    pool = nn.Sequential(nn.MaxPool2d((1, 2)), nn.Flatten())
    x = torch.tensor([5.0, 1.0, 2.0, 1.0]).view(1, 1, 1, 4)
    start = torch.tensor([0.0, 3.0, 4.0, 6.0]).view(1, 1, 1, 4)
    for target, expected in enumerate(([2.0, 0, 0, 0], [0, 0, 0, -4.0])):  # 5 - 3; 2 - 6
        assert lift(pool, x, baseline=start, target=target).raw.flatten().tolist() == pytest.approx(expected)


# --- completeness -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", ["zero", pytest.param("blur", marks=pytest.mark.full)])
@pytest.mark.parametrize("name", COMPLETE)
def test_the_map_is_complete_on_every_network(name, baseline):
    e = lift(net(name), pictures(name), target=None, baseline=baseline)
    assert e.raw.any()
    assert e.delta.abs().max() < 1e-9 * e.raw.abs().sum((1, 2, 3)).min()
    assert not e.warnings


@pytest.mark.parametrize("output", ["probability", "loss"])
@pytest.mark.parametrize("name", ["residual", "vit", "single logit", "tuple"])
def test_the_map_is_complete_for_every_output(name, output):
    x, n = pictures(name), net(name)
    e = lift(n, x, target=0, output=output)
    with torch.no_grad():
        logits = [n(v.clone()) for v in (x, torch.zeros_like(x))]
    logits = [v[0] if isinstance(v, tuple) else v for v in logits]
    logits = [torch.cat([-v, v], 1) if v.shape[1] == 1 else v for v in logits]
    sure, sure0 = (v.log_softmax(1)[:, 0] if name != "single logit" else functional.logsigmoid(v[:, 0])
                   for v in logits)  # fmt: skip
    change = sure.exp() - sure0.exp() if output == "probability" else sure0 - sure
    torch.testing.assert_close(e.raw.sum((1, 2, 3)), change, rtol=1e-8, atol=1e-12)


W = torch.linspace(0.5, 1.5, 8, dtype=torch.float64)
EXACT = {
    "relu6": functional.relu6,
    "hardtanh": lambda y: functional.hardtanh(y, -0.3, 0.4),
    "clamp": lambda y: y.clamp(-0.2, 0.3),
    "leaky": lambda y: functional.leaky_relu(y, 0.1, inplace=True),
    "prelu": lambda y: functional.prelu(y, W[:6] / 3),
    "silu": functional.silu,
    "mish": functional.mish,
    "hardswish": functional.hardswish,
    "selu": functional.selu,
    "tanh gelu": lambda y: functional.gelu(y, approximate="tanh"),
    "exp": lambda y: y.exp(),
    "powers": lambda y: y**3 - y.pow(2) + (y.square() + 1) ** -0.5 + 2**y,
    "rational": lambda y: 1 / (1 + y.abs()) + (1 + y * y).sqrt().log(),
    "product": lambda y: y[:, :3] * y[:, 3:],
    "squeeze and excitation": lambda y: y * y.mean(2, keepdim=True).sigmoid(),
    "quotient": lambda y: y[:, :3] / (1 + y[:, 3:].square()),
    "quotient across zero": lambda y: y[:, :3] / (0.01 + y[:, 3:]),
    "matmul": lambda y: y @ y.mT,
    "einsum": lambda y: torch.einsum("nck,ndk->ncd", y, y),
    "baddbmm": lambda y: torch.baddbmm(y[:, :, :6], y, y.mT, beta=0.5),
    "dynamic convolution": lambda y: functional.conv1d(y, y[0].reshape(8, 6, 1)),
    "attention": lambda y: functional.scaled_dot_product_attention(y, y * W, y - 1),
    "masked attention": lambda y: functional.scaled_dot_product_attention(y, y, y, is_causal=True),
    "softmax": lambda y: functional.softmax(9 * y, -1),
    "log softmax": lambda y: y.log_softmax(1),
    "logsumexp": lambda y: y.logsumexp(2),
    "glu": lambda y: functional.glu(y, 1),
    "layer norm": lambda y: functional.layer_norm(y, (8,), weight=W, bias=W, eps=1e-3),
    "group norm": lambda y: functional.group_norm(y, 2, weight=W[:6]),
    "instance norm": lambda y: functional.instance_norm(y, weight=W[:6]),
    "rms norm": lambda y: functional.rms_norm(y, (6, 8)),
    "written layer norm": lambda y: (y - y.mean(-1, keepdim=True)) / (y.var(-1, keepdim=True) + 1e-5).sqrt(),
    "normalize": lambda y: functional.normalize(y, dim=2),
    "norm": lambda y: y.norm(dim=1) + torch.linalg.vector_norm(y, dim=1, keepdim=True)[:, 0],
    "std": lambda y: y.std(2) + y.std(dim=(1, 2), unbiased=False, keepdim=True)[:, 0],
    "var": lambda y: torch.var_mean(y, 1)[0] + y.var((1, 2), correction=0)[:, None],
    "maximum": lambda y: torch.maximum(y[:, :3], y[:, 3:]) - torch.minimum(y, -y)[:, :3],
    "amax": lambda y: y.amax((1, 2), keepdim=True) + y.amax(1, keepdim=True),
    "max": lambda y: y.max(2).values + y.max(-1)[0] + torch.max(y[:, :, :1], -y[:, :, :1])[..., 0],
    "pools": lambda y: functional.max_pool1d(y, 3, 2, 1) + functional.adaptive_max_pool1d(y, 4),
    "pool with places": lambda y: functional.max_pool2d(y[:, None], 2, return_indices=True)[0],
    "pool 3d": lambda y: functional.max_pool3d(y.view(-1, 1, 2, 3, 8), (2, 1, 3), ceil_mode=True),
    "written to an index": lambda y: _with_part_written(y),
    "written to a view": lambda y: _with_view_written(y),
    "chunks": lambda y: torch.cat([a * b for a, b in zip(*y.chunk(2, 1), strict=True)]).view(len(y), 3, 8),
}  # fmt: skip


def _with_part_written(y: Tensor) -> Tensor:
    buffer = torch.zeros(len(y), 6, 8, dtype=y.dtype)
    buffer[:, 1:] = y[:, :-1].tanh()
    buffer[:, 0] = y[:, 0]
    return buffer.sigmoid()


def _with_view_written(y: Tensor) -> Tensor:
    y = y * 1.0
    half, flat = y[:, :3], y.view(len(y), -1)
    half.tanh_()
    flat[:, -8:].mul_(y[:, 0])
    return y + half.exp().repeat(1, 2, 1)


@pytest.mark.parametrize("operation", EXACT)
def test_every_operation_shares_out_its_change(operation):
    x, start = small(1 if operation == "dynamic convolution" else 2), small(1, seed=5)
    e = lift(applied(EXACT[operation]), x, baseline=start)
    assert e.delta.abs().max() < 1e-11 * e.raw.abs().sum((1, 2, 3)).min()


@pytest.mark.parametrize(
    "operation",
    [
        lambda y: functional.local_response_norm(y, 3),
        lambda y: functional.cosine_similarity(y[:, :3], y[:, 3:] + 2, dim=2),
        lambda y: torch.einsum("nc,nc,nc->nc", y[..., 0], y[..., 1], y[..., 2]),
        lambda y: (y / 4).cumprod(2),
        lambda y: torch.std_mean(y, 1)[0],
    ],
)
def test_operations_without_a_closed_form_are_integrated(operation):
    e = lift(applied(operation), small(), baseline=small(1, seed=5))
    assert e.delta.abs().max() < 1e-6 * e.raw.abs().sum((1, 2, 3)).min()
    assert not e.warnings


def test_what_keeps_a_map_from_being_complete_is_named():
    steps = lift(applied(lambda y: (3 * y).round()), small(1))
    assert "No exact multipliers are known of round in layer 'act'." in steps.notes[0][0]
    mask = lift(applied(lambda y: y * (y.detach() > 0)), small(1), baseline=-9.0)
    assert "such as a mask or a branch" in mask.notes[0][0]
    assert mask.delta.abs() > 0.05 * (mask.raw.sum() - mask.delta).abs()


# --- multipliers that stay small ----------------------------------------------------------------------------


@given(
    st.floats(-8, 8), st.floats(-16, 0.5), st.sampled_from([1, -1]),
    st.sampled_from([functional.gelu, torch.tanh, torch.sigmoid, functional.silu, torch.exp]),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_quotients_explain_the_change_and_are_slopes_however_close_the_reference(
    at, exponent, sign, function
):
    x = torch.tensor([at], dtype=torch.float32)
    x0 = x - sign * 10**exponent
    middle = ((x + x0) / 2).requires_grad_()
    (slope,) = torch.autograd.grad(function(middle), middle)
    m = quotient(x, x0, function(x), function(x0), slope)
    y, y0 = (function(v.double()) for v in (x, x0))
    eps = torch.finfo(torch.float32).eps
    assert abs(m.double() * (x.double() - x0.double()) - (y - y0)) <= 16 * eps * sum(
        v.abs() for v in (y, y0, x, x0)
    )
    if exponent < -3:  # the function is straight there
        assert abs(m - slope) <= 0.01 * max(1, function(x).abs())


def test_a_reference_that_normalisation_blows_up_does_not_blow_up_the_map():
    """A flat image has no variance for a layer norm to divide by."""
    for operation in ("layer norm", "written layer norm", "normalize", "rms norm"):
        narrow = applied(EXACT[operation])
        nn.init.zeros_(narrow.fc.bias)
        e = lift(narrow, small())
        assert e.raw.abs().sum() < 100 * narrow(small()).abs().sum()
    for name in ("swin hf", "beit hf"):
        e = lift(net(name), pictures(name), target=None)
        assert e.raw.abs().max() < e.score.abs().max()


def test_softmax_is_finite_however_far_apart_scores_lie_and_where_they_are_hidden():
    z = torch.tensor([[100.0, -200.0, 3.0, -math.inf]], requires_grad=True)
    z0 = torch.tensor([[-150.0, 80.0, 3.0, -math.inf]])
    for target in range(4):
        (m,) = torch.autograd.grad(softmax(z, z0, 1)[0, target], z)
        assert m.isfinite().all()
        change = z.softmax(1) - z0.softmax(1)
        shares = m[0, :3] * (z - z0)[0, :3].detach()
        torch.testing.assert_close(shares.sum(), change[0, target].detach(), atol=1e-5, rtol=1e-5)


# --- against captum, live -----------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus])
@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks", "ignore:Input Tensor 0 did not already")
def test_networks_that_captum_can_follow_have_its_map(act):
    # An activation next to a max pool would break captum's hooks: its map is not complete then.
    net = seeded(lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3), act(), nn.Conv2d(6, 8, 3), nn.MaxPool2d(2), nn.BatchNorm2d(8), act(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 9), act(), nn.Linear(9, 4),
    )).double()  # fmt: skip
    x, start = images(), images(seed=5)
    theirs = DeepLift(net).attribute(x.clone(), start, target=1)
    assert_close(lift(net, x, baseline=start).raw, theirs.detach(), 1e-9)


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks", "ignore:Input Tensor 0 did not already")
def test_relu6_is_no_gradient_in_disguise(lite0, cat):
    """captum knows no ReLU6: there it gives input x gradient."""
    e = pellucid.explain(lite0, cat, "deep-lift", progress=False)
    x = lite0.prepare([cat])
    gradients = raw(lite0, x, "input-x-gradient")
    theirs = DeepLift(lite0.module.eval()).attribute(x.clone(), torch.zeros_like(x), target=e.target[0])
    assert_close(theirs.detach(), gradients, 1e-4)
    with torch.no_grad():
        change = float((lite0.module(x) - lite0.module(torch.zeros_like(x)))[0, e.target[0]])
    assert abs(float(theirs.detach().sum()) - change) > abs(change)
    assert float(e.raw.double().sum()) == pytest.approx(change, rel=1e-3)
    assert (e.cost.forward, e.cost.backward) == (2, 1)


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks", "ignore:Input Tensor 0 did not already")
def test_modules_may_be_used_twice():
    reused, x = seeded(ResidualNet).double(), images()
    with pytest.raises(RuntimeError, match="Module ReLU"):
        DeepLift(reused).attribute(x.clone(), torch.zeros_like(x), target=1)
    e = lift(reused, x)
    assert e.delta.abs().max() < 1e-12 * e.raw.abs().sum()


# --- any way of writing, any batch --------------------------------------------------------------------------


def test_every_way_of_writing_a_relu_gives_the_same_map():
    x = images()
    maps = [lift(seeded(TinyCNN, way).double(), x).raw
            for way in ("module", "inplace", "functional", "inplace functional", "method")]  # fmt: skip
    ways = [lambda y: y.clamp(min=0), lambda y: torch.maximum(y, 0 * y), lambda y: y.clamp_min_(0),
            lambda y: (y + y.abs()) / 2, lambda y: functional.threshold(y, 0, 0)]  # fmt: skip
    for way in ways:
        written = seeded(TinyCNN).double()
        written.relu = Lambda(way)
        maps.append(lift(written, x).raw)
    for other in maps[1:]:
        assert_close(other, maps[0], 1e-12)


@pytest.mark.full
@pytest.mark.parametrize("name", ["residual", "vit", "swin torchvision", "beit hf"])
def test_images_do_not_see_each_other(name):
    x, start = pictures(name), pictures(name, seed=9)
    together = lift(net(name), x, baseline=start)
    for i in range(len(x)):
        assert_close(together.raw[i], lift(net(name), x[i : i + 1], baseline=start[i : i + 1]).raw[0], 1e-9)


def test_the_cost_is_two_forward_and_one_backward_passes():
    module, counter = watched(seeded(ResidualNet).double())
    e = lift(module, images(2))
    assert (sum(counter.forward), sum(counter.backward)) == (e.cost.forward, e.cost.backward) == (4, 2)


# --- what is refused, and told ------------------------------------------------------------------------------


def test_a_baseline_that_is_the_image_gives_zero_and_a_word():
    e = lift(seeded(ResidualNet).double(), images(2), baseline=images(2))
    assert not e.raw.any()
    assert all("there is no path between them" in notes[0] for notes in e.notes)


def test_a_baseline_of_another_size_is_refused():
    with pytest.raises(InvalidValue, match="baseline must be as large as the inputs"):
        lift(seeded(ResidualNet).double(), images(), baseline=torch.zeros(3, 5, 5, dtype=torch.float64))


def test_a_custom_autograd_function_inside_is_refused():
    class Cubed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            ctx.save_for_backward(y)
            return y**3

        @staticmethod
        def backward(ctx, gradient):
            return 3 * ctx.saved_tensors[0] ** 2 * gradient

    with pytest.raises(ModelError, match="no operation of PyTorch's own"):
        lift(applied(lambda y: Cubed.apply(y).tanh()), small())
