"""Gradients along paths and optimised masks: Pellucid, captum and PAIR's saliency.

.venv/bin/python benchmarks/paths.py --runs 3 --out benchmarks/results/paths.md

The peers' work is counted by their own defaults; captum's internal batch is 16, as larger ones are slower.
I-GOS has no package: its row times nothing but the 420 gradients that the authors' code takes, 20 at once.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
import saliency.core as pair
import torch
import torchvision
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency
from torch import Tensor, nn

import harness
import pellucid

CLASS = 282


class Numbers:
    """PAIR's way to ask a model: NumPy in, gradients out, channels last."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def __call__(self, images: np.ndarray, *_: object, **__: object) -> dict[str, np.ndarray]:
        """The gradients of pictures (N, H, W, C)."""
        x = torch.tensor(np.moveaxis(np.asarray(images), -1, 1), dtype=torch.float32, requires_grad=True)
        score = self.net(x)[:, CLASS]
        (gradient,) = torch.autograd.grad(score.sum(), x)
        return {pair.INPUT_OUTPUT_GRADIENTS: np.moveaxis(gradient.numpy(), 1, -1),
                pair.OUTPUT_LAYER_VALUES: score.detach().numpy()}  # fmt: skip


def as_pair_takes_it(x: Tensor) -> list[np.ndarray]:
    """Each picture alone, (H, W, C)."""
    return [np.moveaxis(one.numpy(), 0, -1) for one in x]


def guided(net: nn.Module, x: Tensor, steps: int) -> None:
    """PAIR's Guided IG, which needs an argument of np.quantile's that NumPy 2 has renamed."""
    quantile = np.quantile
    np.quantile = lambda *args, interpolation, **kwargs: quantile(*args, method=interpolation, **kwargs)
    try:
        for one in as_pair_takes_it(x):
            pair.GuidedIG().GetMask(one, Numbers(net), x_baseline=np.zeros_like(one), x_steps=steps)
    finally:
        np.quantile = quantile


def blur(net: nn.Module, x: Tensor, steps: int) -> None:
    """PAIR's Blur IG."""
    for one in as_pair_takes_it(x):
        pair.BlurIG().GetMask(one, Numbers(net), steps=steps)


def xrai(net: nn.Module, x: Tensor, steps: int) -> None:
    """PAIR's XRAI."""
    parameters = pair.XRAIParameters(steps=steps)
    for one in as_pair_takes_it(x):
        pair.XRAI().GetMask(one, Numbers(net), extra_parameters=parameters)


def gradients(net: nn.Module, x: Tensor, count: int, at_once: int) -> None:
    """As many gradients of the model alone."""
    for _ in range(0, count, at_once):
        copies = x.repeat(at_once, 1, 1, 1).requires_grad_()
        torch.autograd.grad(net(copies)[:, CLASS].sum(), copies)


def jobs_of(name: str, net: nn.Module, x: Tensor, pictures: Tensor, steps: int) -> dict[str, harness.Jobs]:
    """All groups of one model; Guided IG, Blur IG and XRAI take `steps`, which all cost the same."""
    ours = partial(pellucid.explain, net, target=CLASS, progress=False)
    integrated, noisy = IntegratedGradients(net), NoiseTunnel(Saliency(net))
    line = partial(ours, x, "integrated-gradients")
    sigma = 0.15 * float(x.max() - x.min())
    tunnel = {"nt_type": "smoothgrad", "nt_samples": 50, "stdevs": sigma, "abs": False}
    eight = f"{len(pictures)} pictures"
    return {
        f"integrated gradients, 50 steps, {name}": {
            "pellucid": partial(line, steps=50),
            "pellucid, steps='auto'": line,
            "captum, 16 at once": partial(integrated.attribute, x, target=CLASS, internal_batch_size=16),
        },
        f"integrated gradients, 200 steps, {name}": {
            "pellucid": partial(line, steps=200),
            "captum, 16 at once": partial(
                integrated.attribute, x, target=CLASS, n_steps=200, internal_batch_size=16
            ),
        },
        f"smooth-grad, 50 copies, {name}": {
            "pellucid": partial(ours, x, "smooth-grad", samples=50),
            "captum, 16 at once": partial(
                noisy.attribute, x, target=CLASS, nt_samples_batch_size=16, **tunnel
            ),
        },
        # Apart from the others: what so much memory leaves behind changes the speed of whatever follows.
        f"captum as it is, {name}": {
            "integrated gradients, 50 steps": partial(integrated.attribute, x, target=CLASS),
            "smooth-grad, 50 copies": partial(noisy.attribute, x, target=CLASS, **tunnel),
        },
        f"guided-ig, {steps} steps, {name}": {
            "pellucid": partial(ours, x, "guided-ig", steps=steps),
            "saliency": partial(guided, net, x, steps),
        },
        f"guided-ig, {steps} steps, {eight}, {name}": {
            "pellucid": partial(ours, pictures, "guided-ig", steps=steps),
            "saliency": partial(guided, net, pictures, steps),
        },
        f"blur-ig, {steps} steps, {name}": {
            "pellucid": partial(ours, x, "blur-ig", steps=steps),
            "saliency": partial(blur, net, x, steps),
        },
        f"blur-ig, {steps} steps, {eight}, {name}": {
            "pellucid": partial(ours, pictures, "blur-ig", steps=steps),
            "saliency": partial(blur, net, pictures, steps),
        },
        f"xrai, 2 x {2 * steps} steps, {name}": {
            "pellucid": partial(ours, x, "xrai", steps=2 * steps),
            "saliency": partial(xrai, net, x, 2 * steps),
        },
        f"once: i-gos, {name}": {
            "pellucid": partial(ours, x, "i-gos"),
            "pellucid, four pictures, each for its own class": partial(
                ours, pictures[:4], "i-gos", target=None
            ),
            "420 gradients, 20 at once": partial(gradients, net, x, 420, 20),
        },
    }


def groups() -> Mapping[str, harness.Jobs]:
    """EfficientNet-Lite0 with its real weights on photographs, resnet50 with random ones."""
    lite0 = pellucid.load()
    x = lite0.prepare("sample:cat")
    names = ("cat", "coffee", "rocket", "astronaut")
    pictures = lite0.prepare([f"sample:{name}" for name in names]).repeat(2, 1, 1, 1)
    torch.manual_seed(0)
    resnet50 = torchvision.models.resnet50(weights=None).eval()
    found = jobs_of("EfficientNet-Lite0", lite0.module, x, pictures, 40)
    found |= jobs_of("resnet50", resnet50, x, pictures, 10)
    return dict(sorted(found.items(), key=lambda group: group[0].startswith("captum as it is")))


if __name__ == "__main__":
    harness.main(groups, once="once")
