"""Metrics of complexity against loops and closed forms."""

import math

import pytest
import torch
from judging import judged
from torch import Tensor

from pellucid.errors import InvalidValue

SIZE = (5, 7)
P = 35
NAMES = ("sparseness", "complexity", "effective-complexity")


@pytest.fixture
def maps() -> Tensor:
    return torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def magnitudes(map: Tensor) -> list[float]:
    return [abs(sum(map[:, i, j].tolist())) for i in range(SIZE[0]) for j in range(SIZE[1])]


def gini(a: list[float]) -> float:
    """Half of the mean difference between two values, as a share of their mean."""
    differences = sum(abs(x - y) for x in a for y in a) / len(a) ** 2
    return differences / (2 * sum(a) / len(a))


def entropy(a: list[float]) -> float:
    shares = [x / sum(a) for x in a]
    return -sum(p * math.log(p) for p in shares if p > 0)


def test_they_are_their_twins(maps: Tensor):
    values = {name: judged(name, maps).value.tolist() for name in NAMES}
    counted = judged("effective-complexity:tolerance=0.3", maps).value.tolist()
    for image, map in enumerate(maps):
        a = magnitudes(map)
        assert values["sparseness"][image] == pytest.approx(gini(a))
        assert values["complexity"][image] == pytest.approx(entropy(a))
        assert values["effective-complexity"][image] == P
        assert counted[image] == sum(x > 0.3 * max(a) for x in a) < P


@pytest.mark.parametrize("sign", [1, -1])
def test_a_constant_map_and_a_single_pixel(sign: int):
    constant, single = sign * torch.ones(1, 1, *SIZE), torch.zeros(1, 1, *SIZE)
    single[0, 0, 2, 3] = 5.0 * sign
    expected = {"sparseness": (0, 1 - 1 / P), "complexity": (math.log(P), 0), "effective-complexity": (P, 1)}
    for name, (of_constant, of_single) in expected.items():
        assert judged(name, constant).value.item() == pytest.approx(of_constant, abs=1e-12)
        assert judged(name, single).value.item() == pytest.approx(of_single, abs=1e-12)


def test_their_scale_does_not_matter_and_a_map_of_zeros_has_no_value(maps: Tensor):
    for name in NAMES:
        assert judged(name, 1e6 * maps).value.tolist() == pytest.approx(judged(name, maps).value.tolist())
        with pytest.raises(InvalidValue, match=f"{name} has no value for this map: it is 0 everywhere"):
            judged(name, 0 * maps)
