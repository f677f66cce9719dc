"""What Pellucid and its peers are compared on: models, one picture, and all of our maps of it at once."""

from collections.abc import Callable
from dataclasses import dataclass

import timm
import torchvision
from torch import Tensor, nn

import pellucid
from pellucid.options.resolve import parse
from zoo import seeded, trained_statistics

METHODS = (
    "grad-cam:signed=true",
    "grad-cam++:signed=true,eps=1e-6",
    "grad-cam-elementwise:signed=true",
    "hirescam:signed=true",
    "xgrad-cam:signed=true,eps=1e-7",
    "xgrad-cam:eps=1e-8",
    "layer-cam",
    "layer-cam:signed=true",
    "eigen-cam:signed=true,center=true",
    "eigen-grad-cam:signed=true,center=true",
    "grad-cam:signed=true,principal=true",
    "saliency",
    "saliency:signed=true",
    "input-x-gradient",
)
"""Of one model all of these cost one forward and one backward pass."""


def channels_first(tokens: Tensor) -> Tensor:
    """Swin's (N, h, w, K) as (N, K, h, w)."""
    return tokens.permute(0, 3, 1, 2)


def patches(tokens: Tensor) -> Tensor:
    """A ViT's (N, 1 + 14 * 14, K) as (N, K, 14, 14)."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, (14, 14))


MODELS: dict[str, tuple[str, Callable[[Tensor], Tensor] | None]] = {
    "efficientnet-lite0": ("bn2", None),
    "resnet18": ("layer4", None),
    "resnet50": ("layer4", None),
    "vgg19": ("features.35", None),
    "densenet121": ("features.denseblock4", None),
    "mobilenet_v3_large": ("features", None),
    "convnext_tiny": ("features", None),
    "swin_t": ("norm", channels_first),
    "vit_tiny_patch16_224": ("blocks.11.norm1", patches),
}
"""A layer that every peer can read: no in-place operation follows it; of tokens a peer needs the reshape."""
SMALL = ("efficientnet-lite0", "resnet18", "vit_tiny_patch16_224")
"""Those on which all is compared each time; on the others `make test-full` does it."""


@dataclass(frozen=True)
class Case:
    """A model, one picture as its input, the class to explain, the layer to read, and our maps."""

    net: nn.Module
    x: Tensor
    target: int
    layer: str
    reshape: Callable[[Tensor], Tensor] | None
    maps: dict[str, Tensor]

    @property
    def module(self) -> nn.Module:
        """The layer itself."""
        return self.net.get_submodule(self.layer)


def build_case(name: str, lite0: nn.Module, x: Tensor) -> Case:
    """One model: real weights for EfficientNet-Lite0, random ones under a fixed seed for the others."""
    layer, reshape = MODELS[name]
    if name == "efficientnet-lite0":
        net, x = lite0, x[..., :128, :160]  # H != W
    elif name.startswith("vit"):
        net = seeded(timm.create_model, name)
    else:
        net, x = seeded(torchvision.models.get_model, name), x[..., :128, :160]
        trained_statistics(net, x)
    target = int(net(x).argmax())
    asked = [_at(layer, method) for method in METHODS]
    comparison = pellucid.compare(net, x, asked, target=target, progress=False, verdict=False)
    assert not comparison.refusals
    assert (comparison.cost.forward, comparison.cost.backward) == (1, 1)
    maps = {m: e.raw for m, e in zip(METHODS, comparison.explanations, strict=True)}
    return Case(net, x, target, layer, reshape, maps)


def _at(layer: str, method: str) -> tuple[str, dict[str, str]]:
    name, options = parse(method)
    reads_layer = pellucid.METHODS[name].reads == "layers"
    return name, options | ({"layer": layer} if reads_layer else {})
