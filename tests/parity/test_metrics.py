"""Metrics against Quantus, pytorch-grad-cam, torch-cam and saliency where these are right, and where not."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.measure import measure

quantus = pytest.importorskip("quantus")
SIDE, TARGET = 8, 1


class Net(nn.Module):
    """A small network of one channel or more, whose score is no sum over pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(channels, 5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).tanh().mean((2, 3)) * 3)


def case(channels: int) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(channels)
    net = Net(channels).eval()
    return net, torch.randn(2, channels, SIDE, SIDE), torch.rand(2, 1, SIDE, SIDE)


@pytest.fixture
def trapz(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers still call `np.trapz`, which NumPy 2.4 no longer has."""
    if not hasattr(np, "trapz"):
        monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)


def theirs(metric: Callable[..., Any], net: nn.Module, x: Tensor, maps: Tensor, **options: Any) -> np.ndarray:
    """Quantus on logits, maps as they are."""
    options = {"normalise": False, "abs": False, "disable_warnings": True, **options}
    softmax = options.pop("softmax", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = metric(**options)(
            model=net,
            x_batch=x.numpy(),
            y_batch=np.full(len(x), TARGET),
            a_batch=maps.numpy(),
            softmax=softmax,
            device="cpu",
        )
    return np.array(found)


def test_pixel_flipping_of_one_channel_is_quantus_curve_and_ours_holds_the_picture_too(trapz: None):
    net, x, maps = case(1)
    curve = theirs(quantus.PixelFlipping, net, x, maps, features_in_step=8, perturb_baseline=0.0)
    ours = measure(net, x, maps, "pixel-flipping:steps=8", target=TARGET)
    np.testing.assert_allclose(ours.details["curve"][:, 1:], curve, atol=1e-5)
    areas = theirs(
        quantus.PixelFlipping,
        net,
        x,
        maps,
        features_in_step=8,
        perturb_baseline=0.0,
        return_auc_per_sample=True,
    )
    first = (ours.details["curve"][:, 0] + ours.details["curve"][:, 1]) / 2
    np.testing.assert_allclose((areas + first.numpy()) / 8, ours.value, atol=1e-5)


def test_pixel_flipping_of_quantus_flips_single_channels(trapz: None):
    """Of three channels it needs three times as many steps, and the first of them flip one colour each."""
    net, x, maps = case(3)
    seen: list[np.ndarray] = []

    class Watching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach().numpy().copy())
            return net(x)

    theirs(quantus.PixelFlipping, Watching().eval(), x, maps, features_in_step=1, perturb_baseline=0.0)
    flipped = [batch for batch in seen if len(batch) == 2]
    assert len(flipped) == 3 * SIDE * SIDE
    changed = (flipped[0][0] != x[0].numpy()).sum((1, 2))
    assert sorted(changed.tolist()) == [0, 0, 1]
    ours = measure(net, x, maps, "pixel-flipping", steps=SIDE * SIDE, target=TARGET)
    assert ours.details["curve"].shape[1] == SIDE * SIDE + 1


@pytest.mark.parametrize("channels", [1, 3])
def test_selectivity_is_that_of_quantus(channels: int):
    net, x, maps = case(channels)
    curve = theirs(quantus.Selectivity, net, x, maps, patch_size=2, perturb_baseline=0.0)
    ours = measure(net, x, maps, "selectivity:patch=2", target=TARGET)
    np.testing.assert_allclose(ours.details["curve"][:, 1:], curve, atol=1e-5)


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_region_perturbation_is_that_of_quantus_and_aopc_its_mean(order: str):
    net, x, maps = case(3)
    drops = theirs(
        quantus.RegionPerturbation,
        net,
        x,
        maps,
        patch_size=2,
        regions_evaluation=6,
        order=order,
        perturb_baseline=0.0,
    )
    options = {"patch": 2, "regions": 6, "replacement": 0.0, "target": TARGET}
    ours = measure(net, x, maps, "region-perturbation", order=order, **options)
    np.testing.assert_allclose(ours.value, drops.mean(1), atol=1e-5)
    if order == "morf":
        aopc = measure(net, x, maps, "aopc", **options)
        np.testing.assert_allclose(aopc.value, drops.sum(1) / 7, atol=1e-5)


def test_faithfulness_estimate_of_one_channel_is_that_of_quantus():
    net, x, maps = case(1)
    found = theirs(quantus.FaithfulnessEstimate, net, x, maps, features_in_step=4, perturb_baseline=0.0)
    ours = measure(net, x, maps, "faithfulness-estimate:steps=16", target=TARGET)
    np.testing.assert_allclose(ours.value, found, atol=1e-4)


def test_monotonicity_of_quantus_is_always_true():
    """It replaces its baseline by the baseline: no pixel is ever shown."""
    net, x, maps = case(1)
    for judged in (maps, 1 - maps, torch.rand(2, 1, SIDE, SIDE)):
        assert theirs(quantus.Monotonicity, net, x, judged, features_in_step=8).all()
    shares = measure(net, x, maps, "monotonicity:steps=8", target=TARGET)
    assert (shares.value < 1).all()
    assert shares.details["monotonic"].tolist() == [0.0, 0.0]


def test_irof_of_quantus_is_ours_times_its_segments_but_for_the_picture_itself(trapz: None):
    """Its area over segments of width 1 begins where the first is gone; of several channels it stops."""
    from skimage.segmentation import slic

    torch.manual_seed(0)
    net, x, maps = Net(1).eval(), torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32)
    labels = slic(x[0].permute(1, 2, 0).double().numpy(), start_label=0)
    count = len(np.unique(labels))
    found = theirs(quantus.IROF, net, x, maps, softmax=True, perturb_baseline=0.3)[0]
    ours = measure(net, x, maps, "irof", segments=labels, replacement=0.3, target=TARGET).value.item()
    gone = labels == np.argmax([maps[0, 0].numpy()[labels == s].mean() for s in range(count)])
    without = x.clone()
    without[0][:, torch.from_numpy(gone)] = 0.3
    with torch.no_grad():
        share = (net(without).softmax(1)[0, TARGET] / net(x).softmax(1)[0, TARGET]).item()
    assert (1 - ours) * count == pytest.approx(count - found + (1 + share) / 2, abs=1e-4)
    with pytest.raises(AssertionError, match="same as the mask"):
        theirs(quantus.IROF, *case(3), softmax=True, perturb_baseline=0.3)


def test_road_of_quantus_stops_on_maps_of_several_channels():
    net, x, _ = case(3)
    with pytest.raises(IndexError):
        theirs(quantus.ROAD, net, x, torch.rand(2, 3, SIDE, SIDE), percentages=[50])
    assert measure(net, x, torch.rand(2, 3, SIDE, SIDE), "road", target=TARGET).value.isfinite().all()


def test_imputation_is_that_of_grad_cam_which_ignores_its_weights():
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    from pellucid.metrics.imputation import imputed

    x, removed = torch.randn(3, 20, 16), torch.rand(20, 16) < 0.6
    found = road.NoisyLinearImputer(noise=0)(x, (~removed).float())
    assert torch.allclose(imputed(x, removed), found, atol=1e-5)
    other = road.NoisyLinearImputer(noise=0, weighting=[((0, 1), 0.5), ((0, -1), 0.5)])
    assert torch.equal(other(x, (~removed).float()), found)


def test_road_is_that_of_grad_cam(monkeypatch: pytest.MonkeyPatch):
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    torch.manual_seed(3)
    net, x = Net(3).eval(), torch.randn(2, 3, 20, 20)
    maps = torch.rand(2, 1, 20, 20)
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)  # its noise
    found = road.ROADCombined()(x, maps[:, 0].numpy(), [ClassifierOutputSoftmaxTarget(TARGET)] * 2, net)
    ours = measure(net, x, maps, "road:noise=0", target=TARGET)
    np.testing.assert_allclose(ours.value, found, atol=1e-4)


def test_drop_and_increase_are_those_of_grad_cam_but_for_the_division():
    peer = pytest.importorskip("pytorch_grad_cam.metrics.cam_mult_image")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    net, x, maps = case(3)
    maps = maps / maps.amax((2, 3), keepdim=True)
    targets = [ClassifierOutputSoftmaxTarget(TARGET)] * 2
    drop = peer.DropInConfidence()(x, maps[:, 0].numpy(), targets, net)
    rise = peer.IncreaseInConfidence()(x, maps[:, 0].numpy(), targets, net)
    with torch.no_grad():
        before = net(x).softmax(1)[:, TARGET].numpy()
    np.testing.assert_allclose(
        measure(net, x, maps, "average-drop", target=TARGET).value, drop / before, atol=1e-5
    )
    np.testing.assert_allclose(
        measure(net, x, maps, "increase-in-confidence", target=TARGET).value, rise, atol=0
    )


def test_drop_and_increase_are_those_of_torch_cam():
    torchcam = pytest.importorskip("torchcam.metrics")
    from torchcam.methods import LayerCAM

    import pellucid

    torch.manual_seed(5)
    net, x = Net(3).eval(), torch.randn(3, 3, 24, 24)
    with LayerCAM(net, "conv", input_shape=(3, 24, 24)) as extractor:
        metric = torchcam.ClassificationMetric(extractor, lambda raw: raw.softmax(-1))
        metric.update(x, class_idx=TARGET)
        cams = extractor(TARGET, net(x))[0]
    peer = metric.summary()
    maps = nn.functional.interpolate(cams[:, None], (24, 24), mode="bilinear", align_corners=False)
    lost = measure(net, x, maps, "average-drop", target=TARGET).value
    risen = measure(net, x, maps, "increase-in-confidence", target=TARGET).value
    # Resized, a map no longer reaches 1: it divides by what was its maximum before.
    assert lost.mean().item() == pytest.approx(peer["avg_drop"], abs=0.02)
    assert risen.mean().item() == pytest.approx(peer["conf_increase"], abs=1e-6)
    assert pellucid.explain(net, x, method="layer-cam", layer="conv").attribution.shape == (3, 1, 24, 24)


def test_sic_is_that_of_its_authors(trapz: None, lite0: Any, cat: Any):
    pic = pytest.importorskip("saliency.metrics.pic")
    x = lite0.prepare(cat)[:, :, 60:156, 40:136]
    map = torch.rand(1, 1, 96, 96, generator=torch.Generator().manual_seed(1))
    net, target = lite0.network, 285
    from pellucid.metrics.information import SHARES
    from pellucid.probe.question import folded

    picture = np.asarray(lite0.pictures(x)[0].rgb)

    def scores(images: np.ndarray) -> list[float]:
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        mean, std = (torch.tensor(v)[:, None, None] for v in (lite0.preprocess.mean, lite0.preprocess.std))
        with torch.no_grad():
            return net((batch / 255 - mean) / std).softmax(1)[:, target].tolist()

    generator = torch.Generator().manual_seed(folded(1 << 44))
    mask = np.zeros(96 * 96, dtype=bool)
    mask[torch.randperm(96 * 96, generator=generator)[:92]] = True
    peer = pic.compute_pic_metric(
        picture, map[0, 0].numpy(), mask.reshape(96, 96), scores, SHARES, min_pred_value=0.0
    )
    ours = measure(lite0, x, map, "sic:rescaled=true", target=target)
    assert ours.value.item() == pytest.approx(peer.auc, abs=0.02)
