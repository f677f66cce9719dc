"""Metrics that change one part after another alone, and monotonicity: slow literal twins, closed forms."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn

from pellucid.errors import InvalidValue
from pellucid.measure import measure

H, W, TARGET = 4, 6, 1


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


def linear(weights: Tensor, bias: float = 0.0) -> nn.Module:
    """A linear model of two classes, of which TARGET has these weights."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(weights.numel(), 2)).double()
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].weight[TARGET] = weights.flatten()
        net[1].bias[:] = torch.tensor([0.0, bias])
    return net


def scored(net: nn.Module, picture: np.ndarray, output: str = "logit") -> float:
    with torch.no_grad():
        raw = net(torch.from_numpy(picture)[None])[0]
    return float(raw.softmax(0)[TARGET] if output == "probability" else raw[TARGET])


def parts_of(values: np.ndarray, steps: int) -> list[list[tuple[int, int]]]:
    """The pixels in order of their values, largest first, cut into equal parts."""
    ranked = sorted(((i, j) for i in range(H) for j in range(W)), key=lambda at: -values[at])
    size = H * W // steps
    return [ranked[k * size : (k + 1) * size] for k in range(steps)]


@pytest.mark.parametrize("steps", [4, 8, H * W])
def test_faithfulness_estimate_equals_its_twin(steps: int, net: nn.Module, x: Tensor, maps: Tensor):
    found = measure(net, x, maps, "faithfulness-estimate", steps=steps, replacement=0.2, target=TARGET)
    for image in range(2):
        picture, values = x[image].numpy(), maps[image].numpy().sum(0)
        evidence, drops = [], []
        for part in parts_of(values, steps):
            without = picture.copy()
            for i, j in part:
                without[:, i, j] = 0.2
            evidence.append(sum(values[at] for at in part))
            drops.append(scored(net, picture) - scored(net, without))
        assert found.details["evidence"][image].tolist() == pytest.approx(evidence, abs=1e-12)
        assert found.details["drops"][image].tolist() == pytest.approx(drops, abs=1e-12)
        assert found.value[image].item() == pytest.approx(pearsonr(evidence, drops).statistic, abs=1e-9)


def test_monotonicity_equals_its_twin(net: nn.Module, x: Tensor, maps: Tensor):
    found = measure(net, x, maps, "monotonicity", steps=8, replacement=0.2, target=TARGET)
    for image in range(2):
        picture, values = x[image].numpy(), maps[image].numpy().sum(0)
        shown = np.full_like(picture, 0.2)
        scores = [scored(net, shown, "probability")]
        for part in reversed(parts_of(values, 8)):
            for i, j in part:
                shown[:, i, j] = picture[:, i, j]
            scores.append(scored(net, shown, "probability"))
        rises = [b >= a for a, b in zip(scores[:-1], scores[1:], strict=True)]  # noqa: RUF007
        assert found.value[image].item() == pytest.approx(sum(rises) / 8)
        assert found.details["monotonic"][image].item() == float(all(rises))
        assert 0 < sum(rises) < 8


def test_monotonicity_correlation_equals_its_twin(net: nn.Module, x: Tensor, maps: Tensor):
    """The expectation over uniform draws, by many more of another generator: the ranks are the same."""
    options = {"steps": 4, "samples": 1500, "batch_size": 1000, "target": TARGET, "output": "logit"}
    found = measure(net, x[:1], maps[:1], "monotonicity-correlation", **options)
    picture, values = x[0].numpy(), np.abs(maps[0].numpy().sum(0))
    draw, evidence, effects = np.random.default_rng(5), [], []
    before = scored(net, picture)
    for part in parts_of(values, 4):
        copies = np.repeat(picture[None], 1500, 0)
        for i, j in part:
            for c in range(3):
                copies[:, c, i, j] = draw.uniform(picture[c].min(), picture[c].max(), 1500)
        with torch.no_grad():
            after = net(torch.from_numpy(copies))[:, TARGET].numpy()
        evidence.append(sum(values[at] for at in part))
        effects.append(np.mean((after - before) ** 2))
    assert found.details["evidence"][0].tolist() == pytest.approx(evidence, abs=1e-12)
    assert found.details["effects"][0].tolist() == pytest.approx(effects, rel=0.15)
    assert found.value.item() == pytest.approx(spearmanr(evidence, effects).statistic)


def test_of_a_linear_model_the_perfect_map_correlates_wholly(x: Tensor):
    weights = torch.randn(3, H, W, dtype=torch.float64)
    contributions = weights * x[:1]
    for steps in (5, H * W):
        found = measure(linear(weights), x[:1], contributions, "faithfulness-estimate", steps=steps)
        assert found.value.item() == pytest.approx(1, abs=1e-9)
        turned = measure(linear(weights), x[:1], -contributions, "faithfulness-estimate", steps=steps)
        assert turned.value.item() == pytest.approx(-1, abs=1e-9)


def test_of_a_linear_model_the_steps_that_rise_are_those_that_show_evidence_for_it(x: Tensor):
    weights = torch.randn(3, H, W, dtype=torch.float64)
    contributions = weights * x[:1]
    against = int((contributions.sum(1) < 0).sum())
    assert 0 < against < H * W
    net = linear(weights)
    found = measure(net, x[:1], contributions, "monotonicity", steps=H * W, target=TARGET, output="logit")
    assert found.value.item() == pytest.approx(1 - against / (H * W))
    assert found.details["monotonic"].tolist() == [0.0]
    positive = measure(linear(weights.abs()), x[:1].abs(), contributions, "monotonicity", target=TARGET)
    assert (positive.value.item(), positive.details["monotonic"].item()) == (1.0, 1.0)


def test_a_larger_weight_matters_more_when_its_pixel_is_drawn_anew():
    weights = torch.zeros(3, H, W, dtype=torch.float64)
    weights[0] = torch.arange(1.0, H * W + 1).view(H, W)
    x = torch.zeros(1, 3, H, W, dtype=torch.float64)
    x[:, :, 0, 0] = 1  # 0 to 1 is what values are drawn from; all others are at its lower end
    options = {"steps": H * W, "samples": 400, "batch_size": 1000, "output": "logit", "target": TARGET}
    found = measure(linear(weights), x, weights[None, :1], "monotonicity-correlation", **options)
    assert found.value.item() > 0.98
    signed = measure(linear(weights), x, -weights[None, :1], "monotonicity-correlation", **options)
    assert signed.value.item() == pytest.approx(found.value.item())


@pytest.mark.parametrize("name", ["faithfulness-estimate", "monotonicity-correlation"])
def test_nothing_correlates_with_what_never_changes(name: str, x: Tensor, maps: Tensor):
    nothing = linear(torch.zeros(3, H, W))
    with pytest.raises(InvalidValue, match=f"{name} has no value for this map: the score is the same"):
        measure(nothing, x[:1], maps[:1], name, steps=4)
    constant = torch.ones(1, 1, H, W)
    assert (
        measure(linear(torch.rand(3, H, W)), x[:1], constant, name, steps=4, target=TARGET).value.item() == 0
    )
