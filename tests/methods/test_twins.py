"""Slow literal twins: each method once more, from its paper's equation, in loops."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from zoo import GapNet, ResidualNet, assert_close, images, raw, seeded

CLASSES = [4, 0, 2]
LAYERS = ["stem", "bn", "relu", "stage1.bn1", "stage1", "pool", "stage2", "last"]
"""Among them outputs that the next, in-place, module overwrites: bn, stage1.bn1."""
PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]

# -------------------------------------------------------- the papers' equations, one position at a time


def weighted_sum(weights: np.ndarray, A: np.ndarray) -> np.ndarray:
    K, h, w = A.shape
    L = np.zeros((h, w))
    for i in range(h):
        for j in range(w):
            for k in range(K):
                L[i, j] += weights[k] * A[k, i, j]
    return L


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def grad_cam(A: np.ndarray, G: np.ndarray) -> np.ndarray:
    K, h, w = A.shape
    alpha = [sum(G[k, i, j] for i in range(h) for j in range(w)) / (h * w) for k in range(K)]
    return relu(weighted_sum(np.array(alpha), A))


def grad_cam_plus_plus(A: np.ndarray, G: np.ndarray, normalize: bool = False) -> np.ndarray:
    K, h, w = A.shape
    weights = np.zeros(K)
    for k in range(K):
        total = A[k].sum()
        alphas, terms = [], []
        for i in range(h):
            for j in range(w):
                g = G[k, i, j]
                denominator = 2 * g**2 + total * g**3
                alpha = g**2 / denominator if g != 0 and denominator != 0 else 0.0
                alphas.append(alpha if g > 0 else 0.0)
                terms.append(max(g, 0.0))
        norm = sum(alphas) if normalize and sum(alphas) != 0 else 1.0
        weights[k] = sum(a / norm * t for a, t in zip(alphas, terms, strict=True))
    return relu(weighted_sum(weights, A))


def grad_cam_plus_plus_normalised(A: np.ndarray, G: np.ndarray) -> np.ndarray:
    return grad_cam_plus_plus(A, G, normalize=True)


def grad_cam_elementwise(A: np.ndarray, G: np.ndarray) -> np.ndarray:
    K, h, w = A.shape
    L = np.zeros((h, w))
    for k in range(K):
        for i in range(h):
            for j in range(w):
                L[i, j] += max(G[k, i, j] * A[k, i, j], 0.0)
    return L


def hirescam(A: np.ndarray, G: np.ndarray) -> np.ndarray:
    K, h, w = A.shape
    L = np.zeros((h, w))
    for k in range(K):
        for i in range(h):
            for j in range(w):
                L[i, j] += G[k, i, j] * A[k, i, j]
    return L


def xgrad_cam(A: np.ndarray, G: np.ndarray) -> np.ndarray:
    K, h, w = A.shape
    weights = np.zeros(K)
    for k in range(K):
        total = A[k].sum()
        for i in range(h):
            for j in range(w):
                weights[k] += A[k, i, j] / total * G[k, i, j] if total != 0 else 0.0
    return relu(weighted_sum(weights, A))


def layer_cam(A: np.ndarray, G: np.ndarray) -> np.ndarray:
    K, h, w = A.shape
    L = np.zeros((h, w))
    for k in range(K):
        for i in range(h):
            for j in range(w):
                L[i, j] += max(G[k, i, j], 0.0) * A[k, i, j]
    return relu(L)


def first_component(maps: np.ndarray, toward: np.ndarray, center: bool) -> np.ndarray:
    """By the power method, of the covariance of the K values at each position."""
    K, h, w = maps.shape
    rows = maps.reshape(K, h * w).T.astype(np.longdouble)
    rows = rows - rows.mean(0) if center else rows
    covariance = np.array([[np.dot(rows[:, k], rows[:, m]) for m in range(K)] for k in range(K)])
    for _ in range(12):  # squared each time: 4096 multiplications by the covariance itself
        covariance = covariance / np.abs(covariance).max()
        covariance = covariance @ covariance
    v = covariance[:, np.abs(covariance).sum(0).argmax()]
    L = (rows @ (v / np.sqrt((v**2).sum()))).reshape(h, w)
    return L.astype(float) if (L * (toward - toward.mean())).sum() >= 0 else -L.astype(float)


def eigen_cam(A: np.ndarray, G: np.ndarray) -> np.ndarray:
    return first_component(A, np.abs(A).sum(0), center=False)


def eigen_grad_cam(A: np.ndarray, G: np.ndarray) -> np.ndarray:
    return relu(first_component(G * A, (G * A).sum(0), center=True))


TWINS: list[tuple[str, dict[str, object], Callable[[np.ndarray, np.ndarray], np.ndarray]]] = [
    ("grad-cam", {}, grad_cam),
    ("grad-cam++", {}, grad_cam_plus_plus),
    ("grad-cam++", {"normalize_alphas": True}, grad_cam_plus_plus_normalised),
    ("grad-cam-elementwise", {}, grad_cam_elementwise),
    ("hirescam", {}, hirescam),
    ("xgrad-cam", {}, xgrad_cam),
    ("layer-cam", {}, layer_cam),
    ("eigen-cam", {}, eigen_cam),
    ("eigen-grad-cam", {}, eigen_grad_cam),
]

# ------------------------------------------------------------------------------------------------- evidence


def cut(net: nn.Module, layer: str, x: Tensor, target: int) -> tuple[np.ndarray, np.ndarray]:
    """One image's activations at a layer and the gradients there: the network is cut in two at the layer."""
    kept: list[Tensor] = []

    def replace(module: nn.Module, args: object, output: Tensor) -> Tensor:
        kept.append(output.detach().clone().requires_grad_())
        return kept[-1] * 1

    handle = net.get_submodule(layer).register_forward_hook(replace)
    try:
        net(x[None].clone())[0, target].backward(inputs=kept[-1:])
    finally:
        handle.remove()
    return kept[-1].detach()[0].numpy(), kept[-1].grad[0].numpy()


def gradient(net: nn.Module, x: Tensor, target: int) -> Tensor:
    """dS/dx of one image."""
    leaf = x[None].clone().requires_grad_()
    net(leaf * 1)[0, target].backward(inputs=[leaf])
    return leaf.grad[0]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return seeded(ResidualNet).double()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return images(size=(24, 40))


# ------------------------------------------------------------------------------------------------------ CAMs


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=["float64", "float32"])
@pytest.mark.parametrize("layer", LAYERS)
def test_every_cam_equals_its_literal_twin(
    net: nn.Module, x: Tensor, layer: str, dtype: torch.dtype, tolerance: float
) -> None:
    ours = seeded(ResidualNet).to(dtype)
    x = x.float().double()
    evidence = [cut(net, layer, image, c) for image, c in zip(x, CLASSES, strict=True)]
    for method, options, twin in TWINS:
        found = raw(ours, x.to(dtype), method, target=CLASSES, layer=layer, **options)
        for i, (A, G) in enumerate(evidence):
            assert_close(found[i], torch.from_numpy(twin(A, G)), tolerance)


def test_cam_equals_its_literal_twin(x: Tensor) -> None:
    gap = seeded(GapNet).double()
    found = raw(gap, x, "cam", target=CLASSES)
    for i, c in enumerate(CLASSES):
        A, _ = cut(gap, "relu", x[i], c)
        assert_close(found[i], torch.from_numpy(weighted_sum(gap.fc.weight[c].detach().numpy(), A)), 1e-10)


def test_a_module_that_runs_twice_is_explained_at_its_last_call(net: nn.Module, x: Tensor) -> None:
    e = pellucid.explain(net, x, "hirescam", target=CLASSES, layer="stage2.relu", progress=False)
    A, G = cut(net, "stage2.relu", x[1], CLASSES[1])
    assert_close(e.raw[1], torch.from_numpy(hirescam(A, G)), 1e-10)
    assert any("2 times" in warning for warning in e.warnings)


# ------------------------------------------------------------------------------------------------- gradients


def test_the_gradient_is_how_the_score_changes() -> None:
    """Central differences, without any differentiation, on a smooth network (no kinks between the points)."""
    smooth = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Conv2d(5, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).double()
    x, step = images(n=1, size=(6, 9)), 1e-5
    found = raw(smooth, x, "saliency", target=1, signed=True)[0]
    expected = torch.zeros_like(x[0])
    with torch.no_grad():
        for at in np.ndindex(*x.shape[1:]):
            e = torch.zeros_like(x)
            e[0][at] = step
            expected[at] = (smooth(x + e) - smooth(x - e))[0, 1] / (2 * step)
    assert_close(found, expected, 1e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=["float64", "float32"])
def test_saliency_and_input_x_gradient_equal_their_literal_twins(
    net: nn.Module, x: Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    ours = seeded(ResidualNet).to(dtype)
    x = x.float().double()
    saliency, signed, product = (
        raw(ours, x.to(dtype), m, target=CLASSES, **o)
        for m, o in (("saliency", {}), ("saliency", {"signed": True}), ("input-x-gradient", {}))
    )
    for i, c in enumerate(CLASSES):
        g = gradient(net, x[i], c)
        strongest = torch.zeros(1, *g.shape[1:], dtype=g.dtype)
        for channel in g:
            strongest[0] = torch.maximum(strongest[0], channel.abs())
        assert_close(signed[i], g, tolerance)
        assert_close(saliency[i], strongest, tolerance)
        assert_close(product[i], g * x[i], tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=["float64", "float32"])
def test_smooth_gradients_equal_their_literal_twins(
    net: nn.Module, x: Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    ours = seeded(ResidualNet).to(dtype)
    seen: list[Tensor] = []
    handle = ours.register_forward_pre_hook(lambda module, args: seen.extend(args[0].detach().double()))
    image = x[:1].to(dtype)
    found = {
        m: raw(ours, image, m, target=3, samples=7, noise=0.2, batch_size=3)
        for m in ("smooth-grad", "smooth-grad-squared", "var-grad")
    }
    handle.remove()
    noisy = [copy for copy in seen if not torch.equal(copy, image[0].double())][:7]
    total = torch.zeros_like(x[0])
    squares = torch.zeros_like(x[0])
    gradients = [gradient(net, copy, 3) for copy in noisy]
    for g in gradients:
        total += g
        squares += g**2
    variance = sum((g - total / 7) ** 2 for g in gradients) / 7
    assert_close(found["smooth-grad"][0], total / 7, tolerance)
    assert_close(found["smooth-grad-squared"][0], squares / 7, tolerance)
    assert_close(found["var-grad"][0], variance, tolerance)


def test_all_three_statistics_see_the_same_noise(x: Tensor) -> None:
    seen: list[Tensor] = []
    ours = seeded(ResidualNet).double()
    ours.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()[-1]))
    for method in ("smooth-grad", "var-grad"):
        raw(ours, x[:1], method, target=3, samples=1)
    assert torch.equal(seen[1], seen[3])


def test_a_smooth_gradient_of_one_sample_has_no_standard_error(net: nn.Module, x: Tensor) -> None:
    assert pellucid.explain(net, x, "smooth-grad", samples=1, progress=False).stderr is None
