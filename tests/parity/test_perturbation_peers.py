"""Perturbation methods against captum, the lime package and pytorch-grad-cam, live."""

import numpy as np
import pytest
import pytorch_grad_cam as pgc
import torch
from captum.attr import KernelShap, Occlusion
from lime.lime_image import LimeImageExplainer
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import pellucid
from pellucid.engine.run import Engine
from pellucid.probe import Probe
from zoo import GapNet, LinearNet, ResidualNet, assert_close, images, raw, seeded, trained_statistics

SIZE = (24, 30)


def blocks(rows: int, columns: int) -> Tensor:
    """Labels of a grid of blocks."""
    y, x = (torch.arange(side) * n // side for side, n in zip(SIZE, (rows, columns), strict=True))
    return y[:, None] * columns + x


class Bends(nn.Module):
    """Pairs and triples of regions matter together."""

    def __init__(self, hidden: int = 24) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(3 * SIZE[0] * SIZE[1], hidden), nn.Linear(hidden, 2)
        self.fc.weight.data *= 3

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.fc(x.flatten(1))))


@pytest.mark.parametrize(("window", "stride"), [(6, 6), (8, 2), (6, 3)])
@pytest.mark.parametrize("fill", [0.0, 0.4])
def test_occlusion_is_captums(window, stride, fill):
    """Where its windows end with the image: elsewhere it hides less at the border."""
    net, x = trained_statistics(seeded(ResidualNet), images(8, SIZE).float()).double(), images(1, SIZE)
    theirs = Occlusion(net).attribute(
        x,
        (3, window, window),
        strides=(3, stride, stride),
        baselines=fill,
        target=2,
        perturbations_per_eval=8,
    )
    assert torch.equal(theirs[:, 0], theirs[:, 1])
    ours = raw(net, x, "occlusion", window=window, stride=stride, baseline=fill, target=2, output="logit")
    assert_close(ours, theirs[:, 0], 1e-6)  # captum divides in float32


class Told:
    """Gives our rows to the lime package where it draws its own."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def randint(self, low: int, high: int, size: int = 1) -> np.ndarray:
        return self.rows.numpy().flatten()[:size].copy()


@pytest.mark.parametrize("hide", [None, 0.0])
@pytest.mark.parametrize(
    ("features", "selection", "theirs"),
    [(0, "auto", "auto"), (3, "auto", "auto"), (8, "auto", "auto"), (5, "highest", "highest_weights")],
)
def test_lime_is_the_lime_packages_given_the_same_rows(hide, features, selection, theirs):
    """The whole way: their explainer, with our segments and rows, hides, asks, weighs, selects and fits."""
    net, x, labels = seeded(Bends).double(), images(1, SIZE), blocks(3, 4)
    ours = pellucid.explain(
        net, x, "lime", samples=200, segments=labels, features=features, selection=selection, target=0,
        baseline="segment-mean" if hide is None else "zero", progress=False,
    )  # fmt: skip
    probe = Probe(Engine(pellucid.Model.wrap(net)), x)
    rows = torch.cat([torch.randint(0, 2, (64, 12), generator=probe.generator(b)) for b in range(4)])[:200]

    def classify(pictures):
        with torch.no_grad():
            return net(torch.from_numpy(pictures).permute(0, 3, 1, 2)).softmax(1).numpy()

    explainer = LimeImageExplainer(feature_selection=theirs, random_state=0)
    explainer.random_state = Told(rows)
    peer = explainer.explain_instance(
        x[0].permute(1, 2, 0).numpy(), classify, labels=(0,), top_labels=None, hide_color=hide,
        num_samples=200, num_features=features or 100000, segmentation_fn=lambda _: labels.numpy(),
        random_seed=0,
    )  # fmt: skip
    expected = torch.zeros(12, dtype=torch.float64)
    for segment, weight in peer.local_exp[0]:
        expected[segment] = weight
    assert (expected != 0).sum() == (features or 12)
    assert_close(ours.details["coefficients"][0], expected, 1e-8)
    assert ours.details["r2"].item() == pytest.approx(float(peer.score), rel=1e-6)


def test_kernel_shap_of_a_linear_model_is_captums():
    net, x, labels = seeded(LinearNet, 3 * SIZE[0] * SIZE[1]).double(), images(1, SIZE), blocks(2, 3)
    torch.manual_seed(0)
    theirs = KernelShap(net).attribute(
        x, target=1, feature_mask=labels, n_samples=400, perturbations_per_eval=50
    )
    ours = raw(net, x, "kernel-shap", samples=64, segments=labels, target=1, output="logit")
    assert_close(ours, theirs[:, 0], 1e-3)  # their constraints are two samples of a large weight


def test_kernel_shap_agrees_between_seeds_better_than_captums():
    """At the same number of passes, on a model in which segments act together."""
    net, x, labels = seeded(Bends).double(), images(1, SIZE), blocks(6, 8)
    theirs, ours = [], []
    for seed in range(4):
        torch.manual_seed(seed)
        map = KernelShap(net).attribute(
            x, target=0, feature_mask=labels, n_samples=200, perturbations_per_eval=50
        )
        theirs.append(map[0, 0].flatten().double())
        how = {"samples": 200, "segments": labels, "target": 0, "output": "logit", "seed": seed}
        ours.append(raw(net, x, "kernel-shap", **how).flatten())
    pairs = torch.ones(4, 4).triu(1).bool()
    theirs_agree, ours_agree = (torch.corrcoef(torch.stack(maps))[pairs].mean() for maps in (theirs, ours))
    assert ours_agree > 0.94
    assert 1 - ours_agree < 0.7 * (1 - theirs_agree)


@pytest.mark.parametrize(("net", "layer"), [(GapNet, "relu"), (ResidualNet, "stage2")])
def test_score_cam_with_its_variant_is_pytorch_grad_cams(net, layer):
    net, x = trained_statistics(seeded(net), images(8, SIZE).float()), images(1, SIZE).float()
    if isinstance(net, GapNet):
        net.fc.weight.data *= 10
    e = pellucid.explain(
        net, x, "score-cam", variant="pytorch-grad-cam", layer=layer, target=2, progress=False
    )
    with pgc.ScoreCAM(net, [net.get_submodule(layer)]) as cam:
        shown = cam(x, [ClassifierOutputTarget(2)])
        A = cam.activations_and_grads.activations[0]
        weights = cam.get_cam_weights(x, None, [ClassifierOutputTarget(2)], A.numpy(), None)
    assert_close(e.details["weights"], torch.as_tensor(weights), 1e-4)
    scaled = scale_cam_image(np.maximum(e.raw.numpy(), 0), SIZE[::-1])
    np.testing.assert_allclose(scale_cam_image(scaled), shown, atol=2e-3)
    assert e.details["weights"].max() < 0.999  # more than one channel counts
