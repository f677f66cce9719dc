"""Completeness and non-sensitivity against loops and closed forms."""

import pytest
import torch
from judging import linear, perturbed_inputs, score_of
from torch import Tensor, nn

import pellucid
from pellucid.errors import InvalidValue
from pellucid.measure import measure
from zoo import GapNet, seeded

SIZE, TARGET = (10, 13), 2


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return seeded(GapNet).double()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, *SIZE, dtype=torch.float64)


def test_completeness_is_its_twin(net: nn.Module, x: Tensor):
    map, score = torch.randn(2, 3, *SIZE, dtype=torch.float64), score_of(net, TARGET)
    found = measure(net, x, map, "completeness:replacement=0.3", target=TARGET)
    gaps = measure(net, x, map, "completeness:replacement=0.3,relative=false", target=TARGET)
    for image in range(2):
        total = sum(map[image].flatten().tolist())
        difference = score(x[image]) - score(torch.full_like(x[0], 0.3))
        assert gaps.value[image].item() == pytest.approx(abs(total - difference))
        assert found.value[image].item() == pytest.approx(abs((total - difference) / difference))


def test_it_is_of_the_output_that_is_asked_for(net: nn.Module, x: Tensor):
    e = pellucid.explain(
        net, x, "integrated-gradients", target=TARGET, output="probability", steps=100, progress=False
    )
    for output, complete in (("probability", True), ("logit", False)):
        found = measure(net, x, e.attribution, "completeness", target=TARGET, output=output)
        assert ((found.value < 0.01).all().item(), (found.value > 0.1).all().item()) == (
            complete,
            not complete,
        )


def test_the_exact_map_of_a_linear_model_is_complete(x: Tensor):
    net = linear(size=SIZE)
    exact = x * net.weight(TARGET)
    assert measure(net, x, exact, "completeness", target=TARGET).value.tolist() == pytest.approx(
        [0, 0], abs=1e-12
    )
    half = measure(net, x, exact / 2, "completeness", target=TARGET).value
    assert half.tolist() == pytest.approx([0.5, 0.5])
    with pytest.raises(InvalidValue, match="the score is the baseline's"):
        measure(net, 0 * x, exact, "completeness", target=TARGET)
    assert measure(net, 0 * x, 0 * exact, "completeness:relative=false", target=TARGET).value.tolist() == [
        0,
        0,
    ]


def test_non_sensitivity_is_its_twin(x: Tensor):
    """Of a model that ignores some pixels, and a map that is empty in others."""
    net, one = linear(size=SIZE), x[:1]
    seen = torch.rand(3, *SIZE, dtype=torch.float64) < 0.05
    seen[:, :5] = False
    with torch.no_grad():
        net.fc.weight[TARGET] *= seen.flatten()
    map = torch.randn(1, 3, *SIZE, dtype=torch.float64) * (torch.rand(SIZE) < 0.1)
    found, copies = perturbed_inputs(net, one, map, "non-sensitivity:window=4,samples=3", target=TARGET)
    score, low, high = score_of(net, TARGET), float(one.min()), float(one.max())
    places = [(top, left) for top in (0, 4, 8) for left in (0, 4, 8, 12)]
    assert len(copies) == 36
    effects = dict.fromkeys(places, 0.0)
    evidence = {}
    for number, copy in enumerate(copies):
        top, left = place = places[number % 12]
        inside = torch.zeros(SIZE, dtype=torch.bool)
        inside[top : top + 4, left : left + 4] = True
        assert ((copy != one[0]).all(0) == inside).all()
        assert low <= copy[:, inside].min() < copy[:, inside].max() <= high
        effects[place] = max(effects[place], abs(score(copy) - score(one[0])))
        evidence[place] = float(map[0].sum(0).abs()[inside].sum())
    wrong = sum(
        (effects[place] <= 1e-3 * max(effects.values())) != (evidence[place] <= 1e-3 * max(evidence.values()))
        for place in places
    )
    assert 0 < wrong < 12
    assert found.value.item() == pytest.approx(wrong / 12)


def test_evidence_exactly_where_the_model_looks():
    net, x = linear(size=SIZE), torch.rand(1, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        net.fc.weight.view(4, 3, *SIZE)[..., :4] = 0
    map = net.weight(TARGET) * x
    assert measure(net, x, map, "non-sensitivity:window=4", target=TARGET).value.item() == 0
    assert measure(net, x, map.flip(-1), "non-sensitivity:window=4", target=TARGET).value.item() == 0.5
    assert measure(net, x, 0 * map, "non-sensitivity:window=4", target=TARGET).value.item() == 0.75
    nn.init.zeros_(net.fc.weight)
    assert measure(net, x, 0 * map, "non-sensitivity:window=4", target=TARGET).value.item() == 0
    assert measure(net, x, 1 + 0 * map, "non-sensitivity:window=4", target=TARGET).value.item() == 1
