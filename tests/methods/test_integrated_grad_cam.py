"""integrated-grad-cam: the paper's sum in loops, simple networks, and what is said of it."""

import pytest
import torch
from torch import Tensor, nn

import pellucid
from nets import watched
from pellucid.engine.paths import rule
from pellucid.errors import InvalidValue
from zoo import GapNet, ResidualNet, images, seeded

CLASSES = [3, 1]


def explained(net: nn.Module, x: Tensor, **options: object) -> pellucid.Explanation:
    options = {"layer": "relu", "target": CLASSES[: len(x)], "progress": False, **options}
    return pellucid.explain(net, x, "integrated-grad-cam", **options)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return seeded(GapNet).double()


def evidence(net: GapNet, x: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Activations behind the ReLU and the logit's gradients there, (K, h, w), of one image (1, C, H, W)."""
    A = net.conv(x).relu().detach().requires_grad_()
    (G,) = torch.autograd.grad(net.fc(A.mean((2, 3)))[0, target], A)
    return A.detach()[0], G[0]


def literal(net, x: Tensor, start: Tensor, target: int, times, weights, differenced: bool) -> Tensor:
    """The paper's sum for one image, point by point and channel by channel."""
    before, _ = evidence(net, start, target)
    total = torch.zeros(before.shape[1:], dtype=x.dtype)
    for t, weight in zip(times, weights, strict=True):
        A, G = evidence(net, start + t * (x - start), target)
        map = torch.zeros_like(total)
        for k in range(len(A)):
            map += G[k].mean() * (A[k] - before[k] if differenced else A[k])
        total += weight * map.clamp(min=0)
    return total


@pytest.mark.parametrize("quadrature", ["gauss-legendre", "trapezoid", "left", "right", "middle"])
@pytest.mark.parametrize("steps", [2, 5])
def test_it_is_the_papers_integral(net, quadrature, steps):
    x, start = images(2), images(1, seed=5)
    e = explained(net, x, steps=steps, quadrature=quadrature, baseline=start)
    times, weights = (values.tolist() for values in rule(quadrature, steps))
    for i, target in enumerate(CLASSES):
        expected = literal(net, x[i : i + 1], start, target, times, weights, differenced=True)
        torch.testing.assert_close(e.raw[i], expected)


def test_officially_it_is_the_mean_of_grad_cams_on_the_way(net):
    x, start = images(2), images(1, seed=5)
    e = explained(net, x, steps=4, official=True, quadrature="middle", baseline=start)
    way = [
        pellucid.explain(net, start + i / 4 * (x - start), "grad-cam", layer="relu", target=CLASSES).raw
        for i in range(4)
    ]
    torch.testing.assert_close(e.raw, sum(way) / 4)
    for i, target in enumerate(CLASSES):
        expected = literal(net, x[i : i + 1], start, target, [0, 0.25, 0.5, 0.75], [0.25] * 4, False)
        torch.testing.assert_close(e.raw[i], expected)


def test_from_a_dark_layer_one_step_at_the_image_is_grad_cam():
    x, net = images(2), seeded(GapNet, bias=False).double()
    one = explained(net, x, steps=1, quadrature="right")
    torch.testing.assert_close(
        one.raw, pellucid.explain(net, x, "grad-cam", layer="relu", target=CLASSES).raw
    )


def test_a_homogeneous_network_has_half_of_grad_cam():
    """There A(t x) = t A(x) and the weights are the same all the way: the integral of t is 1/2."""
    x, net = images(2), seeded(GapNet, bias=False).double()
    for options in ({"steps": 1}, {"steps": 3}, {"steps": 4, "quadrature": "middle"}):
        half = explained(net, x, **options).raw
        whole = pellucid.explain(net, x, "grad-cam", layer="relu", target=CLASSES).raw
        torch.testing.assert_close(half, whole / 2)


def test_more_steps_change_little(net):
    x = images(2)
    fine = explained(net, x, steps=400).raw
    assert (explained(net, x).raw - fine).abs().max() < 0.01 * fine.abs().max()


@pytest.mark.parametrize("layer", ["auto", "stage1", ["stage1", "stage2"]])
def test_neither_batch_nor_chunks_nor_the_name_of_the_layer_matter(layer):
    x, net = images(3), seeded(ResidualNet).double()
    options = {"layer": layer, "target": [1, 0, 2], "steps": 5}
    whole = explained(net, x, **options)
    for size in (1, 2, 7):
        torch.testing.assert_close(explained(net, x, batch_size=size, **options).raw, whole.raw)
    singles = [
        explained(net, x[i : i + 1], **{**options, "target": options["target"][i]}).raw for i in range(3)
    ]
    torch.testing.assert_close(torch.cat(singles), whole.raw)
    if layer == "auto":
        (name,) = whole.layer
        torch.testing.assert_close(explained(net, x, **{**options, "layer": name}).raw, whole.raw)


@pytest.mark.parametrize(("official", "others"), [(False, 2), (True, 1)])
def test_passes_are_those_of_the_points_and_the_ends(net, official, others):
    module, counter = watched(net)
    e = explained(module, images(2), layer="net.relu", steps=6, official=official)
    assert sum(counter.forward) == e.cost.forward == 2 * (6 + others)
    assert sum(counter.backward) == e.cost.backward == 2 * 6


def test_a_baseline_that_is_the_image_gives_zero_and_a_word(net):
    x = images(2)
    e = explained(net, x, steps=3, baseline=torch.stack([x[0], torch.zeros_like(x[0])]))
    assert not e.raw[0].any()
    assert e.raw[1].any()
    assert any("there is no path between them" in note for note in e.notes[0])
    assert not any("there is no path" in note for note in e.notes[1])


def test_a_class_that_nothing_speaks_for_has_an_empty_map_and_a_word():
    net = seeded(GapNet, bias=False).double()
    with torch.no_grad():
        net.fc.weight[CLASSES[0]] = -1.0
    e = explained(net, images(2), steps=3)
    assert not e.raw[0].any()
    assert e.raw[1].any()
    assert any("does layer relu speak for this class" in note for note in e.notes[0])
    assert not any("speak for this class" in note for note in e.notes[1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"steps": 1, "quadrature": "trapezoid"}, "at least 2 for quadrature='trapezoid'"),
        ({"quadrature": "simpson"}, "quadrature must be one of gauss-legendre"),
        ({"baseline": torch.zeros(2, 2)}, "baseline must be as large as the inputs"),
    ],
)
def test_what_does_not_hold_is_said_in_a_sentence(net, options, words):
    with pytest.raises(InvalidValue, match=words):
        explained(net, images(2), **options)
