"""Metrics that show only what the map shows: slow literal twins, and closed forms."""

import math

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.measure import measure

TARGET = 1


class Curved(nn.Module):
    """A small network in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).tanh().mean((2, 3)) * 4)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return Curved().double().eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(6, 3, 6, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture(scope="module")
def maps() -> Tensor:
    return torch.randn(6, 1, 6, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def mask_of(map: Tensor) -> list[list[float]]:
    """ReLU, then over the maximum."""
    rows = [[max(0.0, value) for value in row] for row in map.sum(0).tolist()]
    most = max(max(row) for row in rows)
    return [[value / most if most else 0.0 for value in row] for row in rows]


def shown(x: Tensor, mask: list[list[float]]) -> Tensor:
    picture = x.clone()
    for i, row in enumerate(mask):
        for j, value in enumerate(row):
            picture[:, i, j] *= value
    return picture


def probability(net: nn.Module, picture: Tensor) -> float:
    with torch.no_grad():
        return float(net(picture[None]).softmax(1)[0, TARGET])


def twin_drop(net: nn.Module, x: Tensor, map: Tensor) -> float:
    y, o = probability(net, x), probability(net, shown(x, mask_of(map)))
    return max(0.0, y - o) / y


def test_average_drop_equals_its_twin(net: nn.Module, x: Tensor, maps: Tensor):
    found = measure(net, x, maps, "average-drop", target=TARGET).value.tolist()
    twins = [twin_drop(net, one, map) for one, map in zip(x, maps, strict=True)]
    assert found == pytest.approx(twins, abs=1e-12)
    assert 0 < len([t for t in twins if t > 0]) < len(twins)


def test_increase_in_confidence_equals_its_twin(net: nn.Module, x: Tensor, maps: Tensor):
    found = measure(net, x, maps, "increase-in-confidence", target=TARGET).value.tolist()
    twins = [
        float(probability(net, shown(one, mask_of(map))) > probability(net, one))
        for one, map in zip(x, maps, strict=True)
    ]
    assert found == twins
    assert 0 < sum(twins) < len(twins)


def test_adcc_equals_its_twin(net: nn.Module, x: Tensor):
    maps = pellucid.explain(net, x, method="saliency", target=TARGET).attribution.double()
    found = measure(net, x, maps, "adcc", method="saliency", target=TARGET)
    for image, (one, map) in enumerate(zip(x, maps, strict=True)):
        mask = mask_of(map)
        other = pellucid.explain(net, shown(one, mask)[None], method="saliency", target=TARGET)
        a = [value for row in mask for value in row]
        b = [value for row in mask_of(other.attribution[0].double()) for value in row]
        mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
        covariance = sum((p - mean_a) * (q - mean_b) for p, q in zip(a, b, strict=True))
        spread = math.sqrt(sum((p - mean_a) ** 2 for p in a) * sum((q - mean_b) ** 2 for q in b))
        coherency, complexity = (covariance / spread + 1) / 2, sum(a) / len(a)
        drop = twin_drop(net, one, map)
        twin = 3 / (1 / coherency + 1 / (1 - complexity) + 1 / (1 - drop))
        assert found.details["coherency"][image].item() == pytest.approx(coherency, abs=1e-6)
        assert found.details["complexity"][image].item() == pytest.approx(complexity, abs=1e-6)
        assert found.details["drop"][image].item() == pytest.approx(drop, abs=1e-6)
        assert found.value[image].item() == pytest.approx(twin, abs=1e-6)


def test_a_map_of_ones_loses_nothing_and_gains_nothing(net: nn.Module, x: Tensor):
    ones = torch.full((6, 1, 6, 7), 7.0)
    assert measure(net, x, ones, "average-drop", target=TARGET).value.tolist() == [0.0] * 6
    assert measure(net, x, ones, "increase-in-confidence", target=TARGET).value.tolist() == [0.0] * 6
    adcc = measure(net, x, ones, "adcc", method="saliency", target=TARGET)
    assert adcc.value.tolist() == [0.0] * 6  # complexity 1, and no correlation with a constant
    assert adcc.details["complexity"].tolist() == [1.0] * 6
    assert adcc.details["coherency"].tolist() == [0.0] * 6


def test_an_empty_map_shows_the_zero_of_the_input_space(net: nn.Module, x: Tensor):
    gone = probability(net, torch.zeros_like(x[0]))
    for empty in (torch.zeros(6, 1, 6, 7), -torch.ones(6, 1, 6, 7)):
        found = measure(net, x, empty, "average-drop", target=TARGET).value.tolist()
        assert found == pytest.approx([max(0, 1 - gone / probability(net, one)) for one in x])


def test_scores_that_are_not_above_0_have_no_drop(net: nn.Module, x: Tensor, maps: Tensor):
    found = measure(net, x, maps, "average-drop", target=TARGET, output="logit")
    with torch.no_grad():
        below = (net(x)[:, TARGET] <= 0).nonzero()[:, 0].tolist()
    assert 0 < len(below) < 6
    assert sorted(found.failures) == below
    assert "it divides by the picture's score, which is -" in str(found.failures[below[0]])
    assert found.value.isnan().nonzero()[:, 0].tolist() == below
