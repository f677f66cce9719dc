"""Relevance-CAM, and relevance at layers: a slow twin, zennit live, what asking for a layer may not do."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, max_unpool2d
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import LayerMapComposite
from zennit.rules import Norm, Pass, ZPlus
from zennit.types import Activation, AvgPool, Linear

import pellucid
from nets import net, pictures, state_of
from pellucid.engine.run import Engine
from pellucid.engine.sharing import Operands, Shared
from pellucid.methods.relevance.propagation import Relevances, propagate
from pellucid.model import Model
from pellucid.probe import Probe
from zoo import assert_close, images, seeded

RULES = "z-plus;bias=ignored"


class Plain(nn.Sequential):
    """Convolutions, ReLUs, a max pooling and two Linears, biases everywhere."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4),
        )  # fmt: skip


class Normed(nn.Sequential):
    """Norms behind their convolutions."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=True),
            nn.Conv2d(5, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
        )  # fmt: skip
        for norm in (self[1], self[4]):
            nn.init.normal_(norm.running_mean, std=0.2)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.2)


class Before(nn.Sequential):
    """A norm and its ReLU before the convolution that they are folded into, as in DenseNets."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 5, 3), nn.MaxPool2d(2), nn.BatchNorm2d(5), nn.ReLU(inplace=True),
            nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
        )  # fmt: skip
        nn.init.normal_(self[2].running_mean, std=0.2)
        nn.init.normal_(self[2].bias, std=0.2)


class Shifted(nn.Module):
    """A bias of its own between the convolution and the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU()
        self.bias, self.head = nn.Parameter(torch.randn(5, 1, 1)), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.norm(self.conv(x) + self.bias)).mean((2, 3)))


def went(module: nn.Module, x: Tensor, composite: str, *layers: str, target: int | None = None) -> Relevances:
    """Where a relevance of one goes."""
    engine = Engine(Model.wrap(module))
    with engine.session(0):
        return propagate(Probe(engine, x, target), composite, "one", *layers)


def z_plus(layer: nn.Module, a: Tensor, relevance: Tensor) -> Tensor:
    """R_i = a_i sum_j w_ij+ R_j / sum_i a_i w_ij+ for a >= 0, by an explicit matrix of the layer."""
    size = a.numel()
    still = {"weight": layer.weight.clamp(min=0), "bias": torch.zeros_like(layer.bias)}
    units = torch.eye(size, dtype=a.dtype).view(size, *a.shape[1:])
    matrix = torch.func.functional_call(layer, still, (units,)).flatten(1).T  # (outputs, inputs)
    shares = matrix * a.flatten()
    return (relevance.flatten() @ (shares / (shares.sum(1, keepdim=True) + 1e-6))).view_as(a)


def relevance_by_hand(module: Plain, x: Tensor, start: Tensor) -> dict[str, Tensor]:
    """Relevance at every layer but the first two, one image, layer by layer."""
    with torch.no_grad():
        outputs = [x]
        for layer in module:
            outputs.append(layer(outputs[-1]))
        relevance, found = start, {}
        for number in range(len(module) - 1, 1, -1):
            layer, a = module[number], outputs[number]
            found[str(number)] = relevance
            if hasattr(layer, "weight"):
                relevance = z_plus(layer, a, relevance)
            elif isinstance(layer, nn.AdaptiveAvgPool2d):
                relevance = relevance * a / (a.sum((2, 3), keepdim=True) + 1e-6 * a[0, 0].numel())
            elif isinstance(layer, nn.Flatten):
                relevance = relevance.view_as(a)
            elif isinstance(layer, nn.MaxPool2d):
                _, winners = max_pool2d(a, 2, return_indices=True)
                relevance = max_unpool2d(relevance, winners, 2, output_size=a.shape[2:])
        return {**found, "1": relevance}


@pytest.mark.parametrize("start", ["contrast", "one"])
@pytest.mark.parametrize("layer", ["1", "2", "4"])
def test_weights_are_the_sums_of_the_layers_relevance(layer: str, start: str) -> None:
    module, x = seeded(Plain).double(), images(2)
    found = pellucid.explain(module, x, "relevance-cam", target=[1, 3], layer=layer, start=start, signed=True)
    for i, target in enumerate((1, 3)):
        begin = torch.full((1, 4), -1 / 3 if start == "contrast" else 0.0, dtype=torch.float64)
        begin[0, target] = 1
        relevance = relevance_by_hand(module, x[i : i + 1], begin)[layer]
        weights = relevance.sum((2, 3))
        with torch.no_grad():
            A = nn.Sequential(*list(module)[: int(layer) + 1])(x[i : i + 1])
        assert_close(found.details["weights"][i : i + 1], weights, 1e-10)
        assert_close(found.raw[i : i + 1], (weights[..., None, None] * A).sum(1), 1e-10)
    unsigned = pellucid.explain(module, x, "relevance-cam", target=[1, 3], layer=layer, start=start)
    assert_close(unsigned.raw, found.raw.relu(), 1e-10)


@pytest.mark.parametrize("part", [0, 1, 3, 4])
def test_between_an_operation_and_its_norm_lies_the_relevance_of_both_as_zennit_merges_them(
    part: int,
) -> None:
    module, x = seeded(Normed).double(), images(2)
    ours = went(module, x, RULES, str(part), target=1).at_layers[str(part)]
    rules = [(Activation, Pass()), (AvgPool, Norm()), (Linear, ZPlus(zero_params="bias"))]
    composite = LayerMapComposite(rules, canonizers=[SequentialMergeBatchNorm()])
    kept: list[Tensor] = []
    conv = module[part - part % 3]
    with Gradient(model=module, composite=composite) as attribute:

        def keep(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            kept.append(output)
            output.retain_grad()
            return output.clone()

        with conv.register_forward_hook(keep):
            attribute(x, torch.eye(4, dtype=torch.float64)[[1, 1]])
    assert_close(ours, kept[0].grad, 1e-4)  # where stabilisers stand differs


@pytest.mark.parametrize(
    "name", ["in-place", "dense", "residual", "nhwc", "vit", "norms", "before", "shifted"]
)
def test_asking_for_layers_changes_nothing_and_none_is_bypassed(name: str) -> None:
    composite = "epsilon-plus"
    made = {"norms": Normed, "before": Before, "shifted": Shifted}
    module, x = (seeded(made[name]).double(), images(2)) if name in made else (net(name), pictures(name, 2))
    plain = went(module, x, composite)
    auto = went(module, x, composite, "auto")
    found = auto.modified.layer("auto")[0].name
    asked = {
        "in-place": ["conv1", "bn1", "conv2", "bn2", "relu"],
        "dense": ["stem", "grow.0", "grow.2", "bn"],
        "residual": ["stem", "bn", "stage1.conv1", "stage1.bn1", "stage1.bn2", "stage1", "pool"],
        "nhwc": ["stem", "norm", "up", "down"],
        "shifted": ["conv", "norm", "act"],
        "vit": ["patch_embed.proj", "blocks.0", "blocks.0.attn.qkv", "blocks.1.norm1"],
    }.get(name, ["0", "1", "2", "3", "4", "5"])
    for layers in ([asked[0]], [asked[1]], asked, [found]):
        named = went(module, x, composite, *layers)
        assert torch.equal(named.at_input, plain.at_input)
        assert torch.equal(named.biases, plain.biases)
        for layer in layers:
            assert (named.at_layers[layer].abs().amax((1, 2, 3)) > 0).all(), layer
    assert torch.equal(auto.at_input, plain.at_input)
    assert torch.equal(auto.at_layers["auto"], named.at_layers[found])


@pytest.mark.parametrize("order", ["behind", "before"])
def test_a_norm_folded_into_its_operation_hands_on_all_it_gets(order: str) -> None:
    module, x = seeded(Normed if order == "behind" else Before).double(), images(2)
    first, second = ("3", "4") if order == "behind" else ("1", "2")
    found = went(module, x, "epsilon-plus", first, second)
    assert torch.equal(found.at_layers[first], found.at_layers[second])
    assert found.delta.abs().max() < 1e-12


def test_a_constant_added_to_all_logits_changes_no_map() -> None:
    module, x = seeded(Normed).double(), images(2)
    before = pellucid.explain(module, x, "relevance-cam", target=2, signed=True, layer="2")
    with torch.no_grad():
        module[-1].bias -= 100.0  # now every logit is negative
    after = pellucid.explain(module, x, "relevance-cam", target=2, signed=True, layer="2")
    assert torch.equal(before.raw, after.raw)


def test_the_contrast_of_two_classes_is_the_difference_of_their_maps() -> None:
    module, x = seeded(Normed).double(), images(2)
    options = {"layer": "2", "signed": True}
    one, other = (
        pellucid.explain(module, x, "relevance-cam", target=t, start="one", **options) for t in (1, 3)
    )
    both = pellucid.explain(module, x, "relevance-cam", target=pellucid.Contrast(1, 3), **options)
    assert_close(both.raw, one.raw - other.raw, 1e-10)
    three = [
        pellucid.explain(module, x, "relevance-cam", target=t, start="one", **options).raw for t in (0, 2, 3)
    ]
    against = pellucid.explain(module, x, "relevance-cam", target=1, **options)
    assert_close(against.raw, one.raw - sum(three) / 3, 1e-10)


@pytest.mark.parametrize(
    "target", [None, lambda logits: logits[:, 0] - logits[:, 1:].mean(1)], ids=["single logit", "own"]
)
def test_models_of_one_logit_and_targets_of_ones_own_have_maps(target: object) -> None:
    name = "single logit" if target is None else "residual"
    found = pellucid.explain(net(name), pictures(name), "relevance-cam", target=target, signed=True)
    assert found.raw.isfinite().all()
    assert (found.raw != 0).flatten(1).any(1).all()


def test_a_target_of_several_classes_is_no_contrast() -> None:
    module, x = seeded(Normed).double(), images(2)
    options = {"target": lambda logits: logits[:, 0] + logits[:, 1], "layer": "2", "signed": True}
    maps = [pellucid.explain(module, x, "relevance-cam", start=s, **options).raw for s in ("contrast", "one")]
    assert torch.equal(*maps)


def test_layers_are_fused_and_counted() -> None:
    module, x = net("residual"), pictures("residual")
    options = {"signed": True}
    each = [
        pellucid.explain(module, x, "relevance-cam", layer=layer, **options).raw
        for layer in ("stage1", "last")
    ]
    both = pellucid.explain(module, x, "relevance-cam", layer=["stage1", "last"], **options)
    unit = [m / m.abs().amax((1, 2), keepdim=True) for m in each]
    small = interpolate(unit[1][:, None], unit[0].shape[1:], mode="bilinear", align_corners=False)[:, 0]
    assert_close(both.raw, (unit[0] + small) / 2, 1e-10)
    assert both.layer == ["stage1", "last"]
    assert (both.cost.forward, both.cost.backward) == (len(x), len(x))
    method = pellucid.METHODS["relevance-cam"]
    assert method.cost(method.resolve_options({"layer": ["stage1", "last"]}))[:2] == (1, 1)


@pytest.mark.parametrize("name", ["in-place", "reused", "dense", "vit", "swin timm"])
def test_a_batch_is_its_images_and_nothing_of_the_model_is_changed(name: str) -> None:
    module, x = net(name), pictures(name)
    before = state_of(module, x)
    together = pellucid.explain(module, x, "relevance-cam", signed=True)
    single = [pellucid.explain(module, x[i : i + 1], "relevance-cam", signed=True).raw for i in range(len(x))]
    assert_close(together.raw, torch.cat(single), 1e-10)
    assert state_of(module, x) == before


def test_nothing_is_shared_beyond_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, share = [], Operands.share

    def counting(on: Operands, *args: Any, **options: Any) -> Shared:
        shared.append(tuple(on.a.shape))
        return share(on, *args, **options)

    monkeypatch.setattr(Operands, "share", counting)
    pellucid.explain(seeded(Plain).double(), images(1), "relevance-cam", target=1, layer="4")
    assert len(shared) == 3  # the average and two Linears; not the convolutions
