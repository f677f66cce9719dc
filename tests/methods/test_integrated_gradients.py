"""Integrated Gradients: closed forms, a literal twin, completeness, and what is said of it."""

import pytest
import torch
from torch import Tensor, nn

import pellucid
from nets import watched
from pellucid.errors import InvalidType, InvalidValue, ModelError
from zoo import LinearNet, Quadratic, ResidualNet, images, seeded, swept

QUADRATURES = ("gauss-legendre", "trapezoid", "left", "right", "middle")


def ig(net, x, **options) -> pellucid.Explanation:
    return pellucid.explain(net, x, "integrated-gradients", progress=False, **{"target": 1, **options})


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return seeded(ResidualNet).double()


@pytest.mark.parametrize("steps", ["auto", 2, 7])
@pytest.mark.parametrize("quadrature", QUADRATURES)
def test_a_linear_score_is_shared_out_exactly_by_every_rule(quadrature, steps):
    x, start = images(), images(seed=5)
    linear = seeded(LinearNet, x[0].numel()).double()
    e = ig(linear, x, baseline=start, steps=steps, quadrature=quadrature)
    weights = linear.fc.weight[1].view(x[0].shape)
    torch.testing.assert_close(e.raw, (x - start) * weights, rtol=1e-10, atol=1e-12)
    assert e.delta.abs().max() < 1e-9


@pytest.mark.parametrize(("quadrature", "steps"), [("gauss-legendre", 1), ("middle", 1), ("trapezoid", 2)])
def test_a_quadratic_score_is_exact_by_rules_that_are_exact_on_straight_lines(quadrature, steps):
    x = images()
    net = seeded(Quadratic, x[0].numel()).double()
    e = ig(net, x, steps=steps, quadrature=quadrature)
    assert e.delta.abs().max() < 1e-9 * e.raw.abs().sum()


def test_one_right_step_from_zero_is_input_x_gradient(net):
    x = images()
    one = ig(net, x, steps=1, quadrature="right")
    torch.testing.assert_close(one.raw, pellucid.explain(net, x, "input-x-gradient", target=1).raw)


def literal(net: nn.Module, x: Tensor, start: Tensor, nodes: list[float], weights: list[float]) -> Tensor:
    """Equation 1, term by term."""
    total = torch.zeros_like(x)
    for t, w in zip(nodes, weights, strict=True):
        point = (start + t * (x - start)).requires_grad_()
        (gradient,) = torch.autograd.grad(net(point)[:, 1].sum(), point)
        total += w * gradient
    return (x - start) * total


@pytest.mark.parametrize(
    ("quadrature", "nodes", "weights"),
    [
        ("left", [0, 0.25, 0.5, 0.75], [0.25] * 4),
        ("right", [0.25, 0.5, 0.75, 1], [0.25] * 4),
        ("middle", [0.125, 0.375, 0.625, 0.875], [0.25] * 4),
        ("trapezoid", [0, 1 / 3, 2 / 3, 1], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
    ],
)
def test_each_rule_is_its_literal_sum(net, quadrature, nodes, weights):
    x, start = images(), images(seed=5)
    e = ig(net, x, baseline=start, steps=4, quadrature=quadrature)
    torch.testing.assert_close(e.raw, literal(net, x, start, nodes, weights))
    with torch.no_grad():
        change = (net(x) - net(start))[:, 1]
    torch.testing.assert_close(e.delta, e.raw.sum((1, 2, 3)) - change)


def test_auto_agrees_with_five_hundred_steps_and_is_complete(net):
    x = images()
    auto, fine = ig(net, x, tolerance=0.002), ig(net, x, steps=500, quadrature="middle")
    change = auto.raw.sum((1, 2, 3)) - auto.delta
    assert (auto.delta.abs() <= 0.002 * change.abs()).all()
    assert (auto.raw - fine.raw).abs().max() < 0.02 * fine.raw.abs().max()
    assert (auto.details["steps"] < 300).all()


def test_passes_are_those_of_the_steps_and_two_scores(net):
    module, counter = watched(net)
    e = ig(module, images(2), steps=6)
    assert sum(counter.forward) == e.cost.forward == 2 * (6 + 2)
    assert sum(counter.backward) == e.cost.backward == 2 * 6


def test_auto_evaluates_nothing_twice(net):
    module, counter = watched(net)
    e = ig(module, images(2))
    steps = int(e.details["steps"].sum())
    assert sum(counter.forward) == e.cost.forward == steps + 2  # and the images' own scores
    assert sum(counter.backward) == e.cost.backward == steps


def test_a_pixel_equal_to_its_baseline_has_nothing(net):
    x, start = images(), images(seed=5)
    start[:, :, :4] = x[:, :, :4]
    e = ig(net, x, baseline=start)
    assert not e.raw[:, :, :4].any()
    assert e.raw[:, :, 4:].any()


def test_a_baseline_that_is_the_image_gives_zero_and_a_word(net):
    x = images(2)
    start = torch.stack([x[0], torch.zeros_like(x[0])])
    for steps in ("auto", 5):
        e = ig(net, x, baseline=start, steps=steps)
        assert not e.raw[0].any()
        assert e.raw[1].any()
        assert any("there is no path between them" in note for note in e.notes[0])
        assert not any("no path" in note for note in e.notes[1])


def test_incomplete_maps_say_so(net):
    x = images(1)
    e = ig(net, 5 * x, steps=1, quadrature="left")
    assert abs(float(e.delta)) > 0.05 * abs(float(e.raw.sum() - e.delta))
    assert any("The map is not complete: it sums to" in warning for warning in e.warnings)
    assert not any("not complete" in warning for warning in ig(net, 5 * x).warnings)


class Jump(nn.Module):
    """A score with a step that no gradient sees."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.sum((1, 2, 3))
        return torch.stack([-total, total + 5.0 * (total > 1).to(x)], 1)


def test_a_score_that_cannot_be_settled_says_so():
    e = ig(Jump(), torch.full((1, 3, 4, 4), 0.2, dtype=torch.float64))
    assert e.details["steps"].tolist() == [512]
    assert any("After 512 steps the map is not known to be complete to 1.0%" in w for w in e.warnings)


def test_black_needs_to_know_what_black_is(net):
    with pytest.raises(ModelError, match="says how pixels become"):
        ig(net, images(), baseline="black")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"steps": 0}, InvalidValue, "steps must be 'auto' or at least 1; got 0"),
        ({"steps": 1, "quadrature": "trapezoid"}, InvalidValue, "at least 2 for quadrature='trapezoid'"),
        ({"quadrature": "simpson"}, InvalidValue, "quadrature must be one of gauss-legendre"),
        ({"tolerance": 0.0}, InvalidValue, "tolerance must be between 0 and 1"),
        ({"baseline": torch.zeros(2, 2)}, InvalidValue, "baseline must be as large as the inputs"),
        ({"baseline": float("nan")}, InvalidValue, "baseline must be finite"),
        ({"baseline": object()}, InvalidType, "baseline must be one of"),
    ],
)
def test_what_does_not_hold_is_said_in_a_sentence(net, options, error, words):
    with pytest.raises(error, match=words):
        ig(net, images(), **options)


@pytest.mark.parametrize("name", swept(["sample:cat", "sample:coffee", "sample:rocket"], ["sample:cat"]))
def test_real_weights_are_complete_to_a_percent_on_each_sample(lite0, name):
    """Where 50 steps of Gauss and Legendre miss 3 to 10 %."""
    e = pellucid.explain(lite0, name, "integrated-gradients", progress=False)
    change = float(e.raw.sum() - e.delta)
    assert abs(float(e.delta)) <= 0.01 * abs(change)
    assert int(e.details["steps"]) < 100
