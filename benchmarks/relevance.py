"""Relevance and its kin on untouched models: Pellucid, zennit, captum and pytorch-grad-cam.

.venv/bin/python benchmarks/relevance.py --runs 7 --out benchmarks/results/relevance.md

zennit is given the canonizer that its user must choose for each family of models. No package has
Relevance-CAM, so its row is zennit's relevance at the same layer, without the map. captum's DeepLIFT runs
on the VGG alone: a ReLU module that is used twice, as in resnet50, stops it.
"""

from collections.abc import Callable, Mapping
from functools import partial

import captum.attr
import torch
import torchvision
from pytorch_grad_cam import FullGrad
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from zennit.attribution import Gradient
from zennit.canonizers import Canonizer
from zennit.composites import EpsilonPlus, EpsilonPlusFlat
from zennit.torchvision import ResNetCanonizer, VGGCanonizer

import harness
import pellucid

CLASS = 282


def relevance(
    net: nn.Module, x: Tensor, canonizer: Callable[[], Canonizer], kind: type, layer: nn.Module | None = None
) -> Tensor:
    """zennit's relevance at the input or at a layer, from the logit."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: object, output: Tensor) -> None:
        kept.append(output)

    with Gradient(net, kind(canonizers=[canonizer()])) as attributor:
        if layer is None:
            start = torch.zeros(1, 1000)
            start[:, CLASS] = 1
            return attributor(x, start)[1]
        hook = layer.register_forward_hook(keep)
        score = net(x.clone().requires_grad_())[:, CLASS].sum()
        hook.remove()
        return torch.autograd.grad(score, kept[0])[0]


def full_grad(net: nn.Module, x: Tensor) -> object:
    """pytorch-grad-cam's FullGrad, which is built for each picture as its examples do."""
    return FullGrad(model=net, target_layers=[])(input_tensor=x, targets=[ClassifierOutputTarget(CLASS)])


def jobs_of(
    name: str, net: nn.Module, x: Tensor, canonizer: Callable[[], Canonizer], layer: str
) -> dict[str, harness.Jobs]:
    """All groups of one model."""
    ours = partial(pellucid.explain, net, x, target=CLASS, progress=False)
    theirs = partial(relevance, net, x, canonizer)
    deep = captum.attr.DeepLift(net)
    jobs: dict[str, harness.Jobs] = {
        f"lrp, epsilon-plus-flat, {name}": {
            "pellucid": partial(ours, "lrp", composite="epsilon-plus-flat"),
            "zennit": partial(theirs, EpsilonPlusFlat),
        },
        f"relevance-cam, {name}": {
            "pellucid": partial(ours, "relevance-cam", layer=layer),
            "zennit, relevance there": partial(theirs, EpsilonPlus, net.get_submodule(layer)),
        },
        f"deep-lift, {name}": {
            "pellucid": partial(ours, "deep-lift"),
            **({"captum": partial(deep.attribute, x, target=CLASS)} if "vgg" in name else {}),
        },
        f"guided backprop, {name}": {
            "pellucid": partial(ours, "guided-backprop"),
            "captum": partial(captum.attr.GuidedBackprop(net).attribute, x, target=CLASS),
        },
        f"full-grad, {name}": {
            "pellucid": partial(ours, "full-grad"),
            "pytorch-grad-cam": partial(full_grad, net, x),
        },
    }
    return jobs


def groups() -> Mapping[str, harness.Jobs]:
    """resnet50 and vgg16_bn, with random weights: the work does not depend on them."""
    torch.manual_seed(0)
    x = torch.rand(1, 3, 224, 224) * 2 - 1
    models = torchvision.models
    resnet50, vgg = models.resnet50(weights=None).eval(), models.vgg16_bn(weights=None).eval()
    return {
        **jobs_of("resnet50", resnet50, x, ResNetCanonizer, "layer4"),
        **jobs_of("vgg16_bn", vgg, x, VGGCanonizer, "features.42"),
    }


if __name__ == "__main__":
    harness.main(groups)
