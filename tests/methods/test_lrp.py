"""LRP on whole networks: closed forms, conservation, spellings, and every way to ask for it wrongly."""

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typer.testing import CliRunner

import pellucid
from nets import BUILDERS, FIXED_SIZE, Reused, TinyCNN, net, pictures, state_of
from pellucid.cli import app
from pellucid.errors import InvalidType, InvalidValue, ModelError, PellucidError
from pellucid.preprocess import Preprocess
from test_rules import twin, written_out
from zoo import GapNet, Homogeneous, ResidualNet, assert_close, images, raw, seeded, swept

FEW = ["epsilon-plus-flat", "gamma:0.25;attention=all;product=half"]
COMPOSITES = [
    *FEW, "epsilon-plus", "epsilon-alpha2-beta1", "excitation-backprop", "epsilon;bias=ignored",
    "z-plus;first=w-square;last=lrp-0",
]  # fmt: skip
EXPLAINED = [name for name in BUILDERS if name != "no_grad inside"]


def lrp(
    module: nn.Module | pellucid.Model, x: Tensor, composite: str, **options: object
) -> pellucid.Explanation:
    return pellucid.explain(module, x, "lrp", composite=composite, progress=False, **options)


# --- closed forms ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [Homogeneous, GapNet, ResidualNet, TinyCNN, Reused])
def test_lrp_0_is_input_x_gradient_where_all_is_piecewise_linear(build: type[nn.Module]) -> None:
    """Of ReLUs, max pools, batch norms, sums and averages; large inputs make light of stabilisers."""
    module, x = seeded(build).double(), 1e4 * images()
    assert_close(raw(module, x, "lrp", composite="lrp-0"), raw(module, x, "input-x-gradient"), 1e-6)


def test_the_default_is_its_rules_one_after_the_other() -> None:
    """conv (first: flat), ReLU, mean (epsilon), linear (epsilon): each by its matrix."""
    module, x = seeded(GapNet, classes=3, width=4).double(), images(1, (5, 6))
    found = lrp(module, x, "epsilon-plus-flat", target=1)
    a = module.relu(module.conv(x)).detach()
    pooled = a.mean((2, 3))
    start = module.fc(pooled)[0, 1].detach()
    W, b = module.fc.weight.detach()[1:2], module.fc.bias.detach()[1:2]
    R, of_bias, taken = twin("epsilon", W, W, pooled[0], b, start[None])
    M, none = written_out(lambda a: a.mean((2, 3)), tuple(a.shape[1:]))
    R, _, more = twin("epsilon", M, M, a.flatten(), none, R)
    M, b = written_out(lambda x: module.conv(x).detach(), tuple(x.shape[1:]))
    R, _, most = twin("flat", M, M.abs() > 1e-12, x.flatten(), b, R)
    assert_close(found.raw.flatten(), R, 1e-9)
    assert found.details["biases"].item() == pytest.approx(of_bias, rel=1e-7)
    assert found.details["absorbed"].item() == pytest.approx(taken + more + most, rel=1e-3)


def test_a_composite_may_be_written_out() -> None:
    module, x = net("residual"), pictures("residual")
    named = lrp(module, x, "epsilon-plus-flat").raw
    assert torch.equal(named, lrp(module, x, "epsilon;conv=z-plus;first=flat").raw)
    assert torch.equal(named, lrp(module, x, "z-plus ; dense=epsilon:1e-6; stem=flat").raw)
    assert not torch.allclose(named, lrp(module, x, "epsilon-plus-flat;stage2.*=gamma:1").raw)


@pytest.mark.parametrize("name", ["guided-backprop", "deconvnet"])
def test_composites_of_rectifiers_are_the_methods_of_that_name(name: str) -> None:
    module, x = net("residual"), pictures("residual")
    assert torch.equal(lrp(module, x, name).raw, raw(module, x, name))
    for option in ({"start": "one"}, {"low": 0, "high": 1}):
        with pytest.raises(InvalidValue, match="shares nothing out: leave out start, low and high"):
            lrp(module, x, name, **option)


# --- conservation ------------------------------------------------------------------------------------------


KINDS = ("residual", "reused", "nhwc", "dense", "one channel", "tuple", "train mode", "vit", "beit", "vit hf",
         "swin timm")  # fmt: skip


@pytest.mark.parametrize("name", swept(EXPLAINED, KINDS))
def test_all_that_is_shared_out_arrives_somewhere(name: str) -> None:
    x = pictures(name, 2)
    score = pellucid.explain(net(name), x, "input-x-gradient", progress=False).score
    for composite in FEW if name in FIXED_SIZE else COMPOSITES:
        e = lrp(net(name), x, composite)
        assert e.delta is not None
        assert e.raw.isfinite().all()
        arrived = e.raw.sum((1, 2, 3)) + e.details["biases"] + e.details["absorbed"]
        top = float(e.raw.abs().sum((1, 2, 3)).max() + score.abs().max())
        assert torch.allclose(arrived, score.to(arrived), rtol=0, atol=1e-6 * top), composite
        assert e.delta.abs().max() <= 1e-9 * top, composite


@pytest.mark.parametrize(
    "name", swept(["in-place", "dense", "vit", "swin torchvision", "nhwc"], ["dense", "vit"])
)
def test_images_of_a_batch_are_explained_alone(name: str) -> None:
    x = pictures(name)
    for composite in ("epsilon-plus-flat", "epsilon;attention=all;product=half"):
        whole = lrp(net(name), x, composite)
        for i in range(3):
            one = lrp(net(name), x[i : i + 1], composite)
            assert_close(whole.raw[i : i + 1], one.raw, 1e-9)
            for detail in ("biases", "absorbed"):
                assert whole.details[detail][i].item() == pytest.approx(one.details[detail].item(), rel=1e-6)


def test_what_is_shared_out_is_the_score_or_one_or_a_contrast() -> None:
    module, x = net("residual"), pictures("residual", 2)
    score = module(x)[:, 3].detach()

    def total(e: pellucid.Explanation) -> Tensor:
        return e.raw.sum((1, 2, 3)) + e.details["biases"] + e.details["absorbed"]

    logit, one, contrast = (
        lrp(module, x, "epsilon", target=3, start=start) for start in ("logit", "one", "contrast")
    )
    assert torch.allclose(total(logit), score)
    assert torch.allclose(total(one), torch.ones(2).double())
    assert torch.allclose(logit.raw, score.view(-1, 1, 1, 1) * one.raw)
    assert total(contrast).abs().max() < 1e-12
    others = [lrp(module, x, "epsilon", target=k, start="one").raw for k in (0, 1, 2, 4, 5)]
    expected = score.view(-1, 1, 1, 1) * (one.raw - sum(others) / 5)
    assert_close(contrast.raw, expected, 1e-9)
    margin = lrp(module, x, "epsilon", target=pellucid.Contrast(3, 1))
    assert torch.allclose(total(margin), score - module(x)[:, 1])


def test_a_probability_is_shared_out_by_the_logits_that_make_it() -> None:
    """Where it starts, the outputs answer by gradient x output: that need not sum to the probability."""
    module, x = net("in-place"), pictures("in-place", 2)
    e = lrp(module, x, "epsilon", target=1, output="probability")
    logits = module(x).detach()
    p = logits.softmax(1)
    slope = p[:, 1:2] * (F.one_hot(torch.tensor([1, 1]), 5) - p)
    total = e.raw.sum((1, 2, 3)) + e.details["biases"] + e.details["absorbed"]
    assert torch.allclose(total, (slope * logits).sum(1))
    assert e.delta is not None
    assert e.delta.abs().max() < 1e-9


# --- spellings and state -----------------------------------------------------------------------------------


def test_the_map_does_not_depend_on_how_a_network_is_written() -> None:
    x = pictures("in-place", 2)
    spellings = ["inplace", "module", "functional", "inplace functional", "method"]
    for composite in ("epsilon-plus-flat", "gamma:0.25", "epsilon-alpha2-beta1"):
        maps = [lrp(seeded(TinyCNN, relu).double(), x, composite).raw for relu in spellings]
        assert all(torch.equal(maps[0], other) for other in maps[1:])


class Unrolled(nn.Module):
    """`Reused`, with three modules that hold the same weights."""

    def __init__(self, reused: Reused) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            reused.stem, nn.ReLU(), *[layer for _ in range(3) for layer in (_copy(reused.conv), nn.ReLU())]
        )
        self.fc = reused.fc

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(nn.functional.adaptive_avg_pool2d(self.layers(x), 1).flatten(1))


def _copy(conv: nn.Conv2d) -> nn.Conv2d:
    copy = nn.Conv2d(6, 6, 3, padding=1).double()
    copy.load_state_dict(conv.state_dict())
    return copy


def test_a_module_that_runs_three_times_is_three_layers() -> None:
    reused, x = net("reused"), pictures("reused", 2)
    for composite in ("epsilon-plus-flat", "gamma:0.25"):
        assert_close(lrp(reused, x, composite).raw, lrp(Unrolled(reused), x, composite).raw, 1e-12)


@pytest.mark.parametrize("name", ["in-place", "residual", "vit", "train mode", "dense"])
def test_nothing_is_changed(name: str) -> None:
    module, x = net(name), pictures(name)
    before = state_of(module, x)
    lrp(module, x, "epsilon-plus-flat")
    assert state_of(module, x) == before
    with pytest.raises(PellucidError):
        lrp(module, x, "epsilon-plus;nowhere.*=flat")
    assert state_of(module, x) == before


# --- bounds ------------------------------------------------------------------------------------------------


def boxed(low: Tensor, high: Tensor, module: GapNet, x: Tensor, R: Tensor) -> Tensor:
    """zB of one convolution without padding, as Montavon 2017 writes it."""
    W = module.conv.weight.detach()
    leaves = [t.expand_as(x).clone().requires_grad_() for t in (x, low.view(-1, 1, 1), high.view(-1, 1, 1))]
    parts = [F.conv2d(t, w) for t, w in zip(leaves, (W, -W.clamp(min=0), -W.clamp(max=0)), strict=True)]
    z = sum(parts).detach()
    slopes = torch.autograd.grad(parts, leaves, [R / (z + 1e-6 * z.sign())] * 3)
    return sum(leaf.detach() * slope for leaf, slope in zip(leaves, slopes, strict=True))


def test_a_box_is_the_pictures_black_and_white_unless_it_is_given() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    module = seeded(GapNet).double()
    model = pellucid.Model(module, preprocess=Preprocess((12, 17), 12, mean=mean, std=std))
    white = torch.rand(2, 3, 12, 17, dtype=torch.float64)
    m, s = (torch.tensor(v, dtype=torch.float64) for v in (mean, std))
    x = (white - m.view(-1, 1, 1)) / s.view(-1, 1, 1)
    low, high = -m / s, (1 - m) / s
    found = lrp(model, x, "epsilon-gamma-box").raw
    for bounds in ({"low": low.tolist(), "high": high.tolist()}, {"low": low, "high": tuple(high.tolist())}):
        assert_close(lrp(module, x, "epsilon-gamma-box", **bounds).raw, found, 1e-12)
    text = {"low": ",".join(map(str, low.tolist())), "high": ",".join(map(str, high.tolist()))}
    assert_close(lrp(module, x, "epsilon-gamma-box", **text).raw, found, 1e-12)

    y = module.relu(module.conv(x)).detach()
    logits = module(x).detach()
    best = logits.argmax(1)
    one = y.mean((2, 3)) * module.fc.weight.detach()[best]
    z = logits.gather(1, best[:, None])
    R = (one * z / (z + 1e-6 * z.sign()))[:, :, None, None] * y / y.sum((2, 3), keepdim=True)
    assert_close(found, boxed(low, high, module, x, R), 1e-5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "z-box needs the lowest and highest inputs: pass low= and high="),
        ({"low": 0}, "low and high must come together"),
        ({"high": 1}, "low and high must come together"),
        ({"low": 1, "high": 1}, "low must be below high"),
        ({"low": 2, "high": -2}, "low must be below high"),
        ({"low": (0, 0), "high": (9, 9)}, "one for each of 3 channels; got 2"),
        ({"low": -1, "high": (1, 1, 1, 1)}, "high must be one number, or one for each of 3 channels; got 4"),
        ({"low": float("nan"), "high": 1}, "low must be finite"),
        ({"low": [], "high": 1}, "low must be finite"),
        ({"low": "dark", "high": 1}, "low must be a number, or one per channel; got 'dark'"),
        ({"low": 0.5, "high": 0.6}, "low and high must enclose what the first layer reads"),
        ({"composite": "epsilon-plus", "low": 0, "high": 1}, "read by the rule z-box, which 'epsilon-plus'"),
        ({"composite": "z-box", "low": -9, "high": 9}, "operations that read the input itself"),
    ],
)
def test_bounds_that_are_none_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises((InvalidValue, InvalidType), match=says):
        lrp(seeded(GapNet).double(), images(), **({"composite": "epsilon-gamma-box"} | options))


# --- what cannot be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("composite", "says"),
    [
        ("epsilon-minus", "composite must begin with one of epsilon-plus, .*guided-backprop, deconvnet"),
        ("epsilon-plus;first=flatt", "A rule must be one of"),
        ("epsilon-plus;conv=alpha-beta:1:1", "alpha - beta = 1"),
        ("epsilon-plus;stem=flat;st*=gamma", r"Only one pattern .*'stem' matches 'stem' and 'st\*'"),
        ("epsilon-plus;frist=flat", "'frist' matches none.*pellucid doctor --layers"),
        ("epsilon-plus;stage1.relu=flat", "'stage1.relu' matches none"),
        ("guided-backprop;first=flat", "composite must begin with one of"),
    ],
)
def test_a_composite_that_cannot_be_is_refused(composite: str, says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        lrp(net("residual"), pictures("residual"), composite)


def test_a_composite_is_text() -> None:
    with pytest.raises(InvalidType, match="composite must be text such as 'epsilon-plus-flat'; got int"):
        pellucid.explain(net("residual"), pictures("residual"), "lrp", composite=3, progress=False)


def summed(raw: Tensor) -> Tensor:
    return raw.sum(1)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("residual", {"start": "two"}, "start must be one of .*; got 'two'"),
        ("residual", {"start": "contrast", "target": summed}, "needs a target that is one class"),
        ("residual", {"start": "contrast", "target": pellucid.Contrast(0, 1)}, "target that is one class"),
        ("single logit", {"start": "contrast"}, "of a model with several"),
    ],
)
def test_a_start_that_cannot_be_is_refused(name: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        lrp(net(name), pictures(name), "epsilon", **options)


def test_a_callable_target_is_shared_out() -> None:
    module, x = net("residual"), pictures("residual", 2)
    e = lrp(module, x, "epsilon", target=summed)
    parts = [lrp(module, x, "epsilon", target=k).raw for k in range(6)]
    assert_close(e.raw, sum(parts), 1e-9)


class Squared(torch.autograd.Function):
    """All that is known of it is its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradients[0]


class Custom(TinyCNN):
    """Goes through a function of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(Squared.apply(x))


def quantised() -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval()
    return torch.ao.quantization.quantize_dynamic(net, {nn.Linear})


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "TorchScript": (
        lambda: torch.jit.trace(seeded(TinyCNN), torch.rand(1, 3, 8, 8), check_trace=False),
        "is TorchScript, which lets no one look in",
    ),
    "custom function": (
        lambda: seeded(Custom), "computes something by SquaredBackward.*custom autograd function"
    ),
    "quantised": (quantised, "is quantised and has no gradient"),
    "no rule": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), Cumulative(), nn.Flatten(), nn.Linear(256, 2)).eval(),
        r"have no rule that carries relevance: cumprod in 1, logcumsumexp in 1\.",
    ),
}  # fmt: skip


class Cumulative(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumprod(1).logcumsumexp(2)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_no_rule_can_follow_is_refused_in_a_sentence(name: str) -> None:
    build, says = REFUSED[name]
    with pytest.raises(ModelError, match=says) as raised:
        lrp(build(), torch.rand(2, 3, 8, 8), "epsilon")
    assert "\n" not in str(raised.value)


def test_what_was_taken_to_first_order_is_told() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), Cumulative(), nn.Flatten(), nn.Linear(256, 2)).double().eval()
    e = lrp(module, torch.rand(2, 3, 8, 8).double(), "epsilon;unknown=gradient")
    (warning,) = e.warnings
    assert "taken by their first-order expansion: cumprod in 1, logcumsumexp in 1." in warning
    assert e.delta is not None
    assert e.delta.abs().max() < 1e-9
    warnings = lrp(net("residual"), pictures("residual"), "epsilon;unknown=gradient").warnings
    assert all("pixels hold" in text for text in warnings)


def test_relevance_that_grew_out_of_all_measure_is_told() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False)).double()
    module[1].weight.data = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, -1.0]]).double()
    x = torch.tensor([[[[1.0]], [[1 - 1e-6]], [[1.0]]], [[[2.0]], [[1.0]], [[1.0]]]]).double()
    e = lrp(module, x, "lrp-0")
    (warning,) = e.warnings
    assert "Relevance grew to 2.0e+00" in warning
    assert [bool(notes) for notes in e.notes] == [True, False]
    assert torch.allclose(e.raw[0, :, 0, 0], torch.tensor([1, -1 + 1e-6, 0]).double())


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("lrp:composite=epsilon-minus", "composite must begin with one of"),
        ("lrp:composite=epsilon-plus;first=flatt", "A rule must be one of"),
        ("lrp:composite=alpha-beta:2:2", "alpha - beta = 1"),
        ("lrp:composite=epsilon-gamma-box,low=-3", "low and high must come together"),
        ("lrp:composite=epsilon-gamma-box,low=3,3,3,high=-3,-3,-3", "low must be below high"),
        ("lrp:start=two", "start must be one of"),
        ("lrp:composite=epsilon-plus;frist=flat", "matches none"),
    ],
)
def test_the_command_line_says_so_too(asked: str, says: str) -> None:
    result = CliRunner().invoke(app, ["explain", "sample:cat", "-m", asked])
    assert result.exit_code != 0
    assert says in " ".join(result.output.split())
    assert "Traceback" not in result.output


# --- architectures -----------------------------------------------------------------------------------------

HEAVY = {
    "alexnet", "vgg19", "vgg19_bn", "resnet50", "wide_resnet50_2", "resnext50_32x4d", "densenet169",
    "vit_b_16",
}  # fmt: skip
"""More of the same, in many more weights."""
spec = spec_from_file_location("conservation", Path(__file__).parents[2] / "benchmarks/conservation.py")
assert spec is not None
assert spec.loader is not None
conservation = module_from_spec(spec)
spec.loader.exec_module(conservation)


SMALL = ("resnet18", "mobilenet_v2", "vit_tiny_patch16_224", "efficientnet-lite0 (ImageNet)")


@pytest.mark.parametrize("name", swept([m for m in conservation.MODELS if m not in HEAVY], SMALL))
def test_relevance_is_all_accounted_for_on_common_architectures(name: str) -> None:
    """In float32, out of the box; and some of it reaches the pixels, or this would say nothing."""
    module, x = conservation.case(name, 64)
    for composite in ("epsilon-plus-flat", "epsilon-gamma-box"):
        shares = conservation.measured(module, x, composite)
        assert shares["error"] < 1e-4
        assert abs(shares["pixels"]) > 1e-5
