"""Ablation-CAM against pytorch-grad-cam, live.

It sets a channel to 0 only where the smallest activation is 0, so the layer is a rectified one; elsewhere it
writes -1e7, which is not the paper's.
"""

import pytest
import pytorch_grad_cam as pgc
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import pellucid
from zoo import GapNet, ResidualNet, assert_close, images, seeded


def pgc_weights(module: nn.Module, layer: str, x: Tensor, target: int) -> Tensor:
    """pytorch-grad-cam's channel weights, (1, K)."""
    submodule = module.get_submodule(layer)
    with pgc.AblationCAM(module, [submodule]) as cam:
        module(x)
        A = cam.activations_and_grads.activations[0].numpy()
        cam.activations_and_grads.release()
        weights = cam.get_cam_weights(x, submodule, [ClassifierOutputTarget(target)], A, None)
    return torch.from_numpy(weights)


@pytest.mark.parametrize(
    ("build", "layer"), [(GapNet, "relu"), (ResidualNet, "stage1"), (ResidualNet, "stage2")]
)
def test_ablation_cam_equals_pytorch_grad_cam(build, layer):
    module, x = seeded(build), images(1, (40, 56)).float()
    scores = module(x)[0]
    target = int(scores.argmax())
    assert scores[target] > 0  # where S and |S| are one
    e = pellucid.explain(module, x, "ablation-cam", layer=layer, target=target)
    assert_close(e.details["weights"], pgc_weights(module, layer, x, target), 1e-4)
