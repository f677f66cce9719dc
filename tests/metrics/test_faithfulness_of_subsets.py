"""Infidelity and what correlates evidence with scores: against loops over the inputs that were run."""

import pytest
import torch
from judging import linear, perturbed_inputs, score_of
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn

from pellucid.errors import InvalidValue
from pellucid.measure import Maps, measure, measure_all
from pellucid.metric_request import MetricRequest
from pellucid.model import Model
from zoo import GapNet, seeded

SIZE = (12, 15)
TARGET = 2


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return seeded(GapNet).double()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(1, 3, *SIZE, dtype=torch.float64) + 3


@pytest.fixture(params=[1, 3], ids=["one channel", "three channels"])
def map(request: pytest.FixtureRequest) -> Tensor:
    return torch.randn(1, request.param, *SIZE, dtype=torch.float64)


def hidden(copy: Tensor, x: Tensor, value: float = 0.0) -> list[tuple[int, int]]:
    """The pixels of which all channels are replaced; no other may differ."""
    found = []
    for i in range(x.shape[-2]):
        for j in range(x.shape[-1]):
            if (copy[:, i, j] == value).all():
                found.append((i, j))
            else:
                assert torch.equal(copy[:, i, j], x[0, :, i, j])
    return found


def pairs(
    net: nn.Module, x: Tensor, map: Tensor, copies: list[Tensor], value: float = 0.0
) -> tuple[list[float], list[float]]:
    """The evidence of what each copy hides, and by how much the score falls."""
    score, evidence, drops = score_of(net, TARGET), [], []
    for copy in copies:
        evidence.append(sum(float(a) for i, j in hidden(copy, x, value) for a in map[0, :, i, j]))
        drops.append(score(x[0]) - score(copy))
    return evidence, drops


def test_faithfulness_correlation_is_its_twin(net: nn.Module, x: Tensor, map: Tensor):
    found, copies = perturbed_inputs(
        net, x, map, "faithfulness-correlation", size=30, samples=25, target=TARGET
    )
    assert len(copies) == 25
    assert {len(hidden(copy, x)) for copy in copies} == {30}
    evidence, drops = pairs(net, x, map, copies)
    assert found.value.item() == pytest.approx(pearsonr(evidence, drops).statistic)
    assert found.details["evidence"][0].tolist() == pytest.approx(evidence)


def test_sensitivity_n_is_its_twin(net: nn.Module, x: Tensor, map: Tensor):
    found, copies = perturbed_inputs(
        net, x, map, "sensitivity-n", steps=4, samples=20, most=0.5, replacement=-5.0, target=TARGET
    )
    sizes = [1, 4, 20, 90]  # of 180 pixels: 90 ** (0, 1/3, 2/3, 1)
    assert found.details["sizes"][0].tolist() == sizes
    of_sizes = []
    for step, size in enumerate(sizes):
        some = copies[20 * step : 20 * step + 20]
        assert {len(hidden(copy, x, -5.0)) for copy in some} == {size}
        of_sizes.append(pearsonr(*pairs(net, x, map, some, -5.0)).statistic)
    nested = [set(hidden(copies[n], x, -5.0)) <= set(hidden(copies[20 + n], x, -5.0)) for n in range(20)]
    assert not all(nested)  # each size has draws of its own
    assert found.details["correlation"][0].tolist() == pytest.approx(of_sizes)
    assert found.value.item() == pytest.approx(sum(of_sizes) / 4)


def test_mu_fidelity_is_its_twin(net: nn.Module, x: Tensor, map: Tensor):
    found, copies = perturbed_inputs(
        net, x, map, "mu-fidelity", cells=5, share=0.3, samples=30, target=TARGET
    )
    for copy in copies:
        cells = {(i * 5 // SIZE[0], j * 5 // SIZE[1]) for i, j in hidden(copy, x)}
        assert len(cells) == 7  # 30 % of 25
        inside = sum((i * 5 // SIZE[0], j * 5 // SIZE[1]) in cells for i in range(12) for j in range(15))
        assert len(hidden(copy, x)) == inside
    assert found.value.item() == pytest.approx(spearmanr(*pairs(net, x, map, copies)).statistic)


def infidelity(
    net: nn.Module, x: Tensor, map: Tensor, copies: list[Tensor], by_inputs: bool, normalised: bool
) -> float:
    """Against the baseline 0."""
    score, products, drops = score_of(net, TARGET), [], []
    for copy in copies:
        change = x[0] - copy
        if by_inputs:
            change = change / x[0]
        total = 0.0
        for i in range(SIZE[0]):
            for j in range(SIZE[1]):
                values = change[:, i, j].tolist()
                if len(map[0]) == 1:
                    joined = sum(values) / (3 if by_inputs else 1)
                    total += joined * float(map[0, 0, i, j])
                else:
                    total += sum(v * float(a) for v, a in zip(values, map[0, :, i, j], strict=True))
        products.append(total)
        drops.append(score(x[0]) - score(copy))
    beta = 1.0
    if normalised:
        beta = sum(p * d for p, d in zip(products, drops, strict=True)) / sum(p * p for p in products)
    return sum((beta * p - d) ** 2 for p, d in zip(products, drops, strict=True)) / len(drops)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("by_inputs", [True, False])
@pytest.mark.parametrize("perturbation", ["patches", "gaussian"])
def test_infidelity_is_its_twin(
    net: nn.Module, x: Tensor, map: Tensor, perturbation: str, by_inputs: bool, normalised: bool
):
    found, copies = perturbed_inputs(
        net, x, map, "infidelity", perturbation=perturbation, samples=12, window=5, noise=0.1,
        multiply_by_inputs=by_inputs, normalised=normalised, target=TARGET,
    )  # fmt: skip
    assert len(copies) == 12
    twin = infidelity(net, x, map, copies, by_inputs, normalised)
    assert found.value.item() == pytest.approx(twin, rel=1e-6)
    if perturbation == "patches":
        for copy in copies:
            at = torch.tensor(hidden(copy.where(copy.abs() > 1e-12, 0.0), x))
            assert len(at) == 25
            assert (at.amax(0) - at.amin(0)).tolist() == [4, 4]
    else:
        noise = torch.stack(copies) - x
        spread = float(x.max() - x.min())
        assert noise.std().item() == pytest.approx(0.1 * spread, rel=0.05)
        assert abs(noise.mean().item()) < 0.01 * spread


def test_patches_are_a_quarter_of_the_shorter_side_and_reach_every_pixel(net: nn.Module, x: Tensor):
    map = torch.zeros(1, 1, *SIZE)
    _, copies = perturbed_inputs(net, x, map, "infidelity:samples=1500", target=TARGET)
    changed = torch.stack([(copy - x[0]).abs().sum(0) > 1e-9 for copy in copies])
    assert set(changed.flatten(1).sum(1).tolist()) == {9}
    assert changed.any(0).all()


NAMES = ("faithfulness-correlation:size=20", "sensitivity-n:steps=3", "mu-fidelity:share=0.3,cells=6")


def test_the_exact_map_of_a_linear_model_is_perfect():
    net, x = linear(size=SIZE), torch.randn(2, 3, *SIZE, dtype=torch.float64)
    exact = x * net.weight(TARGET)
    for name in NAMES:
        assert measure(net, x, exact, name, target=TARGET).value.tolist() == pytest.approx([1, 1], abs=1e-6)
        flipped = measure(net, x, -3 * exact, name, target=TARGET).value
        assert flipped.tolist() == pytest.approx([-1, -1], abs=1e-6)
    for options in ("normalised=false", "normalised=true", "normalised=false,perturbation=gaussian"):
        found = measure(net, x, exact, f"infidelity:{options}", target=TARGET)
        assert found.value.tolist() == pytest.approx([0, 0], abs=1e-10), options
        slopes = net.weight(TARGET).expand_as(x)
        found = measure(net, x, slopes, f"infidelity:multiply_by_inputs=false,{options}", target=TARGET)
        assert found.value.tolist() == pytest.approx([0, 0], abs=1e-10), options
    scaled = measure(net, x, 5 * exact, "infidelity", target=TARGET).value
    assert scaled.tolist() == pytest.approx([0, 0], abs=1e-10)
    assert (measure(net, x, 5 * exact, "infidelity:normalised=false", target=TARGET).value > 0.01).all()


def test_a_map_that_predicts_nothing_and_a_score_that_never_changes(net: nn.Module, x: Tensor):
    constant = torch.ones(1, 1, *SIZE)
    for name in ("faithfulness-correlation:size=20", "sensitivity-n:steps=3"):
        assert measure(net, x, constant, name, target=TARGET).value.item() == 0
    for name in NAMES:
        assert measure(net, x, 0 * constant, name, target=TARGET).value.item() == 0
    nothing = measure(net, x, 0 * constant, "infidelity", target=TARGET)
    assert nothing.value.item() == pytest.approx((nothing.details["drops"] ** 2).mean().item())
    flat = linear(size=SIZE)
    nn.init.zeros_(flat.fc.weight)
    for name in NAMES:
        with pytest.raises(InvalidValue, match="the score is the same whatever is hidden"):
            measure(flat, x, constant, name, target=TARGET)
    assert measure(flat, x, constant, "infidelity", target=TARGET).value.item() == 0


def test_subsets_that_are_too_large_are_refused(net: nn.Module, x: Tensor):
    with pytest.raises(InvalidValue, match="size must be at most the number of pixels, 180; got 224"):
        measure(net, x, torch.ones(1, 1, *SIZE), "faithfulness-correlation", target=TARGET)


def test_maps_that_are_judged_together_share_the_scores(net: nn.Module, x: Tensor):
    requests = [MetricRequest.of(name) for name in (*NAMES, "infidelity:samples=7")]
    maps = [Maps(torch.randn(1, 1, *SIZE)) for _ in range(3)]
    found, cost = measure_all(Model.wrap(net), x, maps, requests, target=TARGET, progress=False)
    assert cost.forward == 1 + 100 + 300 + 200 + 7
    alone = measure(net, x, maps[2].attribution, NAMES[1], target=TARGET)
    assert found[2][1].value.item() == pytest.approx(alone.value.item())
    assert found[2][1].cost.forward == 300  # it is billed what it would cost alone, but for the prediction
    assert alone.cost.forward == 301
