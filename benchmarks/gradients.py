"""Saliency, input x gradient and SmoothGrad of one picture: Pellucid and captum.

.venv/bin/python benchmarks/gradients.py --out benchmarks/results/gradients.md
"""

from collections.abc import Mapping
from functools import partial

import torch
import torchvision
from captum.attr import InputXGradient, NoiseTunnel, Saliency

import harness
import pellucid

CLASS = 282
SAMPLES = 50


def groups() -> Mapping[str, harness.Jobs]:
    """EfficientNet-Lite0 with its real weights on a photograph, resnet50 with random ones."""
    lite0 = pellucid.load()
    x = lite0.prepare("sample:cat")
    sigma = 0.15 * float(x.max() - x.min())
    torch.manual_seed(0)
    resnet50 = torchvision.models.resnet50(weights=None).eval()
    work: dict[str, harness.Jobs] = {}
    for name, net in (("EfficientNet-Lite0", lite0.module), ("resnet50", resnet50)):
        ours = partial(pellucid.explain, net, x, target=CLASS)
        theirs = NoiseTunnel(Saliency(net)).attribute
        noisy = {"nt_type": "smoothgrad", "nt_samples": SAMPLES, "stdevs": sigma, "abs": False}
        work[f"saliency, {name}"] = {
            "pellucid": partial(ours, method="saliency"),
            "captum": partial(Saliency(net).attribute, x, target=CLASS),
        }
        work[f"input x gradient, {name}"] = {
            "pellucid": partial(ours, method="input-x-gradient"),
            "captum": partial(InputXGradient(net).attribute, x, target=CLASS),
        }
        work[f"SmoothGrad {SAMPLES}, {name}"] = {
            "pellucid": partial(ours, method="smooth-grad", samples=SAMPLES),
            "captum, 10 at once": partial(theirs, x, target=CLASS, nt_samples_batch_size=10, **noisy),
        }
    return work


if __name__ == "__main__":
    harness.main(groups)
