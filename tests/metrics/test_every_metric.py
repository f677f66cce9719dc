"""What holds for every metric of the registry."""

import math
import re

import pytest
import torch
from torch import Tensor, nn

from pellucid import metrics
from pellucid.errors import InvalidValue, PellucidError
from pellucid.measure import Measured, measure
from pellucid.metrics import METRICS, Metric, metric

CASES = [pytest.param(m, id=m.name) for m in metrics()]
SIZE = 12


class Net(nn.Module):
    """A small network of batch norm, whose score depends on the picture."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU()
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def maps() -> Tensor:
    return torch.randn(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


TRUTH = torch.zeros(3, SIZE, SIZE, dtype=torch.bool)
TRUTH[:, 2:6, 3:8] = True


def judge(judged: Metric, model: nn.Module, x: Tensor, maps: Tensor, **options: object) -> Measured:
    return measure(
        model, x, maps, judged.name, method="saliency", truth=TRUTH[: len(x)], target=1,
        **{**judged.quick, **options},
    )  # fmt: skip


@pytest.mark.parametrize("judged", CASES)
def test_its_docstring_says_what_a_reader_needs(judged: Metric):
    doc = judged.doc
    for part in ("Args:", "Returns:", "Cost:", "Source:", "Example:", "cannot tell"):
        assert part in doc, part
    for option in judged.options:
        assert re.search(rf"^    {option.name}: ", doc, re.MULTILINE), option.name
    assert re.search(r"\d{4}", judged.paper)
    assert judged.range[0] < judged.range[1]


@pytest.mark.parametrize("judged", CASES)
def test_values_are_finite_within_range_and_the_same_again(judged: Metric, net: Net, x: Tensor, maps: Tensor):
    first, again = judge(judged, net, x, maps), judge(judged, net, x, maps)
    assert first.value.shape == (3,)
    assert not first.failures
    assert torch.allclose(first.value, again.value, rtol=1e-5, atol=1e-7)  # chunks may differ
    low, high = judged.range
    assert (first.value >= low - 1e-9).all()
    assert (first.value <= high + 1e-9).all()


@pytest.mark.parametrize("judged", CASES)
def test_an_image_in_a_batch_is_judged_as_it_is_alone(judged: Metric, net: Net, x: Tensor, maps: Tensor):
    together = judge(judged, net, x, maps)
    for batch_size in (1, 2):
        other = judge(judged, net, x, maps)
        assert torch.allclose(
            measure(net, x, maps, judged.name, method="saliency", truth=TRUTH, target=1,
                    batch_size=batch_size, **judged.quick).value,
            other.value, rtol=1e-4, atol=1e-6,
        )  # fmt: skip
    alone = judge(judged, net, x[:1], maps[:1])
    assert torch.allclose(alone.value, together.value[:1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("judged", CASES)
def test_it_costs_what_it_announces(judged: Metric, net: Net, x: Tensor, maps: Tensor):
    found = judge(judged, net, x[:1], maps[:1])
    passes = judged.passes(judged.resolve_options(judged.quick), (SIZE, SIZE))
    saliency = 1  # forward and backward of each explanation made again
    # The pass that says what is predicted is shared by all metrics and maps of a picture; another one finds
    # out, once for each model, whether its samples influence one another.
    assert 0 <= found.cost.forward - passes.forward - saliency * passes.explanations <= 2
    assert found.cost.backward == passes.backward + saliency * passes.explanations


@pytest.mark.parametrize("judged", CASES)
def test_the_model_and_the_maps_are_left_as_they_were(judged: Metric, net: Net, x: Tensor, maps: Tensor):
    before, map_before, x_before = (
        {k: v.clone() for k, v in net.state_dict().items()},
        maps.clone(),
        x.clone(),
    )
    random = torch.get_rng_state()
    judge(judged, net, x, maps)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(maps, map_before)
    assert torch.equal(x, x_before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in net.parameters())


def finite_or_said_why(judged: Metric, model: nn.Module, x: Tensor, map: Tensor) -> bool:
    """Whether a map has a finite value, or the metric says why it has none."""
    try:
        return bool(judge(judged, model, x, map).value.isfinite().all())
    except InvalidValue as error:
        return f"{judged.name} has no value for this map: " in str(error)


def one_hot() -> Tensor:
    map = torch.zeros(1, 1, SIZE, SIZE)
    map[0, 0, 4, 5] = 1.0
    return map


@pytest.mark.parametrize(
    "map",
    [torch.zeros(1, 1, SIZE, SIZE), torch.ones(1, 1, SIZE, SIZE), -torch.ones(1, 1, SIZE, SIZE), one_hot()],
    ids=["empty", "constant", "negative", "one-hot"],
)
@pytest.mark.parametrize("judged", CASES)
def test_degenerate_maps_have_a_finite_value_or_a_reason(judged: Metric, net: Net, x: Tensor, map: Tensor):
    assert finite_or_said_why(judged, net, x[:1], map)


@pytest.mark.parametrize("judged", CASES)
def test_a_map_that_is_not_finite_is_refused_and_the_others_are_judged(
    judged: Metric, net: Net, x: Tensor, maps: Tensor
):
    broken = maps.clone()
    broken[1, 0, 3, 3] = math.nan
    found = judge(judged, net, x, broken)
    assert list(found.failures) == [1]
    assert "not finite" in str(found.failures[1])
    whole = judge(judged, net, x, maps)
    assert torch.allclose(found.value[[0, 2]], whole.value[[0, 2]], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 13])
@pytest.mark.parametrize("judged", CASES)
def test_other_numbers_of_channels(judged: Metric, channels: int, maps: Tensor):
    torch.manual_seed(0)
    x = torch.randn(2, channels, SIZE, SIZE)
    found = judge(judged, Net(channels).eval(), x, maps[:2])
    assert found.value.isfinite().all()


@pytest.mark.parametrize("judged", [c for c in CASES if "explain" not in c.values[0].needs])
def test_a_black_box_can_be_judged_where_no_gradient_is_needed(
    judged: Metric, net: Net, x: Tensor, maps: Tensor
):
    if judged.passes(judged.resolve_options(judged.quick), (SIZE, SIZE)).backward:
        pytest.skip("needs gradients")

    def box(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return net(inputs)

    found = measure(box, x, maps, judged.name, truth=TRUTH, target=1, **judged.quick)
    assert torch.allclose(found.value, judge(judged, net, x, maps).value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("judged", CASES)
def test_a_picture_of_probability_one_and_one_that_nothing_changes(judged: Metric, maps: Tensor, x: Tensor):
    flat = Net().eval()
    nn.init.zeros_(flat.head.weight)
    with torch.no_grad():
        flat.head.bias[:] = torch.tensor([0.0, 100.0, 0.0])
    assert finite_or_said_why(judged, flat, x[:1], maps[:1])


def test_what_a_metric_lacks_is_said(net: Net, x: Tensor, maps: Tensor):
    for judged in metrics():
        for need in judged.needs:
            given = {"truth": TRUTH} if need == "explain" else {"method": "saliency"}
            with pytest.raises(InvalidValue, match=f"{judged.name} needs"):
                measure(net, x, maps, judged.name, **given, **judged.quick)


def test_maps_of_another_size_are_refused(net: Net, x: Tensor):
    with pytest.raises(InvalidValue, match="as large as the inputs"):
        measure(net, x, torch.zeros(3, 1, 5, 5), "deletion")


def test_a_name_registered_twice_or_badly_is_refused():
    with pytest.raises(InvalidValue, match="kebab-case"):
        metric("My_Metric", family="complexity", paper="Me 2026", higher_is_better=True, range=(0.0, 1.0))(
            lambda probe, attribution: attribution
        )
    with pytest.raises(InvalidValue, match="registered twice"):
        metric("deletion", family="complexity", paper="Me 2026", higher_is_better=True, range=(0.0, 1.0))(
            lambda probe, attribution: attribution
        )
    with pytest.raises(InvalidValue, match="family must be one of"):
        metric("mine", family="nothing", paper="Me 2026", higher_is_better=True, range=(0.0, 1.0))(
            lambda probe, attribution: attribution
        )


def test_a_metric_of_ones_own_is_one_function(net: Net, x: Tensor, maps: Tensor):
    @metric("brightest", family="complexity", paper="Me 2026", higher_is_better=True, range=(0.0, 9.0))
    def brightest(probe: object, attribution: Tensor, *, power: float = 1.0) -> Tensor:
        return attribution.flatten(1).amax(1) ** power

    try:
        found = measure(net, x, maps, "brightest:power=2")
        assert torch.allclose(found.value, maps.flatten(1).amax(1).double() ** 2)
    finally:
        del METRICS["brightest"]


def test_an_unknown_metric_names_the_closest():
    with pytest.raises(PellucidError, match="Did you mean deletion"):
        METRICS and measure(nn.Identity(), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), "delection")
