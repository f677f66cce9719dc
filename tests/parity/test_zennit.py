"""LRP against zennit 0.5.1, live: its composites with its canonizers, and where these fail in silence."""

import copy
import itertools
from collections.abc import Callable
from functools import cache

import pytest
import torch
import torchvision
from captum.attr import LRP
from PIL import Image
from torch import Tensor, nn
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import (
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    ExcitationBackprop,
)
from zennit.core import Composite
from zennit.torchvision import ResNetCanonizer, VGGCanonizer

import nets
import pellucid
from zoo import assert_close, seeded, trained_statistics

LOW, HIGH = -2.5, 2.5
COMPOSITES: dict[str, Callable[..., Composite]] = {
    "epsilon-plus": EpsilonPlus,
    "epsilon-plus-flat": EpsilonPlusFlat,
    "epsilon-alpha2-beta1": EpsilonAlpha2Beta1,
    "epsilon-alpha2-beta1-flat": EpsilonAlpha2Beta1Flat,
    "epsilon-gamma-box": lambda canonizers: EpsilonGammaBox(
        torch.tensor(LOW).double(), torch.tensor(HIGH).double(), canonizers=canonizers
    ),
    "excitation-backprop": lambda canonizers: ExcitationBackprop(zero_params="bias", canonizers=canonizers),
}


def picture() -> Tensor:
    """(1, 3, 64, 64), within the box."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, 64, 64, dtype=torch.float64, generator=generator) * (HIGH - LOW) + LOW


@cache
def network(name: str) -> nn.Module:
    """A network of torchvision's in float64, with the statistics of one pass.

    Zennit's merged batch norms keep their eps and divide by sqrt(1 + eps) once more: it is as good as 0 here.
    """
    net = seeded(torchvision.models.get_model, name, num_classes=10)
    if name.startswith("vgg"):  # a head of a hundred million weights would add nothing
        net.avgpool = nn.AdaptiveAvgPool2d(2)
        net.classifier = seeded(
            nn.Sequential, nn.Linear(2048, 32), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(32, 10)
        )
    trained_statistics(net.double(), torch.cat([picture(), picture().flip(1, 2)]))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-14
    return net


def by_zennit(net: nn.Module, x: Tensor, composite: Composite, target: int) -> tuple[Tensor, float]:
    """Its map, and the logit that it shared out."""
    chosen = torch.eye(net(x).shape[1]).to(x)[target : target + 1]
    with Gradient(model=net, composite=composite) as attributor:
        output, relevance = attributor(x, lambda output: output * chosen)
    return relevance, float(output[0, target].detach())


def conserves(e: pellucid.Explanation, logit: float) -> bool:
    """Whether the map, the biases and what was absorbed are finite and sum to the logit."""
    total = float((e.raw.sum((1, 2, 3)) + e.details["biases"] + e.details["absorbed"])[0])
    return bool(e.raw.isfinite().all()) and abs(total - logit) < 1e-4 * abs(logit)


@pytest.mark.parametrize(
    ("name", "composite"),
    [
        *itertools.product(("vgg11_bn", "resnet18"), COMPOSITES),
        *(
            pytest.param(*deeper, marks=pytest.mark.full)
            for deeper in (
                ("vgg16_bn", "epsilon-gamma-box"),
                ("resnet50", "epsilon-gamma-box"),
                ("resnet50", "epsilon-alpha2-beta1-flat"),
            )
        ),
    ],
)
def test_composites_are_zennits(name: str, composite: str) -> None:
    net, x = network(name), picture()
    canonizers = [VGGCanonizer() if name.startswith("vgg") else ResNetCanonizer()]
    bounds = {"low": LOW, "high": HIGH} if composite.endswith("box") else {}
    ours = pellucid.explain(net, x, "lrp", target=3, composite=composite, progress=False, **bounds)
    theirs, _ = by_zennit(net, x, COMPOSITES[composite](canonizers=canonizers), 3)
    assert theirs.abs().max() > 1e-6
    assert_close(ours.raw, theirs, 1e-9)


@pytest.mark.parametrize("name", ["vgg11_bn", "resnet18"])
def test_biases_that_are_ignored_are_zennits_zeroed_ones(name: str) -> None:
    net, x = network(name), picture()
    canonizers = [VGGCanonizer() if name.startswith("vgg") else ResNetCanonizer()]
    ours = pellucid.explain(net, x, "lrp", target=3, composite="epsilon-plus", biases="ignore")
    theirs, logit = by_zennit(net, x, EpsilonPlus(zero_params="bias", canonizers=canonizers), 3)
    assert theirs.abs().max() > 1e-6
    assert_close(ours.raw, theirs, 1e-9)
    assert conserves(ours, logit)
    assert not ours.details["biases"].any()


def test_where_zennits_canonizer_merges_nothing_ours_conserves(
    lite0: pellucid.Model, cat: Image.Image
) -> None:
    """timm's BatchNormAct2d is none of the batch norms that it looks for: no error, a map of another sum."""
    x = lite0.prepare([cat])
    target = int(lite0(x).argmax())
    composite = EpsilonPlusFlat(canonizers=[SequentialMergeBatchNorm()])
    theirs, logit = by_zennit(lite0.module, x, composite, target)
    assert abs(float(theirs.sum()) - logit) > 5 * logit
    assert conserves(pellucid.explain(lite0, x, "lrp", progress=False), logit)


def test_where_zennits_map_of_a_transformer_is_of_another_sum_ours_conserves() -> None:
    """Gradients of its softmax, layer norms and products are no shares; they may be NaN."""
    net, x = nets.net("vit"), nets.pictures("vit", 1)
    theirs, logit = by_zennit(net, x, EpsilonPlus(), 1)
    assert not abs(float(theirs.sum()) - logit) < 10 * abs(logit)
    e = pellucid.explain(net, x, "lrp", target=1, composite="epsilon-plus", progress=False)
    assert e.raw.abs().sum() > 0.1 * abs(logit)
    assert conserves(e, logit)


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
def test_where_captum_explodes_ours_stays_finite_and_conserves() -> None:
    x = picture().float()
    net = seeded(torchvision.models.resnet50)
    trained_statistics(net, x.repeat(2, 1, 1, 1))
    theirs = LRP(copy.deepcopy(net)).attribute(x, target=3)  # a copy: it changes the network for good
    assert not theirs.abs().max() < 1e20
    logit = float(net(x)[0, 3].detach())
    e = pellucid.explain(net, x, "lrp", target=3, progress=False)
    assert e.raw.abs().sum() < 2 * abs(logit)
    assert conserves(e, logit)
