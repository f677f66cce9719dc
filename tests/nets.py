"""A zoo of small but ordinary networks, and what is needed to watch them being explained."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jaxtyping
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import pellucid
from zoo import ResidualNet, seeded

CHOSEN: dict[str, dict[str, Any]] = {
    "meaningful-perturbation": {"baseline": "noise"},  # a short search may keep the mask it begins with
    "relevance-cam": {"start": "one"},  # a lamp has no second class to contrast with
}
"""What tests ask of some methods besides."""


def _cheap(method: pellucid.Method) -> dict[str, Any]:
    """Few passes, and evidence against the class where a map of a layer would be rectified."""
    names = {option.name for option in method.options}
    signed = {"signed": True} if names >= {"layer", "signed"} else {}
    return {**method.quick, **signed, **CHOSEN.get(method.name, {})}


BUILT_IN = [m for m in pellucid.methods() if m.built_in]
CHEAP: dict[str, dict[str, Any]] = {m.name: _cheap(m) for m in BUILT_IN}
"""Options for all methods by which those that take many passes take few."""
SAMPLED = {m.name: CHEAP[m.name] for m in BUILT_IN if m.is_random(m.resolve_options(CHEAP[m.name]))}
"""The methods that draw random numbers, with options by which they are cheap."""
GRADIENT_SAMPLED = [name for name in SAMPLED if pellucid.METHODS[name].family == "gradient"]
"""The methods that take gradients at random copies."""


class TinyCNN(nn.Module):
    """Two convolutions with batch norms; `relu` tells how the activations are written."""

    def __init__(self, relu: str = "inplace", channels: int = 3, classes: int = 5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, classes)
        self.relu = {
            "inplace": nn.ReLU(inplace=True),
            "module": nn.ReLU(),
            "functional": functional.relu,
            "inplace functional": functional.relu_,
            "method": Tensor.relu_,
        }[relu]
        for bn in (self.bn1, self.bn2):
            nn.init.normal_(bn.running_mean, std=0.2)
            nn.init.uniform_(bn.weight, 0.5, 1.5)
            nn.init.normal_(bn.bias, std=0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


class Reused(nn.Module):
    """One convolution and one ReLU module, run three times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, padding=1)
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        for _ in range(3):
            x = self.relu(self.conv(x))
        return self.fc(x.mean((2, 3)))


class ChannelsLast(nn.Module):
    """Features (N, h, w, K), as in Swin and ConvNeXt's blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 48, 4, 4), nn.LayerNorm(48)
        self.up, self.down, self.fc = nn.Linear(48, 64), nn.Linear(64, 48), nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        x = self.norm(x + self.down(functional.gelu(self.up(x))))
        return self.fc(x.mean((1, 2)))


class DenseCat(nn.Module):
    """Concatenated features with a functional in-place ReLU at the end, as torchvision's DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.grow = nn.ModuleList(nn.Conv2d(6 + 4 * i, 4, 3, padding=1) for i in range(3))
        self.bn, self.fc = nn.BatchNorm2d(18), nn.Linear(18, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for conv in self.grow:
            x = torch.cat([x, conv(functional.relu(x))], 1)
        return self.fc(functional.relu(self.bn(x), inplace=True).mean((2, 3)))


class Viewing(nn.Module):
    """Flattens feature maps by `view`, as tutorials do: channels that lie last in memory break it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1)
        self.pool, self.fc = nn.AdaptiveMaxPool2d(3), nn.Linear(72, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv2(self.conv1(x).relu()).relu())
        return self.fc(x.view(-1, 72))


class SquaredReLU(nn.Module):
    """relu(x - 0.5)^2: silent in the dark."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5).relu() ** 2


class Lamp(nn.Module):
    """Its score is the light above a threshold, so all evidence lies where a picture is bright.

    The features are NCHW, NHWC, NTC or TNC, these two with `prefix` tokens before them.
    """

    def __init__(self, layout: str = "NCHW", prefix: int = 0, patch: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 48, patch, patch, bias=False)
        nn.init.constant_(self.stem.weight, 1 / (3 * patch * patch))
        self.act, self.fc = SquaredReLU(), nn.Linear(48, 2, bias=False)
        nn.init.constant_(self.fc.weight, 1.0)
        self.layout, self.prefix = layout, prefix

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        tokens = functional.pad(x.flatten(2).permute(2, 0, 1), (0, 0, 0, 0, self.prefix, 0))  # (T, N, K)
        match self.layout:
            case "NCHW":
                pooled = self.act(x).mean((2, 3))
            case "NHWC":
                pooled = self.act(x.permute(0, 2, 3, 1)).mean((1, 2))
            case "NTC":
                pooled = self.act(tokens.transpose(0, 1)).mean(1)
            case "TNC":
                pooled = self.act(tokens).mean(0)
        return self.fc(pooled) * torch.tensor([1.0, -1.0])


class Around(nn.Module):
    """A network with something done to its input, or to its output."""

    def __init__(self, net: nn.Module, *, before: Callable[[Tensor], Tensor] | None = None,
                 after: Callable[[Tensor], Any] | None = None) -> None:  # fmt: skip
        super().__init__()
        self.net, self.before, self.after = net, before, after

    def forward(self, x: Tensor) -> Any:
        x = self.net(self.before(x) if self.before else x)
        return self.after(x) if self.after else x


class NoGradStem(TinyCNN):
    """Runs its first convolution without a graph, as frozen backbones do."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.relu(self.bn1(self.conv1(x)))
        return self.fc(self.relu(self.bn2(self.conv2(x))).mean((2, 3)))


def normalise_in_place(x: Tensor) -> Tensor:
    return x.sub_(0.5).div_(0.25)


@dataclass
class Counter:
    """The samples of each forward and backward pass through a watched network."""

    forward: list[int] = field(default_factory=list)
    backward: list[int] = field(default_factory=list)


def watched(net: nn.Module) -> tuple[nn.Module, Counter]:
    """The network, and what counts the passes through it by itself, without Pellucid's help."""
    counter = Counter()

    def followed(y: Tensor) -> Tensor:
        if y.requires_grad:
            y.register_hook(lambda gradient: counter.backward.append(len(gradient)))
        return y

    module = Around(net, after=followed).eval()
    module.register_forward_pre_hook(lambda _, args: counter.forward.append(len(args[0])))
    return module, counter


# --- models of other libraries, small ----------------------------------------------------------------------


def timm_model(name: str, **options: Any) -> nn.Module:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return trained_looking(timm.create_model(name, num_classes=5, **options))


def torchvision_swin() -> nn.Module:
    from torchvision.models import SwinTransformer

    return seeded(SwinTransformer, [4, 4], 16, [1, 1], [2, 4], [4, 4], num_classes=5)


def hf_model(name: str, **options: Any) -> nn.Module:
    import transformers

    kind = name.removesuffix("WithTeacher").removesuffix("ForImageClassification")
    config = getattr(transformers, f"{kind}Config")(num_labels=5, **(options or HF_VIT))
    return trained_looking(seeded(getattr(transformers, name), config))


def trained_looking(module: nn.Module) -> nn.Module:
    """Fresh transformers weigh almost nothing, some heads nothing at all: here every matrix counts."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for p in module.parameters():
            if p.ndim > 1:
                p.normal_(std=0.7 / p[0].numel() ** 0.5)
    return module.eval()


WINDOWED = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4],
            "window_size": 4}  # fmt: skip
HF_VIT = {"image_size": 32, "patch_size": 8, "hidden_size": 24, "num_hidden_layers": 2,
          "num_attention_heads": 3}  # fmt: skip
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "in-place": lambda: seeded(TinyCNN, "inplace"),
    "residual": lambda: seeded(ResidualNet),
    "reused": lambda: seeded(Reused),
    "nhwc": lambda: seeded(ChannelsLast),
    "view": lambda: seeded(Viewing),
    "dense": lambda: seeded(DenseCat),
    "one channel": lambda: seeded(TinyCNN, channels=1),
    "four channels": lambda: seeded(TinyCNN, channels=4),
    "single logit": lambda: seeded(TinyCNN, classes=1),
    "tuple": lambda: Around(seeded(TinyCNN), after=lambda y: (y, y[:, :2])).eval(),
    "dict": lambda: Around(seeded(TinyCNN), after=lambda y: {"features": y[:, :1], "logits": y}).eval(),
    "normalises in place": lambda: Around(seeded(TinyCNN), before=normalise_in_place).eval(),
    "no_grad inside": lambda: seeded(NoGradStem),
    "data parallel": lambda: nn.DataParallel(seeded(TinyCNN)),
    "train mode": lambda: nn.Sequential(seeded(TinyCNN), nn.Dropout(0.9)).train(),
    "frozen": lambda: seeded(TinyCNN).requires_grad_(False),
    "vit": lambda: timm_model("vit_tiny_patch16_224", **VIT),
    "vit registers": lambda: timm_model("vit_small_patch14_reg4_dinov2", **VIT),
    "vit distilled": lambda: timm_model("deit_tiny_distilled_patch16_224", **VIT),
    "vit average": lambda: timm_model("vit_tiny_patch16_224", **VIT, global_pool="avg"),
    "beit": lambda: timm_model("beit_base_patch16_224", **VIT),
    "swin timm": lambda: timm_model("swin_tiny_patch4_window7_224", img_size=32, window_size=4,
                                    depths=(1, 1), num_heads=(2, 4), embed_dim=16),
    "swin torchvision": lambda: trained_looking(torchvision_swin()),
    "swin hf": lambda: hf_model("SwinForImageClassification", **WINDOWED),
    "vit hf": lambda: hf_model("ViTForImageClassification"),
    "deit hf": lambda: hf_model("DeiTForImageClassificationWithTeacher"),
    "beit hf": lambda: hf_model("BeitForImageClassification"),
}  # fmt: skip
FIXED_SIZE = {name for name in BUILDERS if name.split()[0] in ("vit", "beit", "deit", "swin")}
CONVOLUTIONAL = [name for name in BUILDERS if name not in FIXED_SIZE]


@cache
def net(name: str) -> nn.Module:
    """One network of the zoo in float64, built once."""
    return BUILDERS[name]().double()


def pictures(name: str, n: int = 3, seed: int = 1) -> Tensor:
    """A batch that network takes: odd, non-square where it can be."""
    channels = {"one channel": 1, "four channels": 4}.get(name, 3)
    size = (32, 32) if name in FIXED_SIZE else (33, 47)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, *size, dtype=torch.float64, generator=generator)


@contextmanager
def unchecked() -> Iterator[None]:
    """As users run it: without the tests' checks of annotations, which would refuse wrong types first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


# --- everything that must stay as it is --------------------------------------------------------------------


def state_of(module: nn.Module, *tensors: Tensor) -> dict[str, Any]:
    """All a user could find changed: the module's whole state, the tensors', and torch's global settings."""
    kept: dict[str, Any] = {}
    for name, child in module.named_modules():
        kept[f"{name} training"] = child.training
        kept[f"{name} attributes"] = list(vars(child))
        for key, hooks in vars(child).items():
            if "hook" in key and isinstance(hooks, dict):
                kept[f"{name} {key}"] = list(hooks.items())
    for key, hooks in vars(nn.modules.module).items():
        if key.startswith("_global") and isinstance(hooks, dict):
            kept[key] = list(hooks)
    for name, t in [*module.named_parameters(), *module.named_buffers(), *enumerate(tensors)]:
        kept[f"{name} value"] = t.detach().cpu().numpy().tobytes() if t.dtype.itemsize > 2 else t.tolist()
        kept[f"{name} version"] = None if t.is_inference() else t._version
        kept[f"{name} grad"] = t.grad if t.grad is None else (id(t.grad), t.grad.tolist())
        kept[f"{name} requires_grad"] = t.requires_grad
        kept[f"{name} backward hooks"] = list(t._backward_hooks or ())
    kept["torch rng"] = torch.get_rng_state().tolist()
    kept["numpy rng"] = str(np.random.get_state())
    kept["settings"] = (
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(),
        torch.backends.mha.get_fastpath_enabled(), torch.get_num_threads(), torch.is_anomaly_enabled(),
        torch.are_deterministic_algorithms_enabled(), torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"), torch.is_autocast_cache_enabled(),
    )  # fmt: skip
    return kept
