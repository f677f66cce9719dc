"""Guided backpropagation, the deconvnet and Guided Grad-CAM: closed forms, spellings, and peers, live."""

from collections.abc import Callable

import pytest
import torch
from captum.attr import Deconvolution, GuidedBackprop, GuidedGradCam
from torch import Tensor, nn
from torch.nn import functional
from zennit.composites import DeconvNet
from zennit.composites import GuidedBackprop as ZennitGuidedBackprop

import pellucid
from nets import Reused, TinyCNN, net, pictures
from zoo import assert_close, images, raw, seeded

BOTH = ["guided-backprop", "deconvnet"]
NONE = "The model has no rectifier: the map is the plain gradient."
PEERS = {
    "guided-backprop": (GuidedBackprop, ZennitGuidedBackprop),
    "deconvnet": (Deconvolution, DeconvNet),
}

RECTIFIERS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "relu in place": lambda z: functional.relu(z, inplace=True),
    "relu_": torch.relu_,
    "method": Tensor.relu,
    "module": nn.ReLU(),
    "relu6": functional.relu6,
    "nn.ReLU6 in place": nn.ReLU6(inplace=True),
    "hardtanh": lambda z: functional.hardtanh(z, 0.0, 0.7),
    "leaky": lambda z: functional.leaky_relu(z, 0.2),
    "leaky in place": nn.LeakyReLU(0.2, inplace=True),
    "prelu": nn.PReLU(init=0.3).double(),
    "threshold": lambda z: functional.threshold(z, 0.2, -1.0),
    "elu": nn.ELU(0.7),
    "selu": functional.selu,
    "celu": nn.CELU(0.5),
    "gelu": functional.gelu,
    "gelu tanh": nn.GELU(approximate="tanh"),
    "silu": nn.SiLU(inplace=True),
    "mish": functional.mish,
    "softplus": nn.Softplus(2.0),
    "hardswish": nn.Hardswish(),
    "clamp": lambda z: z.clamp(min=0),
    "clamp to 1": lambda z: torch.clamp(z, 0, 1),
    "clamp_min_": lambda z: z.clamp_min_(0),
    "clip": lambda z: z.clip(0.0),
    "maximum": lambda z: torch.maximum(z, torch.zeros_like(z)),
    "maximum, the other way": lambda z: torch.maximum(torch.zeros(1, dtype=z.dtype), z),
    "max": lambda z: torch.max(z, torch.tensor(0.0, dtype=z.dtype)),
}
GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardsigmoid": functional.hardsigmoid,
    "softmax": lambda z: z.softmax(1),
    "hardtanh": functional.hardtanh,
    "clamp": lambda z: z.clamp(-1, 1),
    "clamp from above": lambda z: z.clamp(max=0.5),
    "maxout": lambda z: torch.maximum(z, 0.5 * z),
    "maximum with 1": lambda z: torch.maximum(z, torch.ones_like(z)),
    "max over channels": lambda z: z.max(1, keepdim=True)[0] + 0 * z,
}


class OneLayer(nn.Module):
    """logits = V f(W x), everything known by hand."""

    def __init__(self, f: Callable[[Tensor], Tensor], inputs: int) -> None:
        super().__init__()
        self.W, self.V = nn.Linear(inputs, 40, bias=False), nn.Linear(40, 3, bias=False)
        nn.init.normal_(self.W.weight, std=2 / inputs**0.5)
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        z = self.W(x.flatten(1)) + 0.0  # so that what works in place has something of its own
        return self.V(self.f(z))


def one_layer(f: Callable[[Tensor], Tensor]) -> tuple[nn.Module, Tensor]:
    x = images(n=2, size=(4, 6))
    return seeded(OneLayer, f, x[0].numel()).double(), x


@pytest.mark.parametrize("name", RECTIFIERS)
def test_a_rectifier_lets_back_what_the_papers_say_however_it_is_written(name: str) -> None:
    f = RECTIFIERS[name]
    module, x = one_layer(f)
    W, v = module.W.weight.detach(), module.V.weight[1].detach()
    z = (x.flatten(1) @ W.T).requires_grad_()
    (slope,) = torch.autograd.grad(f(z + 0.0).sum(), z)
    z = z.detach()
    assert (z > 0).any()
    assert (z < 0).any()
    guided = slope * (z > 0) * v.clamp(min=0)
    assert_close(raw(module, x, "guided-backprop", target=1), (guided @ W).view_as(x), 1e-12)
    deconv = v.clamp(min=0).expand_as(z)
    assert_close(raw(module, x, "deconvnet", target=1), (deconv @ W).view_as(x), 1e-12)


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize("name", GATES)
def test_what_is_no_rectifier_keeps_its_gradient_and_a_word_says_so(name: str, method: str) -> None:
    module, x = one_layer(GATES[name])
    e = pellucid.explain(module, x, method, target=1, progress=False)
    assert_close(e.raw, raw(module, x, "saliency", target=1, signed=True), 1e-12)
    assert e.warnings == [NONE]


def sequential() -> nn.Module:
    """Every ReLU a module of its own, nothing in place: what all peers can take."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 10, 3, padding=1), nn.ReLU(), nn.Conv2d(10, 12, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(), nn.Linear(48, 20), nn.ReLU(), nn.Linear(20, 6),
    )  # fmt: skip


@pytest.mark.parametrize("method", BOTH)
def test_on_relu_modules_the_maps_are_captums_and_zennits(method: str) -> None:
    module, x = seeded(sequential).double(), images(size=(20, 31))
    ours = raw(module, x, method, target=2)
    captum, zennit = PEERS[method]
    with pytest.warns(UserWarning, match="Setting backward hooks on ReLU"):
        theirs = captum(module).attribute(x.clone().requires_grad_(), target=2)
    assert_close(ours, theirs.detach(), 1e-12)
    leaf = x.clone().requires_grad_()
    with zennit().context(module) as hooked:
        (theirs,) = torch.autograd.grad(hooked(leaf)[:, 2].sum(), leaf)
    assert_close(ours, theirs, 1e-12)
    plain = raw(module, x, "saliency", target=2, signed=True)
    assert (ours - plain).abs().max() > 0.1 * plain.abs().max()


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize("relu", ["inplace", "functional", "inplace functional", "method"])
def test_a_model_written_otherwise_has_the_same_map(relu: str, method: str) -> None:
    x = pictures("in-place")
    modules = raw(seeded(TinyCNN, "module").double(), x, method, target=3)
    assert_close(raw(seeded(TinyCNN, relu).double(), x, method, target=3), modules, 1e-12)


@pytest.mark.parametrize("method", BOTH)
def test_a_module_used_again_and_again_has_the_map_of_as_many_modules(method: str) -> None:
    reused, x = seeded(Reused).double(), images(size=(20, 31))
    blocks = [nn.Sequential(reused.conv, nn.ReLU()) for _ in range(3)]
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    unrolled = nn.Sequential(reused.stem, nn.ReLU(), *blocks, pool, reused.fc)
    with pytest.warns(UserWarning, match="Setting backward hooks on ReLU"):
        theirs = PEERS[method][0](unrolled).attribute(x.clone().requires_grad_(), target=1)
    assert_close(raw(reused, x, method, target=1), theirs.detach(), 1e-12)


def test_where_captum_gives_the_plain_gradient_without_a_word_ours_is_guided(
    lite0: pellucid.Model, cat: object
) -> None:
    """EfficientNet-Lite0's rectifiers are ReLU6, and functional.relu is no module."""
    x = lite0.prepare([cat])
    functional = seeded(TinyCNN, "functional")
    for module, inputs in ((lite0.module, x), (functional, pictures("in-place").float())):
        plain = raw(module, inputs, "saliency", target=2, signed=True)
        with pytest.warns(UserWarning, match="Setting backward hooks on ReLU"):
            theirs = GuidedBackprop(module).attribute(inputs.clone().requires_grad_(), target=2)
        assert_close(theirs.detach(), plain, 1e-4)
        ours = raw(module, inputs, "guided-backprop", target=2)
        assert (ours - plain).abs().max() > 0.3 * plain.abs().max()


def test_relu6_of_a_real_network_is_guided_as_by_hand(lite0: pellucid.Model, cat: object) -> None:
    """Hooks on every ReLU6 of a copy, none of them in place."""
    from copy import deepcopy

    module, x = deepcopy(lite0.module), lite0.prepare([cat]).requires_grad_()
    acts = [child for child in module.modules() if isinstance(child, nn.ReLU6)]
    for act in acts:
        act.inplace = False
        act.register_full_backward_hook(lambda m, given, gradient: (given[0].clamp(min=0),))
    (expected,) = torch.autograd.grad(module(x)[:, 281].sum(), x)
    assert len(acts) > 30
    assert_close(raw(lite0.module, x.detach(), "guided-backprop", target=281), expected, 1e-4)


def test_guided_grad_cam_is_captums() -> None:
    module, x = seeded(sequential).double(), images(size=(20, 31))
    ours = raw(module, x, "guided-grad-cam", target=2, layer="7")
    with pytest.warns(UserWarning, match="Setting backward hooks on ReLU"):
        theirs = GuidedGradCam(module, module[7]).attribute(
            x.clone().requires_grad_(), target=2, interpolate_mode="bilinear"
        )
    assert ours.any()
    assert_close(ours, theirs.detach(), 1e-12)


def test_guided_grad_cam_is_the_product_of_its_parts() -> None:
    module, x = net("residual"), pictures("residual")
    for signed in (False, True):
        options = {"layer": "stage2", "signed": signed}
        e = pellucid.explain(module, x, "guided-grad-cam", progress=False, **options)
        cam = pellucid.explain(module, x, "grad-cam", progress=False, **options)
        resized = functional.interpolate(cam.raw[:, None], x.shape[2:], mode="bilinear", align_corners=False)
        assert_close(e.raw, raw(module, x, "guided-backprop") * resized, 1e-12)
        assert e.layer == ["stage2"]
