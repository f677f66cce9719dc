"""Guided IG, Blur IG and XRAI against PAIR's saliency package, live: one image at a time, in NumPy."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from cases import Case
from saliency.core import INPUT_OUTPUT_GRADIENTS, XRAI, BlurIG, GuidedIG, XRAIParameters
from torch import Tensor, nn

import pellucid
from pellucid.methods.path import xrai as our_xrai
from pellucid.methods.path.regions import multi_scale
from zoo import ResidualNet, assert_close, images, seeded, swept

Asked = Callable[..., dict[str, np.ndarray]]


@pytest.fixture(params=["residual net", "efficientnet-lite0"])
def asked(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor, int]:
    """A network, an image, a class; in float64, since rounding alone can send a guided path elsewhere."""
    if request.param == "residual net":
        return seeded(ResidualNet).double(), images(1, (24, 33)), 2
    c: Case = request.getfixturevalue("case")(request.param)
    return deepcopy(c.net).double(), c.x[..., :64, :96].double(), c.target


def theirs(net: nn.Module, target: int) -> Asked:
    """The network as their methods call it: NHWC batches in, gradients of the class's logit out."""
    dtype = next(net.parameters()).dtype

    def call(
        batch: np.ndarray, call_model_args: Any = None, expected_keys: Any = None
    ) -> dict[str, np.ndarray]:
        x = torch.as_tensor(np.asarray(batch), dtype=dtype).permute(0, 3, 1, 2).requires_grad_()
        (gradient,) = torch.autograd.grad(net(x)[:, target].sum(), x)
        return {INPUT_OUTPUT_GRADIENTS: gradient.permute(0, 2, 3, 1).numpy()}

    return call


def channels_last(x: Tensor) -> np.ndarray:
    """One image as theirs, (H, W, C), in float64: in float32 their Blur IG is good to two digits."""
    return x[0].permute(1, 2, 0).double().numpy()


def channels_first(map: np.ndarray) -> Tensor:
    return torch.from_numpy(map).permute(2, 0, 1)[None]


def ours(net: nn.Module, x: Tensor, method: str, target: int, **options: Any) -> pellucid.Explanation:
    return pellucid.explain(net, x, method, target=target, progress=False, **options)


@pytest.fixture
def numpy_1_quantile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their GuidedIG asks np.quantile for interpolation="lower", which NumPy 2 knows as method="lower"."""
    quantile = np.quantile
    monkeypatch.setattr(np, "quantile", lambda a, q, interpolation: quantile(a, q, method=interpolation))


@pytest.mark.usefixtures("numpy_1_quantile")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="defaults", marks=pytest.mark.full),
        pytest.param({"fraction": 0.6, "max_dist": 0.2}, id="wider"),
        pytest.param({"max_dist": 1.0}, id="free", marks=pytest.mark.full),
    ],
)
def test_guided_ig_is_pairs(asked: tuple[nn.Module, Tensor, int], options: dict[str, float]) -> None:
    net, x, target = asked
    start = images(1, tuple(x.shape[2:]), seed=3).to(x) * 0.2
    map = GuidedIG().GetMask(
        channels_last(x), theirs(net, target), x_baseline=channels_last(start), x_steps=6, **options
    )
    e = ours(net, x, "guided-ig", target, steps=6, baseline=start, **options)
    assert_close(e.raw, channels_first(map), 1e-8)


@pytest.mark.parametrize("sqrt", swept([False, True], [True]))
def test_blur_ig_is_pairs(asked: tuple[nn.Module, Tensor, int], sqrt: bool) -> None:
    """Their path with sqrt ends at sqrt(max_sigma), where ours ends at sigma."""
    net, x, target = asked
    map = BlurIG().GetMask(channels_last(x), theirs(net, target), max_sigma=20, steps=6, sqrt=sqrt)
    spacing = {"spacing": "sqrt", "sigma": 20**0.5} if sqrt else {"spacing": "linear", "sigma": 20.0}
    e = ours(net, x, "blur-ig", target, steps=6, official=True, **spacing)
    assert_close(e.raw, channels_first(map), 1e-8)


@pytest.mark.parametrize("algorithm", swept(["full", "fast"], ["full"]))
def test_xrai_is_pairs_given_the_same_integrated_gradients(
    case: Callable[[str], Case], algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Theirs weighs 100 points of the line otherwise than any quadrature: so ours are given to it.

    Segments, order and means are then theirs: EfficientNet-Lite0's inputs are its pictures, scaled.
    """
    c = case("efficientnet-lite0")
    grown, base = our_xrai.grow, []

    def grow(attribution: np.ndarray, *rest: Any) -> tuple[np.ndarray, np.ndarray]:
        base.append(attribution)
        return grown(attribution, *rest)

    monkeypatch.setattr(our_xrai, "grow", grow)
    model = pellucid.Model(c.net, preprocess=pellucid.load().preprocess)
    e = ours(model, c.x, "xrai", c.target, steps=4, algorithm=algorithm)
    parameters = XRAIParameters(algorithm=algorithm, return_xrai_segments=True)
    found = XRAI().GetMaskWithDetails(
        channels_last(c.x),
        None,
        base_attribution=np.repeat(base[0][..., None], 3, axis=2),
        extra_parameters=parameters,
    )
    assert_close(e.raw[0], torch.from_numpy(found.attribution_mask), 1e-6)
    assert (e.details["regions"][0].numpy() == found.segments).all()


def test_regions_are_pairs_on_any_attributions() -> None:
    random = np.random.default_rng(0)
    picture = (np.kron(random.random((4, 5, 3)), np.ones((20, 18, 1))) * 255).astype(np.uint8)
    masks, attribution = multi_scale(picture), random.normal(size=picture.shape[:2])
    for algorithm in ("full", "fast"):
        parameters = XRAIParameters(algorithm=algorithm, return_xrai_segments=True)
        found = XRAI().GetMaskWithDetails(
            picture.astype(float),
            None,
            segments=list(masks),
            base_attribution=np.repeat(attribution[..., None], 3, axis=2),
            extra_parameters=parameters,
        )
        averages, ranks = our_xrai.grow(attribution, masks, algorithm)
        assert np.allclose(averages, found.attribution_mask, rtol=0, atol=1e-12)
        assert (ranks == found.segments).all()
