"""FullGrad: that no bias is missed on any network, closed forms, slow twins by hooks, and a peer, live."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorch_grad_cam import FullGrad
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional

import pellucid
from nets import BUILDERS, Around, net, pictures
from pellucid.engine.biases import Bias, Biases, by_sample
from pellucid.engine.mixing import RowsUnknown
from pellucid.engine.operations import Operations
from pellucid.engine.run import Engine
from pellucid.errors import InvalidValue, ModelError
from pellucid.methods.relevance.full_grad import decompose
from pellucid.model import Model
from pellucid.probe import Probe, run_with
from zoo import Homogeneous, ResidualNet, assert_close, images, raw, seeded

GRAPHS = [name for name in BUILDERS if name != "no_grad inside"]


def told(module: nn.Module, x: Tensor, **options: Any) -> dict[str, Tensor]:
    """The score's parts, and the score."""
    e = pellucid.explain(module, x, "full-grad", progress=False, **options)
    return {**e.details, "score": e.score.double()}


def terms(module: nn.Module, x: Tensor, target: Any) -> tuple[Tensor, list[tuple[Bias, Tensor]]]:
    """x * dS/dx, and every bias with b * dS/dz, as the last one comes back first."""
    seen: list[tuple[Bias, Tensor]] = []
    engine = Engine(Model.wrap(module))
    with engine.session(0):
        found = decompose(Probe(engine, x, target), lambda bias, g: seen.append((bias, bias.value * g)))
    return found.at_input.detach(), seen


# --- completeness -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRAPHS)
def test_no_bias_of_any_network_is_missed(name: str) -> None:
    parts = told(net(name), pictures(name))
    whole = parts["input_part"] + parts["bias_part"]
    assert_close(parts["score"], whole, 1e-6)  # kept in float32; what is missed is told in float64
    assert (parts["missed"].abs() <= 1e-9 * whole.abs()).all()
    assert (parts["bias_part"].abs() > 1e-3 * whole.abs()).all()  # the gradient alone would not do


@pytest.mark.parametrize(
    "asked",
    [{"output": "probability"}, {"output": "loss"}, {"target": pellucid.Contrast(1, 3)},
     {"target": lambda outputs: outputs.logsumexp(1)}, {"target": lambda outputs: outputs[:, 2] ** 3 + 5}],
    ids=["probability", "loss", "contrast", "logsumexp", "cube"],
)  # fmt: skip
def test_what_a_target_computes_of_the_outputs_has_biases_too(asked: dict[str, Any]) -> None:
    parts = told(net("vit"), pictures("vit"), **asked)
    assert (parts["missed"].abs() <= 1e-9 * parts["score"].abs()).all()


class Everything(nn.Module):
    """Operations of which most have a bias nobody has written down."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.group, self.instance, self.lstm = nn.GroupNorm(2, 6), nn.InstanceNorm2d(6), nn.GRU(6, 5)
        self.norm = nn.BatchNorm2d(6, affine=False)
        nn.init.normal_(self.norm.running_mean)
        self.prelu, self.position = nn.PReLU(6), nn.Parameter(torch.randn(6, 1, 1))
        self.head = nn.Bilinear(6, 5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(self.conv(1 - x), (1, 1), value=0.3)
        x = self.prelu(self.group(self.norm(self.up(functional.silu(x)))))
        x = x * self.instance(x).sigmoid() + self.position
        x = torch.where(x > 0.2, x, 0.1 * x.exp()).clamp(-3, 3)
        x = functional.hardswish(x, inplace=True) / (
            1 + functional.lp_pool2d(x, 3, 1).mean((1, 2, 3), keepdim=True)
        )
        x = torch.cat([x, torch.ones_like(x[:, :, :1])], 2)
        x[:, 0] = x[:, 0].abs().sqrt()
        x[:, 1, 2:4] = 0.7
        pooled = functional.normalize(x.amax((2, 3)) + x.std((2, 3)), dim=1)
        tokens, _ = self.lstm(x.flatten(2).permute(2, 0, 1)[:7])
        return self.head(pooled, tokens.softmax(-1).mean(0))


def test_no_bias_is_missed_of_operations_of_all_kinds() -> None:
    module, x = seeded(Everything).double(), images(size=(10, 13))
    parts = told(module, x, target=1)
    assert (parts["missed"].abs() <= 1e-9 * parts["score"].abs()).all()


def test_an_unbiased_network_has_none() -> None:
    """f(a x) = a f(x): the input's part is the score, and the map is the input's alone."""
    module, x = seeded(Homogeneous).double(), images()
    at_input, seen = terms(module, x, 1)
    assert seen == []
    assert_close(at_input.sum((1, 2, 3)), module(x)[:, 1].detach(), 1e-12)
    assert_close(raw(module, x, "full-grad", target=1), psi(at_input, x), 1e-12)


def test_what_has_no_forward_derivative_is_named() -> None:
    module = Around(net("in-place"), before=lambda x: x + torch.cdist(x, x)[..., :1])
    with pytest.raises(ModelError, match="'cdist' has no forward derivative"):
        pellucid.explain(module, pictures("in-place"), "full-grad", progress=False)


# --- each operation's own bias ------------------------------------------------------------------------------

NONLINEAR: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu, "gelu": functional.gelu, "relu6": functional.relu6, "elu": functional.elu,
    "softplus": functional.softplus, "exp": torch.exp, "in place": nn.Hardswish(inplace=True),
}  # fmt: skip
WITHOUT: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu, "leaky": functional.leaky_relu, "abs": torch.abs,
    "max pool": lambda z: functional.max_pool2d(z, 2), "mean": lambda z: z.mean((2, 3), keepdim=True),
    "bicubic": lambda z: functional.interpolate(z, scale_factor=1.5, mode="bicubic"),
    "scaled": lambda z: z * 0.3 / 7.0, "norm": lambda z: torch.linalg.vector_norm(z, dim=1, keepdim=True),
    "residual": lambda z: z + z.flip(-1), "reused": lambda z: z.add_(z),
}  # fmt: skip


class Only(nn.Module):
    """One operation, and the sum of what it gives, weighed."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        y = self.f(x * 5.0)
        weights = torch.linspace(-1, 2, y[0].numel(), dtype=y.dtype)
        return (y.flatten(1) * weights).sum(1, keepdim=True).expand(-1, 3)


@pytest.mark.parametrize("name", NONLINEAR)
def test_a_nonlinearity_has_the_bias_f_minus_its_slope_times_what_goes_in(name: str) -> None:
    f, x = NONLINEAR[name], images(size=(4, 6))
    _, ((bias, product),) = terms(Only(f), x, 0)
    z = (5.0 * x).requires_grad_()
    y = f(z + 0.0)
    (slope,) = torch.autograd.grad(y.sum(), z)
    expected = (y - slope * z).detach()
    assert_close(bias.value, expected, 1e-12)
    weights = torch.linspace(-1, 2, x[0].numel(), dtype=x.dtype).view_as(x[0])
    assert_close(product, expected * weights, 1e-12)
    assert not bias.added


@pytest.mark.parametrize("name", WITHOUT)
def test_what_scales_with_its_input_has_no_bias_not_even_a_rounded_one(name: str) -> None:
    for x in (images(size=(6, 8)), images(size=(6, 8)).float()):
        assert terms(Only(WITHOUT[name]), x, 0)[1] == []


def test_constants_that_are_added_are_biases_by_their_place() -> None:
    shift = torch.randn(3, 6, 8, dtype=torch.float64)
    x = images(size=(6, 8))
    for f, expected in {
        "module": (lambda z: z + shift, shift),
        "in place": (lambda z: z.sub_(shift), -shift),
        "number": (lambda z: 2 - z, torch.full_like(shift, 2)),
        "scaled": (lambda z: torch.add(z, shift, alpha=3), 3 * shift),
    }.values():
        _, ((bias, _),) = terms(Only(f), x, 0)
        assert bias.added
        assert_close(bias.value, expected.expand_as(x), 1e-12)


# --- the map ------------------------------------------------------------------------------------------------


def psi(term: Tensor, x: Tensor) -> Tensor:
    """One image and one channel at a time, resized before the sum."""
    maps = []
    for one in term.abs():
        low, high = one.min(), one.max()
        unit = (one - low) / (high - low) if high > low else torch.zeros_like(one)
        total = torch.zeros_like(x[0, 0])
        for channel in unit:
            total += functional.interpolate(channel[None, None], x.shape[2:], mode="bilinear")[0, 0]
        maps.append(total)
    return torch.stack(maps)


def plain(act: type[nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), act(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), act(),
        nn.Conv2d(8, 4, 1), act(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5),
    )  # fmt: skip


def trained(build: Callable[[], nn.Module]) -> nn.Module:
    module = seeded(build).double()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.2)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.2)
    return module


def by_hooks(module: nn.Module, x: Tensor, target: int) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """x * dS/dx, and of each convolution and batch norm with a bias (b * dS/dz, dS/dz): the authors' way."""
    kept: list[tuple[nn.Module, Tensor]] = []
    handles = [
        child.register_forward_hook(lambda m, args, out: kept.append((m, out)))
        for child in module.modules()
        if isinstance(child, (nn.Conv2d, nn.BatchNorm2d)) and child.bias is not None
    ]
    leaf = x.clone().requires_grad_()
    score = module(leaf)[:, target].sum()
    for handle in handles:
        handle.remove()
    gradient, *gradients = torch.autograd.grad(score, [leaf, *(out for _, out in kept)])
    found = []
    for (layer, _), G in zip(kept, gradients, strict=True):
        b = layer.bias
        if isinstance(layer, nn.BatchNorm2d):
            b = b - layer.running_mean * layer.weight / torch.sqrt(layer.running_var + layer.eps)
        found.append((b.detach()[None, :, None, None] * G, G))
    return leaf.detach() * gradient, found


@pytest.mark.parametrize("build", [plain, ResidualNet])
def test_the_maps_are_those_of_hooks_on_every_module_with_a_bias(build: Callable[[], nn.Module]) -> None:
    module, x = trained(build), images(size=(20, 31))
    if build is ResidualNet:  # whose ReLUs work in place: hooks would keep what was overwritten
        for child in module.modules():
            if isinstance(child, nn.ReLU):
                child.inplace = False
    at_input, found = by_hooks(module, x, 2)
    expected = psi(at_input, x) + sum(psi(product, x) for product, _ in found)
    assert_close(raw(module, x, "full-grad", target=2), expected, 1e-12)
    expected = psi(at_input, x) + sum(psi(G, x) for _, G in found)
    assert_close(raw(module, x, "simple-full-grad", target=2), expected, 1e-12)
    assert len(found) >= 4


def test_simple_full_grad_knows_nothing_of_biases_that_nobody_added() -> None:
    module, x = trained(lambda: plain(nn.SiLU)), images(size=(20, 31))
    at_input, found = by_hooks(module, x, 2)
    expected = psi(at_input, x) + sum(psi(G, x) for _, G in found)
    assert_close(raw(module, x, "simple-full-grad", target=2), expected, 1e-12)
    without = psi(at_input, x) + sum(psi(product, x) for product, _ in found)
    assert (raw(module, x, "full-grad", target=2) - without > 0.1).any()  # SiLU's own


def test_the_map_of_one_convolution_by_hand() -> None:
    """S = mean_ij ReLU(w x + b): dS/dz is 1 / (h w) where z > 0, so that psi is where ReLU is open."""
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.AvgPool1d(24)).double()
    nn.init.constant_(module[0].weight, -2.0)
    nn.init.constant_(module[0].bias, 0.5)
    x = images(n=2, size=(4, 6), channels=1)
    opened = (-2 * x[:, 0] + 0.5 > 0).double()
    strength = (2 * x[:, 0]).abs() * opened
    top = strength.amax((1, 2), keepdim=True)
    single = Around(module, after=lambda y: y.flatten(1))
    assert_close(raw(single, x, "full-grad", target=1), strength / top + opened, 1e-12)


def test_a_term_that_is_the_same_everywhere_says_nothing() -> None:
    """Without a rectifier the convolution's bias has the same gradient at every place."""
    module = nn.Sequential(
        nn.Conv2d(3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)
    ).double()
    x = images()
    at_input, seen = terms(module, x, 1)
    assert len(seen) == 2
    assert_close(raw(module, x, "full-grad", target=1), psi(at_input, x), 1e-12)


def test_a_vit_has_a_map_of_its_patches_and_none_of_its_attentions() -> None:
    _, seen = terms(net("vit"), pictures("vit"), 1)
    layouts = {str(bias.layout) for bias, _ in seen}
    assert layouts == {"None", "NCHW 4x4", "NTC 4x4, 1 prefix tokens"}
    assert all(bias.layout is None for bias, product in seen if product.shape[-1] == product.shape[-2] == 17)


# --- noisy copies -------------------------------------------------------------------------------------------


def test_smooth_full_grad_takes_means_of_signed_terms_before_psi() -> None:
    module, x = trained(plain), images(size=(12, 17))
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda m, args: seen.append(args[0].detach().clone()))
    options = {"target": 2, "samples": 5, "noise": 0.3, "batch_size": 1}
    e = pellucid.explain(module, x[:1], "smooth-full-grad", progress=False, **options)
    handle.remove()
    copies = [copy for copy in seen if not torch.equal(copy, x[:1])]
    assert len(copies) == 5
    noise = torch.stack(copies) - x[:1]
    assert 0.5 < noise.std() / (0.3 * (x[0].max() - x[0].min())) < 1.5
    runs = [by_hooks(module, copy, 2) for copy in copies]
    expected = psi(sum(run[0] for run in runs) / 5, x)
    for layer in range(len(runs[0][1])):
        expected = expected + psi(sum(run[1][layer][0] for run in runs) / 5, x)
    assert_close(e.raw, expected, 1e-12)
    assert (e.details["missed"].abs() < 1e-12).all()


def test_without_noise_smooth_full_grad_is_full_grad() -> None:
    for name in ("nhwc", "vit"):
        smooth = raw(net(name), pictures(name), "smooth-full-grad", samples=2, noise=0)
        assert_close(smooth, raw(net(name), pictures(name), "full-grad"), 1e-9)


@pytest.mark.parametrize("options", [{"samples": 0}, {"noise": -0.1}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=f"{next(iter(options))} must be at least"):
        raw(net("in-place"), pictures("in-place"), "smooth-full-grad", **options)


# --- peers --------------------------------------------------------------------------------------------------


def test_where_pytorch_grad_cam_finds_biases_its_terms_are_ours() -> None:
    """Terms, not maps: it scales every channel to 1 by itself, however faint; the authors do not."""
    module, x = trained(plain).float(), images(n=1, size=(20, 31)).float()
    with FullGrad(module, []) as theirs:
        theirs(x.clone(), [ClassifierOutputTarget(2)])
        gradients = theirs.activations_and_grads.gradients
        expected = [
            b[None, :, None, None] * g.numpy() for b, g in zip(theirs.bias_data, gradients, strict=True)
        ]
    _, seen = terms(module, x, 2)
    ours = [product for bias, product in reversed(seen) if bias.layout is not None]
    assert len(ours) == len(expected) == 4
    for mine, its in zip(ours, expected, strict=True):
        assert_close(mine, torch.as_tensor(its), 1e-5)


@pytest.mark.full
def test_where_pytorch_grad_cam_finds_none_ours_are_complete(lite0: pellucid.Model, cat: object) -> None:
    """timm's batch norms are a class of their own, which an exact test of types passes over."""
    x = lite0.prepare([cat])
    with FullGrad(lite0.module, []) as theirs:
        assert theirs.bias_data == []
    parts = told(lite0.module, x)
    assert (parts["missed"].abs() < 1e-5 * parts["score"]).all()
    assert (parts["bias_part"] > 0.5 * parts["score"]).all()
    at_input, seen = terms(lite0.module, x, None)
    assert len([bias for bias, _ in seen if bias.added]) == 50  # 49 batch norms and the classifier
    without = psi(at_input, x)
    assert (raw(lite0.module, x, "full-grad") - without).max() > 10 * without.max()


# --- how it is had ------------------------------------------------------------------------------------------


def test_full_grad_and_simple_full_grad_share_their_forward_pass() -> None:
    module, x = net("residual"), pictures("residual")
    calls: list[int] = []
    handle = module.register_forward_pre_hook(lambda m, args: calls.append(len(args[0])))
    pellucid.compare(module, x[:1], ["full-grad", "simple-full-grad"], progress=False, verdict=False)
    handle.remove()
    assert calls == [1]


def test_samples_are_told_apart_wherever_they_stand() -> None:
    def rows(x: Tensor, samples: int, **known: Any) -> Tensor:
        return by_sample(Bias(1, torch.ones(()), True, "layer", **known), x, samples)

    x = torch.arange(24.0)
    assert rows(x.view(2, 3, 4), 2).tolist() == x.view(2, 12).tolist()
    assert rows(x.view(4, 2, 3), 2)[1, :3].tolist() == [3, 4, 5]  # tokens first
    assert rows(x.view(6, 2, 2, 1), 3, grouped=True).tolist() == x.view(3, 8).tolist()  # windows of each
    assert rows(x, 24).shape == (24, 1)
    assert rows(x.view(6, 4), 1).shape == (1, 24)
    for unknown in (x.view(6, 2, 2, 1), x.view(3, 8)):
        with pytest.raises(RowsUnknown, match="layer"):
            rows(unknown, 2)


class InOneBatch(nn.Module):
    """A network of copies of its input, joined along the batch, or of one sample after another."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net, self.how = trained(plain), how

    def forward(self, x: Tensor) -> Tensor:
        match self.how:
            case "mirrored":
                return self.net(torch.cat([x, x.flip(-1)])).unflatten(0, (2, -1)).mean(0)
            case "interleaved":
                return self.net(torch.stack([x, x.flip(-1)], 1).flatten(0, 1)).unflatten(0, (-1, 2)).mean(1)
        return torch.cat([self.net(part) for part in x.chunk(2)])


@pytest.mark.parametrize("how", ["mirrored", "interleaved", "chunks"])
def test_each_sample_has_its_own_biases_whatever_batches_the_model_makes(how: str) -> None:
    module, x = InOneBatch(how), images(3)
    e = pellucid.explain(module, x, "full-grad", target=1, progress=False)
    for i in range(3):
        one = pellucid.explain(module, x[i : i + 1], "full-grad", target=1, progress=False)
        assert_close(e.details["bias_part"][i], one.details["bias_part"][0], 1e-9)
        assert_close(e.raw[i], one.raw[0], 1e-9)
    assert (e.details["missed"].abs() <= 1e-9 * e.score.abs()).all()
    assert any("run alone" in note for note in e.warnings)


@pytest.mark.parametrize("method", ["full-grad", "simple-full-grad", "smooth-full-grad"])
def test_layers_whose_positions_cannot_be_followed_are_told(method: str) -> None:
    options: dict[str, Any] = {"samples": 1} if method.startswith("smooth") else {}
    e = pellucid.explain(InOneBatch("mirrored"), images(1), method, target=1, progress=False, **options)
    (note,) = [note for note in e.warnings if "leaves out" in note]
    assert "of net.0, net." in note
    assert "net.11" not in note  # which holds no positions


def test_nothing_is_replaced() -> None:
    module, x = net("vit"), pictures("vit")
    engine = Engine(Model.wrap(module))
    with engine.session(0):
        probe = Probe(engine, x, 1)
        modified = run_with(probe, "biases", lambda: Biases(x.shape))
        _, gradient = modified.backward(modified.score)
        bare = run_with(probe, "bare", Operations)
    assert torch.equal(modified.outputs, bare.outputs)
    assert_close(gradient, raw(module, x, "saliency", target=1, signed=True), 1e-12)
