"""Whether LRP's relevance is all accounted for: what arrives, what biases answer for, what is absorbed.

.venv/bin/python benchmarks/conservation.py --out benchmarks/results/conservation.md

Weights are random except EfficientNet-Lite0's. Fresh networks say nothing, because their signal dies out and
biases are zero: batch norms know the statistics of two pictures, layers that start at zero are given weights.
"""

import argparse
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import pellucid

COMPOSITES = (
    "epsilon-plus",
    "epsilon-plus-flat",
    "epsilon-alpha2-beta1",
    "epsilon-alpha2-beta1-flat",
    "epsilon-gamma-box",
    "excitation-backprop",
    "gamma:0.25",
    "epsilon-plus;attention=all",
)
BOX = {"low": -3.0, "high": 3.0}
TORCHVISION = (
    "alexnet", "vgg19", "vgg19_bn", "resnet18", "resnet50", "wide_resnet50_2", "resnext50_32x4d",
    "densenet121", "densenet169", "googlenet", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0",
    "regnet_y_400mf", "shufflenet_v2_x1_0", "mnasnet1_0", "convnext_tiny", "swin_t", "vit_b_16",
)  # fmt: skip
TIMM = ("vit_tiny_patch16_224", "resnetv2_50")
LITE0 = "efficientnet-lite0 (ImageNet)"
MODELS = (LITE0, *TORCHVISION, *TIMM)


def case(name: str, size: int) -> tuple[nn.Module, Tensor]:
    """A network whose relevance can reach the pixels, see above, and its input."""
    if name == LITE0:
        model = pellucid.load()
        return model.module, model.prepare(["sample:cat"])[..., :size, :size]
    size = int(name.rpartition("_")[2]) if name.endswith("_224") else size
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).clamp(-2.9, 2.9)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(0)
        warnings.simplefilter("ignore")
        if name in TIMM:
            import timm

            net = timm.create_model(name)
        else:
            import torchvision

            options = {"vit_b_16": {"image_size": size}, "googlenet": {"init_weights": False}}
            net = torchvision.models.get_model(name, **options.get(name, {}))
        lively(net)
        trained_statistics(net.eval(), x)
    return net, x[:1]


def lively(net: nn.Module) -> None:
    """Gives weights to what starts at zero or next to it, and biases to all."""
    for module in net.modules():
        for name, p in module.named_parameters(recurse=False):
            if name.endswith("bias"):
                nn.init.normal_(p, std=0.05)
            elif p.ndim > 1 and p.std() < 1e-3:
                nn.init.normal_(p, std=p[0].numel() ** -0.5)
            elif "layer_scale" in name or name == "gamma":
                nn.init.constant_(p, 0.5)


def trained_statistics(net: nn.Module, x: Tensor) -> None:
    """Lets batch norms know the statistics of x: one pass in training mode with momentum 1."""
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        net(x)
    net.eval()


def measured(net: nn.Module, x: Tensor, composite: str) -> dict[str, float]:
    """The shares of the score that pixels, biases and stabilisers have; `error`: by how much they miss 1."""
    options: dict[str, Any] = BOX if "box" in composite else {}
    e = pellucid.explain(net, x, "lrp", composite=composite, progress=False, **options)
    score = float(e.score[0])
    shares = {
        "pixels": float(e.raw[0].double().sum()) / score,
        "biases": float(e.details["biases"][0]) / score,
        "absorbed": float(e.details["absorbed"][0]) / score,
    }
    return {"error": abs(sum(shares.values()) - 1), **shares}


def table(models: Sequence[str], size: int) -> Iterator[str]:
    """A Markdown table: a row per model, a column per composite."""
    yield f"float32, {size} px, torch {torch.__version__}; S is the predicted class's logit."
    yield ""
    yield "Each cell: |pixels + biases + absorbed - S| / |S|, then the shares of S that pixels and biases"
    yield "have; what is missing to 100% was absorbed: by stabilisers, or where a rule found nothing of the"
    yield "sign it shares to. Shares go beyond 100% where relevance has both signs."
    yield ""
    yield f"| model | {' | '.join(COMPOSITES)} |"
    yield f"|---|{'---|' * len(COMPOSITES)}"
    for name in models:
        net, x = case(name, size)
        cells = []
        for composite in COMPOSITES:
            m = measured(net, x, composite)
            cells.append(f"{m['error']:.0e}; {m['pixels']:.1%}, {m['biases']:.1%}")
        yield f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--only", help="only models whose name holds this")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lines = []
    for line in table([name for name in MODELS if not options.only or options.only in name], options.size):
        print(line, flush=True)
        lines.append(line)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
