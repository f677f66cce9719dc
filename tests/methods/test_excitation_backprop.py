"""Excitation backprop: probabilities by explicit matrices, closed forms, zennit live."""

import pytest
import torch
from torch import Tensor, nn
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import ExcitationBackprop

import pellucid
from nets import net, pictures, state_of
from zoo import GapNet, assert_close, images, seeded, trained_statistics

METHOD = "excitation-backprop"


class Deep(nn.Sequential):
    """Two convolutions with norms, and two Linears."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(5, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 4),
        )  # fmt: skip


class Dense(nn.Sequential):
    """Linears and a convolution, biases everywhere: small enough for explicit matrices."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 2), nn.ReLU(), nn.Flatten(),
            nn.Linear(24, 9), nn.ReLU(), nn.Linear(9, 4),
        )  # fmt: skip


def winning(layer: nn.Module, a: Tensor, p: Tensor, sign: float = 1.0) -> Tensor:
    """P_i = sum_j P(i|j) P_j, P(i|j) = a_i w_ij+ / sum_i a_i w_ij+, one parent and one child at a time."""
    with torch.no_grad():
        units = torch.eye(a.numel(), dtype=a.dtype).view(-1, *a.shape)
        zero = layer(torch.zeros_like(a)[None])
        W = sign * (layer(units) - zero).flatten(1).T  # (parents, children)
    found = torch.zeros(a.numel(), dtype=a.dtype)
    for j, parent in enumerate(p.flatten()):
        likely = torch.stack([max(w, 0 * w) * x for w, x in zip(W[j], a.flatten(), strict=True)])
        found += parent * likely / (likely.sum() + 1e-6)  # the library's stabiliser
    return found.view_as(a)


def by_hand(module: Dense, x: Tensor, target: int, sign: float) -> Tensor:
    """The probabilities of the first layer's units, from the class's unit or, with sign -1, its dual."""
    with torch.no_grad():
        outputs = [x]
        for layer in module:
            outputs.append(layer(outputs[-1][None])[0])
    p = torch.eye(4, dtype=x.dtype)[target]
    for number in range(len(module) - 1, 0, -1):
        layer, a = module[number], outputs[number]
        if hasattr(layer, "weight"):
            p = winning(layer, a, p, sign if number == len(module) - 1 else 1.0)
        p = p.view_as(a)
    return p


@pytest.mark.parametrize("layer", ["0", "1"])
def test_one_parent_and_one_child_at_a_time_gives_the_same(layer: str) -> None:
    module, x = seeded(Dense).double(), images(2, (7, 9))
    options = {"layer": layer, "target": 2}
    plain = pellucid.explain(module, x, METHOD, **options)
    contrast = pellucid.explain(module, x, METHOD, contrastive=True, **options)
    signed = pellucid.explain(module, x, METHOD, contrastive=True, signed=True, **options)
    for i in range(len(x)):
        one, dual = by_hand(module, x[i], 2, 1.0), by_hand(module, x[i], 2, -1.0)
        assert_close(plain.raw[i], one.sum(0), 1e-10)
        assert_close(signed.raw[i], (one - dual).sum(0), 1e-10)
    assert_close(contrast.raw, signed.raw.relu(), 1e-12)
    assert (signed.raw < 0).any()
    assert (plain.cost.forward, plain.cost.backward) == (2, 2)
    assert (contrast.cost.forward, contrast.cost.backward) == (4, 4)
    method = pellucid.METHODS[METHOD]
    assert method.cost(method.resolve_options({"contrastive": True}))[:2] == (2, 2)


def test_one_layer_has_a_closed_form() -> None:
    module, x = seeded(GapNet).double(), images(3)
    with torch.no_grad():
        A = module.relu(module.conv(x))
    w = module.fc.weight.detach()[[0, 3, 1]]
    shares = [A * half[..., None, None] for half in (w.clamp(min=0), (-w).clamp(min=0))]
    one, dual = (s.sum(1) / s.sum((1, 2, 3))[:, None, None] for s in shares)
    plain = pellucid.explain(module, x, METHOD, target=[0, 3, 1], layer="relu")
    signed = pellucid.explain(
        module, x, METHOD, target=[0, 3, 1], layer="relu", contrastive=True, signed=True
    )
    assert_close(plain.raw, one, 1e-4)
    assert_close(signed.raw, one - dual, 1e-4)


@pytest.mark.parametrize("layer", ["input", "3", "6"])
def test_probabilities_are_those_of_zennit(layer: str) -> None:
    x = images(2, (16, 21))
    module = trained_statistics(seeded(Deep).double(), x)
    ours = pellucid.explain(module, x, METHOD, target=[1, 3], layer=layer).raw
    composite = ExcitationBackprop(zero_params="bias", canonizers=[SequentialMergeBatchNorm()])
    kept: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output)
        output.retain_grad()
        return output.clone()

    with Gradient(model=module, composite=composite) as attribute:
        hook = module[6 if layer == "input" else int(layer)].register_forward_hook(keep)
        _, at_input = attribute(x.clone(), torch.eye(4, dtype=torch.float64)[[1, 3]])
        hook.remove()
    theirs = at_input if layer == "input" else kept[0].grad
    assert_close(ours, theirs.sum(1), 1e-4)


@pytest.mark.parametrize("layer", ["auto", "input", "0", "3", "5"])
def test_probabilities_sum_to_one_in_single_precision(layer: str) -> None:
    x = images(3, (16, 21)).float()
    module = trained_statistics(seeded(Deep), x)
    with torch.no_grad():
        module[9].weight.mul_(30)  # as in trained networks sums are far from the stabiliser
    found = pellucid.explain(module, x, METHOD, layer=layer)
    assert (found.raw >= 0).all()
    assert found.raw.sum((1, 2)).sub(1).abs().max() < 1e-4
    assert found.delta.abs().max() < 1e-5


@pytest.mark.parametrize("name", ["in-place", "residual", "dense", "nhwc", "vit", "swin hf"])
def test_nothing_is_lost_that_is_not_counted(name: str) -> None:
    found = pellucid.explain(net(name), pictures(name), METHOD, layer="input")
    counted = found.raw.sum((1, 2)) + found.details["biases"] + found.details["absorbed"]
    assert counted.sub(1).abs().max() < 1e-12
    contrast = pellucid.explain(
        net(name), pictures(name), METHOD, layer="input", contrastive=True, signed=True
    )
    counted = contrast.raw.sum((1, 2)) + contrast.details["biases"] + contrast.details["absorbed"]
    assert counted.abs().max() < 1e-12


@pytest.mark.parametrize("name", ["in-place", "reused", "dense", "tuple", "vit", "swin hf"])
def test_auto_is_the_layer_of_the_cams(name: str) -> None:
    x = pictures(name, 1)
    auto = pellucid.explain(net(name), x, METHOD)
    cam = pellucid.explain(net(name), x, "grad-cam")
    named = pellucid.explain(net(name), x, METHOD, layer=cam.layer)
    assert auto.layer == cam.layer
    assert torch.equal(auto.raw, named.raw)


def test_several_layers_are_fused() -> None:
    module, x = net("residual"), pictures("residual")
    both = pellucid.explain(module, x, METHOD, layer=["stage2", "last"])
    assert both.layer == ["stage2", "last"]
    assert both.raw.shape[1:] == pellucid.explain(module, x, METHOD, layer="stage2").raw.shape[1:]


@pytest.mark.full
@pytest.mark.parametrize("contrastive", [False, True])
@pytest.mark.parametrize("name", ["in-place", "dense", "vit", "swin timm"])
def test_a_batch_is_its_images_and_nothing_of_the_model_is_changed(name: str, contrastive: bool) -> None:
    module, x = net(name), pictures(name)
    before = state_of(module, x)
    options = {"contrastive": contrastive, "signed": True}
    together = pellucid.explain(module, x, METHOD, **options)
    single = [pellucid.explain(module, x[i : i + 1], METHOD, **options).raw for i in range(len(x))]
    assert_close(together.raw, torch.cat(single), 1e-10)
    assert state_of(module, x) == before
