"""Nine CAMs of one picture, and Grad-CAM alone: Pellucid, pytorch-grad-cam, torch-cam and captum.

.venv/bin/python benchmarks/cams.py --out benchmarks/results/cams.md
"""

from collections.abc import Mapping
from functools import partial

import pytorch_grad_cam as pgc
import torch
import torchvision
from captum.attr import LayerGradCam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torchcam.methods import GradCAM as TorchCam

import harness
import pellucid

NINE = {
    "grad-cam": pgc.GradCAM,
    "grad-cam++": pgc.GradCAMPlusPlus,
    "grad-cam-elementwise": pgc.GradCAMElementWise,
    "hirescam": pgc.HiResCAM,
    "xgrad-cam": pgc.XGradCAM,
    "layer-cam": pgc.LayerCAM,
    "eigen-cam": pgc.EigenCAM,
    "eigen-grad-cam": pgc.EigenGradCAM,
    "random-cam": pgc.RandomCAM,
}
CLASS = 282


def their_nine(net: torch.nn.Module, layer: torch.nn.Module, x: torch.Tensor) -> None:
    """The same nine by pytorch-grad-cam: one object each, as its documentation shows."""
    for kind in NINE.values():
        with kind(model=net, target_layers=[layer]) as cam:
            cam(input_tensor=x, targets=[ClassifierOutputTarget(CLASS)])


def torch_cam(net: torch.nn.Module, layer: torch.nn.Module, x: torch.Tensor) -> None:
    """Grad-CAM by torch-cam."""
    with TorchCam(net, target_layer=layer) as extractor:
        extractor(CLASS, net(x))


def groups() -> Mapping[str, harness.Jobs]:
    """EfficientNet-Lite0 with its real weights on a photograph, resnet50 with random ones."""
    lite0 = pellucid.load()
    x = lite0.prepare("sample:cat")
    torch.manual_seed(0)
    resnet50 = torchvision.models.resnet50(weights=None).eval()
    work: dict[str, harness.Jobs] = {}
    for name, net, layer in (
        ("EfficientNet-Lite0", lite0.module, lite0.module.bn2),
        ("resnet50", resnet50, resnet50.layer4),
    ):
        work[f"nine CAMs, {name}"] = {
            "pellucid": partial(pellucid.compare, net, x, list(NINE), target=CLASS),
            "pytorch-grad-cam": partial(their_nine, net, layer, x),
        }
        work[f"Grad-CAM, {name}"] = {
            "pellucid": partial(pellucid.explain, net, x, "grad-cam", target=CLASS),
            "pellucid, layer given": partial(pellucid.explain, net, x, "grad-cam", target=CLASS, layer=layer),
            "captum": partial(LayerGradCam(net, layer).attribute, x, target=CLASS),
            "torch-cam": partial(torch_cam, net, layer, x),
        }
    return work


if __name__ == "__main__":
    harness.main(groups)
