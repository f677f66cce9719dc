"""RISE, LIME, KernelSHAP, occlusion, Score-CAM and Ablation-CAM of one picture: Pellucid and its peers.

.venv/bin/python benchmarks/perturbation.py --runs 3 --out benchmarks/results/perturbation.md

Sample counts are smaller than the defaults, so that the peers end in reasonable time: all but Ablation-CAM
cost the same per sample whatever their number. `bare` is the model alone on as many inputs, 8 at once with
channels last, which is the least that any method by samples can take in float32.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
import torchvision
from captum.attr import KernelShap, Occlusion
from lime.lime_image import LimeImageExplainer
from pytorch_grad_cam import AblationCAM, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from skimage.transform import resize
from torch import Tensor, nn

import harness
import pellucid
from pellucid.segments import segment

CLASS = 282
Predict = Callable[[np.ndarray], np.ndarray]


def bare(net: nn.Module, x: Tensor, passes: int, low: bool = False) -> None:
    """As many passes of the model alone."""
    batch = x.repeat(8, 1, 1, 1).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=low):
        for start in range(0, passes, 8):
            net(batch[: min(8, passes - start)])


def rise_as_published(net: nn.Module, x: Tensor, samples: int, cells: int = 7, chunk: int = 100) -> Tensor:
    """RISE as its authors write it: all masks made by skimage and held, then scored by the hundred."""
    side = x.shape[-1]
    cell = -(-side // cells)
    masks = np.empty((samples, 1, side, side), dtype=np.float32)
    for mask, grid in zip(masks, np.random.rand(samples, cells, cells) < 0.5, strict=True):
        up = resize(grid.astype(np.float32), ((cells + 1) * cell,) * 2, order=1, anti_aliasing=False)
        top, left = np.random.randint(0, cell, 2)
        mask[0] = up[top : top + side, left : left + side]
    stack = torch.from_numpy(masks)
    with torch.no_grad():
        scores = torch.cat([net(part * x).softmax(1)[:, CLASS] for part in stack.split(min(chunk, samples))])
    return (scores @ stack.flatten(1)).reshape(side, side) / samples / 0.5


def lime_package(picture: np.ndarray, labels: np.ndarray, predict: Predict, samples: int) -> None:
    """The lime package, at its default batch of 10, which is its fastest here."""
    LimeImageExplainer(random_state=0).explain_instance(
        picture,
        predict,
        labels=(CLASS,),
        top_labels=None,
        hide_color=None,
        num_samples=samples,
        segmentation_fn=lambda _: labels,
    )


def cam_of(kind: type, net: nn.Module, layer: nn.Module, x: Tensor, batch: int) -> None:
    """pytorch-grad-cam, without its progress bar."""
    with kind(model=net, target_layers=[layer]) as cam:
        cam.batch_size = batch
        cam(input_tensor=x, targets=[ClassifierOutputTarget(CLASS)])


def jobs_of(
    name: str, net: nn.Module, model: pellucid.Model, x: Tensor, few: nn.Module, count: int, stride: int
) -> dict:
    """All groups of one model; `count` samples each, windows a `stride` apart, a layer of few channels."""
    (picture,) = (np.asarray(one.rgb) for one in model.pictures(x))
    labels = segment(picture, "slic")
    coalitions = max(count, 4 * len(labels.unique()))  # with fewer the fit is not determined
    layer = next(key for key, module in net.named_modules() if module is few)

    def predict(pictures: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            return net(batch).softmax(1).numpy()

    logit = {"target": CLASS, "output": "logit"}
    ours = partial(pellucid.explain, model, x, target=CLASS)
    channels = ours(method="grad-cam", layer=layer).details["weights"].shape[1]
    window = {"sliding_window_shapes": (3, 32, 32), "strides": (3, stride, stride), "target": CLASS}
    shap = partial(KernelShap(net).attribute, x, target=CLASS, feature_mask=labels[None, None])
    windows = (192 // stride + 1) ** 2
    return {
        f"RISE {count}, {name}": {
            "pellucid, float32": partial(ours, method="rise", samples=count, precision="float32"),
            "pellucid": partial(ours, method="rise", samples=count),
            "authors' way": partial(rise_as_published, net, x, count),
            "bare": partial(bare, net, x, count),
            "bare, bfloat16": partial(bare, net, x, count, low=True),
        },
        f"LIME {count}, {name}": {
            "pellucid, float32": partial(
                ours, method="lime", samples=count, segments=labels, precision="float32"
            ),
            "pellucid": partial(ours, method="lime", samples=count, segments=labels),
            "lime, 10 at once": partial(lime_package, picture, labels.numpy(), predict, count),
        },
        f"KernelSHAP {coalitions}, {name}": {
            "pellucid, float32": partial(
                ours, method="kernel-shap", samples=coalitions, segments=labels, precision="float32", **logit
            ),
            "pellucid": partial(ours, method="kernel-shap", samples=coalitions, segments=labels, **logit),
            "captum, 1 at once": partial(shap, n_samples=coalitions, perturbations_per_eval=1),
            "captum, 16 at once": partial(shap, n_samples=coalitions, perturbations_per_eval=16),
        },
        f"occlusion {windows}, {name}": {
            "pellucid, float32": partial(
                ours, method="occlusion", stride=stride, precision="float32", **logit
            ),
            "pellucid": partial(ours, method="occlusion", stride=stride, **logit),
            "captum, 1 at once": partial(Occlusion(net).attribute, x, perturbations_per_eval=1, **window),
            "captum, 16 at once": partial(Occlusion(net).attribute, x, perturbations_per_eval=16, **window),
        },
        f"Score-CAM {channels} channels, {name}": {
            "pellucid, float32": partial(ours, method="score-cam", layer=layer, precision="float32"),
            "pellucid": partial(ours, method="score-cam", layer=layer),
            "pytorch-grad-cam, 16 at once": partial(cam_of, ScoreCAM, net, few, x, 16),
        },
    }


def groups() -> Mapping[str, harness.Jobs]:
    """EfficientNet-Lite0 with its real weights on a photograph, resnet50 with random ones."""
    lite0 = pellucid.load()
    x = lite0.prepare("sample:cat")
    net = lite0.network
    torch.manual_seed(0)
    resnet50 = torchvision.models.resnet50(weights=None).eval()
    other = pellucid.Model(resnet50, preprocess=lite0.preprocess, name="resnet50")
    last, top = net.bn2, resnet50.layer4
    return {
        **jobs_of("EfficientNet-Lite0", net, lite0, x, net.blocks[4], 240, 16),
        **jobs_of("resnet50", resnet50, other, x, resnet50.layer1[2].conv1, 80, 24),
        "Ablation-CAM 1280 channels, EfficientNet-Lite0": {
            "pellucid": partial(pellucid.explain, lite0, x, "ablation-cam", target=CLASS, layer=last),
            "pytorch-grad-cam": partial(cam_of, AblationCAM, net, last, x, 32),
        },
        "Ablation-CAM 2048 channels, resnet50": {
            "pellucid": partial(pellucid.explain, other, x, "ablation-cam", target=CLASS, layer=top),
            "pytorch-grad-cam": partial(cam_of, AblationCAM, resnet50, top, x, 32),
        },
    }


if __name__ == "__main__":
    harness.main(groups, once="Ablation-CAM")
