"""Class activation maps against pytorch-grad-cam, captum and torch-cam, live.

Maps are compared raw, before anyone rectifies or scales them, and once more through the peer's own
post-processing. Where a peer's formula differs it is an option of ours (its eps, its centring, its rectified
HiResCAM), or a fault of its, which a test shows.
"""

import copy
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import pytorch_grad_cam as pgc
import torch
import torchcam.methods as torchcam
from captum.attr import LayerGradCam
from cases import MODELS, SMALL, Case
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import pellucid
from zoo import GapNet, assert_close, images, raw, seeded, swept

Cases = Callable[[str], Case]

FLOAT32 = 1e-5  # XGrad-CAM divides by sums of activations, which may nearly cancel: five times as much
SVD = 1e-4
"""pytorch-grad-cam decomposes in float32; ours are eigenvectors in float64."""

PGC: dict[str, tuple[type, float]] = {
    "grad-cam:signed=true": (pgc.GradCAM, FLOAT32),
    "grad-cam++:signed=true,eps=1e-6": (pgc.GradCAMPlusPlus, FLOAT32),
    "grad-cam-elementwise:signed=true": (pgc.GradCAMElementWise, FLOAT32),
    "hirescam:signed=true": (pgc.HiResCAM, FLOAT32),
    "xgrad-cam:signed=true,eps=1e-7": (pgc.XGradCAM, 5 * FLOAT32),
    "layer-cam:signed=true": (pgc.LayerCAM, FLOAT32),
    "eigen-cam:signed=true,center=true": (pgc.EigenCAM, SVD),
    "eigen-grad-cam:signed=true,center=true": (pgc.EigenGradCAM, SVD),
}
TORCHCAM = {
    "grad-cam:signed=true": torchcam.GradCAM,  # it rectifies: so do we, below
    "xgrad-cam:eps=1e-8": torchcam.XGradCAM,
    "layer-cam": torchcam.LayerCAM,
}


def pgc_maps(
    kind: type,
    net: nn.Module,
    layer: str,
    x: Tensor,
    target: int,
    reshape: Callable[[Tensor], Tensor] | None = None,
    **how: bool,
) -> tuple[Tensor, Tensor]:
    """pytorch-grad-cam's map: raw and signed, and as it returns it."""
    with kind(net, [net.get_submodule(layer)], reshape_transform=reshape) as cam:
        shown = cam(x, [ClassifierOutputTarget(target)], **how)
        kept = cam.activations_and_grads
        A, G = (some[0].numpy() if some else None for some in (kept.activations, kept.gradients))
        map = cam.get_cam_image(x, None, None, A, G, how.get("eigen_smooth", False))
    net.zero_grad(set_to_none=True)  # it leaves gradients on the parameters
    return torch.from_numpy(map), torch.from_numpy(shown)


def as_pgc_shows(map: Tensor, x: Tensor) -> Tensor:
    """A raw map after pytorch-grad-cam's post-processing: ReLU, min-max, cv2's resize, min-max."""
    scaled = scale_cam_image(np.maximum(map.numpy(), 0), (x.shape[-1], x.shape[-2]))
    return torch.from_numpy(scale_cam_image(scaled))


def torchcam_map(
    kind: type,
    net: nn.Module,
    layer: str,
    x: Tensor,
    target: int,
    reshape: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """torch-cam's map, rectified as it always is, not scaled."""
    with kind(net, layer, reshape_transform=reshape) as extract:
        return extract(target, net(x), normalized=False)[0]


def captum_map(net: nn.Module, layer: str, x: Tensor, target: int) -> Tensor:
    """Captum's Grad-CAM, signed as it is by default."""
    return LayerGradCam(net, net.get_submodule(layer)).attribute(x, target).detach()


# ----------------------------------------------------------------------------------- where they are right


@pytest.mark.parametrize("method", PGC)
@pytest.mark.parametrize("name", swept(MODELS, SMALL))
def test_cams_are_those_of_pytorch_grad_cam(case: Cases, name: str, method: str) -> None:
    c, (kind, tolerance) = case(name), PGC[method]
    theirs, shown = pgc_maps(kind, c.net, c.layer, c.x, c.target, c.reshape)
    if "eigen" in method and (c.maps[method] * theirs).sum() < 0:  # the sign of its SVD is arbitrary
        theirs, shown = -theirs, as_pgc_shows(-theirs, c.x)
    assert_close(c.maps[method], theirs, tolerance)
    assert_close(as_pgc_shows(c.maps[method], c.x), shown, 10 * tolerance)  # its min-max shrinks the range


@pytest.mark.parametrize("name", swept(["efficientnet-lite0", "resnet18", "swin_t"], SMALL))
def test_principal_is_the_eigen_smooth_of_pytorch_grad_cam(case: Cases, name: str) -> None:
    c = case(name)
    ours = c.maps["grad-cam:signed=true,principal=true"]
    theirs, _ = pgc_maps(pgc.GradCAM, c.net, c.layer, c.x, c.target, c.reshape, eigen_smooth=True)
    assert_close(ours, theirs * (ours * theirs).sum().sign(), SVD)


def test_the_copies_of_augment_are_those_of_pytorch_grad_cam(case: Cases) -> None:
    """It scales each copy's map to [0, 1] before it takes the mean; so do we here, and nowhere else."""
    c = case("resnet18")
    _, theirs = pgc_maps(pgc.GradCAM, c.net, c.layer, c.x, c.target, aug_smooth=True)
    total = torch.zeros_like(theirs)
    for flip in (False, True):
        for factor in (0.9, 1.0, 1.1):
            x = factor * (c.x.flip(-1) if flip else c.x)
            shown = as_pgc_shows(raw(c.net, x, "grad-cam", target=c.target, layer=c.layer), x)
            total += shown.flip(-1) if flip else shown
    assert_close(total / 6, theirs, 1e-4)


@pytest.mark.parametrize("method", TORCHCAM)
@pytest.mark.parametrize("name", swept(MODELS, SMALL))
def test_cams_are_those_of_torch_cam(case: Cases, name: str, method: str) -> None:
    c = case(name)
    theirs = torchcam_map(TORCHCAM[method], c.net, c.layer, c.x, c.target, c.reshape)
    assert_close(c.maps[method].relu(), theirs, FLOAT32)


@pytest.mark.parametrize("name", swept([m for m, (_, reshape) in MODELS.items() if reshape is None], SMALL))
def test_signed_grad_cam_is_captums(case: Cases, name: str) -> None:
    c = case(name)
    theirs = captum_map(c.net, c.layer, c.x, c.target)
    assert_close(c.maps["grad-cam:signed=true"], theirs[:, 0], FLOAT32)


def test_rectified_hirescam_is_what_pytorch_grad_cam_shows(case: Cases) -> None:
    c = case("resnet18")
    asked = {"target": int(c.net(c.x).abs().argmin()), "layer": c.layer}
    signed, rectified = (raw(c.net, c.x, "hirescam", signed=s, **asked) for s in (True, False))
    assert signed.min() < 0 < signed.max()
    assert torch.equal(rectified, signed.relu())
    _, shown = pgc_maps(pgc.HiResCAM, c.net, x=c.x, **asked)
    assert_close(as_pgc_shows(rectified, c.x), shown, FLOAT32)


# ----------------------------------------------------------------------------------- where they are wrong


@pytest.mark.parametrize(
    ("name", "layer"), [("resnet50", "bn1"), pytest.param("densenet121", "features", marks=pytest.mark.full)]
)
def test_peers_read_activations_that_an_in_place_relu_overwrote(case: Cases, name: str, layer: str) -> None:
    """Captum copies what it keeps, and agrees with us; pytorch-grad-cam and torch-cam do not copy."""
    c = case(name)
    e = pellucid.explain(c.net, c.x, "grad-cam", target=c.target, layer=layer, signed=True, progress=False)
    assert_close(e.raw, captum_map(c.net, layer, c.x, c.target)[:, 0], FLOAT32)

    kept: list[Tensor] = []
    handle = c.net.get_submodule(layer).register_forward_hook(lambda m, a, out: kept.append(out.clone()))
    with torch.no_grad():
        c.net(c.x)
    handle.remove()
    overwritten = torch.einsum("nk,nkhw->nhw", e.details["weights"], kept[0].relu())
    theirs, _ = pgc_maps(pgc.GradCAM, c.net, layer, c.x, c.target)
    assert_close(theirs, overwritten, FLOAT32)
    for wrong in (theirs.relu(), torchcam_map(torchcam.GradCAM, c.net, layer, c.x, c.target)):
        assert (wrong - e.raw.relu()).abs().max() > 0.05 * e.raw.max()


def test_without_the_in_place_relu_all_agree(case: Cases) -> None:
    c = case("resnet50")
    net = copy.deepcopy(c.net)
    net.relu.inplace = False
    ours = raw(c.net, c.x, "grad-cam", target=c.target, layer="bn1", signed=True)
    assert_close(ours, pgc_maps(pgc.GradCAM, net, "bn1", c.x, c.target)[0], FLOAT32)
    assert_close(ours.relu(), torchcam_map(torchcam.GradCAM, net, "bn1", c.x, c.target), FLOAT32)


@pytest.mark.parametrize(("weight", "too_small"), [(0.03, 2.3), (0.005, 49)])
def test_the_eps_of_pytorch_grad_cams_grad_cam_plus_plus_outweighs_small_gradients(
    weight: float, too_small: float
) -> None:
    """At the scale of a resnet50's head, 49 positions, its 1e-6 exceeds the 2 g^2 that it is added to."""
    net, x = seeded(GapNet, 2, 1, inplace=False), images(n=1, size=(9, 9)).float()
    nn.init.constant_(net.fc.weight, weight)
    A = net.conv(x).relu().detach()[:, 0]
    exact = weight / (2 + weight * A.mean()) * A
    assert_close(raw(net, x, "grad-cam++", target=0, layer="relu"), exact, FLOAT32)
    theirs, _ = pgc_maps(pgc.GradCAMPlusPlus, net, "relu", x, 0)
    assert float(exact.max() / theirs.max()) == pytest.approx(too_small, rel=0.05)
    assert_close(raw(net, x, "grad-cam++", target=0, layer="relu", eps=1e-6), theirs, FLOAT32)


def test_torch_cams_grad_cam_plus_plus_never_divides_by_its_denominator() -> None:
    """`alpha[mask].div_(...)` divides a copy: what it weighs by is sum g^2 ReLU(g)."""
    net, x = seeded(GapNet, 5, 32, inplace=False), images(n=1).float()
    A, g = net.conv(x).relu().detach(), net.fc.weight.detach()[2] / 150
    undivided = torch.einsum("k,nkhw->nhw", 150 * g**2 * g.relu(), A).relu()
    theirs = torchcam_map(torchcam.GradCAMpp, net, "relu", x, 2)
    assert_close(theirs, undivided, FLOAT32)
    ours = raw(net, x, "grad-cam++", target=2, layer="relu")
    assert not torch.allclose(ours / ours.max(), theirs / theirs.max(), atol=0.05)


def test_captum_and_torch_cam_pool_tokens_over_the_wrong_axis(case: Cases) -> None:
    c = case("vit_tiny_patch16_224")
    assert captum_map(c.net, c.layer, c.x, c.target).shape == (1, 1, 192)
    assert torchcam_map(torchcam.GradCAM, c.net, c.layer, c.x, c.target).shape == (1, 192)
    assert raw(c.net, c.x, "grad-cam", target=c.target).shape == (1, 14, 14)
    c = case("swin_t")
    assert captum_map(c.net, c.layer, c.x, c.target).shape == (1, 1, 5, 96 * 8)
    assert raw(c.net, c.x, "grad-cam", target=c.target).shape == (1, 4, 5)


def test_an_all_negative_map_is_said_to_be_one(case: Cases, capsys: pytest.CaptureFixture[str]) -> None:
    c = case("vit_tiny_patch16_224")
    classes = list(range(40))
    signed = raw(c.net, c.x.expand(40, -1, -1, -1), "grad-cam", target=classes, layer=c.layer, signed=True)
    target = next(i for i in classes if signed[i].max() <= 0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        _, theirs = pgc_maps(pgc.GradCAM, c.net, c.layer, c.x, target, c.reshape)
    assert theirs.eq(0).all()
    assert not said
    assert not any(capsys.readouterr())
    ours = pellucid.explain(c.net, c.x, "grad-cam", target=target, layer=c.layer, progress=False)
    assert ours.raw.eq(0).all()
    assert any("negative" in warning and "signed=True" in warning for warning in ours.warnings)
