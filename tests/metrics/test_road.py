"""ROAD and its imputation: slow literal twins, and closed forms."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.measure import measure
from pellucid.metrics.imputation import imputed

H, W, TARGET = 6, 5, 1


class Curved(nn.Module):
    """A small network in float64 whose score is no sum over pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).tanh().mean((2, 3)))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return Curved().double().eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(2, 3, H, W, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture(scope="module")
def maps() -> Tensor:
    return torch.randn(2, 3, H, W, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def filled_in(x: np.ndarray, gone: set[tuple[int, int]]) -> np.ndarray:
    """Each gone pixel the weighted mean of its neighbours: the dense system, equation by equation."""
    places = sorted(gone)
    number = {at: k for k, at in enumerate(places)}
    left, right = np.zeros((len(places), len(places))), np.zeros((len(places), 3))
    for k, (i, j) in enumerate(places):
        near = [
            ((i + di, j + dj), 1 / 12 if di and dj else 1 / 6)
            for di in (-1, 0, 1)
            for dj in (-1, 0, 1)
            if (di or dj) and 0 <= i + di < H and 0 <= j + dj < W
        ]
        total = sum(weight for _, weight in near)
        left[k, k] = 1
        for at, weight in near:
            if at in number:
                left[k, number[at]] -= weight / total
            else:
                right[k] += weight / total * x[:, at[0], at[1]]
    result = x.copy()
    for (i, j), value in zip(places, np.linalg.solve(left, right), strict=True):
        result[:, i, j] = value
    return result


def mean_scores(net: nn.Module, x: np.ndarray, map: np.ndarray, least: bool) -> float:
    values = map.sum(0)
    ranked = sorted(
        ((i, j) for i in range(H) for j in range(W)), key=lambda at: values[at], reverse=not least
    )
    scores = []
    for tenth in range(1, 10):
        picture = filled_in(x, set(ranked[: H * W * tenth // 10]))
        with torch.no_grad():
            scores.append(float(net(torch.from_numpy(picture)[None]).softmax(1)[0, TARGET]))
    return sum(scores) / 9


def test_road_equals_its_twin(net: nn.Module, x: Tensor, maps: Tensor):
    found = {
        variant: measure(net, x, maps, f"road:variant={variant},noise=0", target=TARGET)
        for variant in ("combined", "morf", "lerf")
    }
    for image in range(2):
        picture, map = x[image].numpy(), maps[image].numpy()
        morf, lerf = (mean_scores(net, picture, map, least) for least in (False, True))
        with torch.no_grad():
            whole = float(net(x[image : image + 1]).softmax(1)[0, TARGET])
        twins = {"combined": (lerf - morf) / 2, "morf": whole - morf, "lerf": lerf - whole}
        for variant, twin in twins.items():
            assert found[variant].value[image].item() == pytest.approx(twin, abs=1e-12)
    both = found["combined"].details
    for variant in ("morf", "lerf"):
        assert torch.allclose(found[variant].details[variant], both[variant])
        assert both[variant].shape == (2, 9)


def test_the_combined_value_is_the_mean_of_both(net: nn.Module, x: Tensor, maps: Tensor):
    values = {v: measure(net, x, maps, f"road:variant={v}").value for v in ("combined", "morf", "lerf")}
    assert torch.allclose(values["combined"], (values["morf"] + values["lerf"]) / 2)


def test_a_constant_picture_is_left_as_it_is_without_noise():
    x = torch.full((3, 20, 30), 0.7)
    removed = torch.rand(20, 30) < 0.8
    assert torch.allclose(imputed(x, removed), x, atol=1e-6)


def test_nothing_removed_is_the_picture_and_everything_its_mean_colour():
    x = torch.randn(3, 8, 9)
    assert torch.equal(imputed(x, torch.zeros(8, 9, dtype=torch.bool)), x)
    mean = x.mean((1, 2), keepdim=True).expand_as(x)
    assert torch.equal(imputed(x, torch.ones(8, 9, dtype=torch.bool)), mean)


def test_only_removed_pixels_change_and_stay_between_those_around():
    x = torch.randn(1, 30, 30)
    removed = torch.zeros(30, 30, dtype=torch.bool)
    removed[5:20, 7:25] = True
    filled = imputed(x, removed)
    assert torch.equal(filled[:, ~removed], x[:, ~removed])
    assert filled[:, removed].min() >= x[:, ~removed].min()
    assert filled[:, removed].max() <= x[:, ~removed].max()


def test_noise_is_on_removed_pixels_alone_and_of_the_size_asked_for(x: Tensor, maps: Tensor):
    seen: list[Tensor] = []

    class Watching(Curved):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach().clone())
            return super().forward(x)

    big = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    map = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(4))
    net = Watching().eval()
    for noise in (0, 0.2):
        measure(net, big, map, "road:variant=morf", noise=noise, batch_size=10, target=TARGET)
    smooth, noisy = (batch for batch in seen if len(batch) == 10)
    assert torch.equal(smooth[0], noisy[0])
    assert torch.equal(smooth[0], big[0])
    for k in range(1, 10):
        difference = (noisy[k] - smooth[k])[0]
        assert (difference != 0).double().mean().item() == pytest.approx(k / 10, abs=0.001)
    assert difference[difference != 0].std().item() == pytest.approx(0.2, rel=0.1)
