"""AGI against literal twins of the paper's algorithm and of what the authors' code does."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import pellucid
from nets import net as small
from nets import pictures, watched
from pellucid.errors import InvalidValue
from pellucid.methods.path.agi import adversarial_classes
from zoo import LinearNet, ResidualNet, assert_close, images, seeded


def explain(net, x, **options) -> pellucid.Explanation:
    return pellucid.explain(net, x, "agi", progress=False, **options)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return seeded(ResidualNet).double()


def gradient(net: nn.Module, x: Tensor, label: int) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(net(x[None])[0].softmax(0)[label], x)[0]


def literal(
    net: nn.Module, x: Tensor, target: int, goals: list[int], steps: int, size: float, official: bool
) -> tuple[Tensor, list[bool], list[Tensor]]:
    """One false class after the other, one step at a time."""
    total, reached, ends = torch.zeros_like(x), [], []
    for goal in goals:
        point = x.clone()
        for _ in range(steps):
            if int(net(point[None]).argmax()) == goal:
                break
            origin = x if official else point
            moved = (origin + size * gradient(net, point, goal).sign()).clamp(x.min(), x.max())
            total -= gradient(net, point, target) * (moved - origin)
            point = moved
        reached.append(int(net(point[None]).argmax()) == goal)
        ends.append(point)
    return total, reached, ends


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("classes", [2, 15])
def test_the_map_is_that_of_the_literal_algorithm(net, official, classes):
    x, target = images(2), 3
    e = explain(net, x, target=target, classes=classes, steps=6, epsilon=0.04, official=official)
    for i, image in enumerate(x):
        goals = e.details["false_classes"][i].tolist()
        size = 0.04 * float(image.max() - image.min())
        total, reached, ends = literal(net, image, target, goals, 6, size, official)
        assert_close(e.raw[i], total, 1e-9)
        assert e.details["reached"][i].tolist() == reached
        if official:
            assert e.delta is None
        else:
            with torch.no_grad():
                p, q = (net(points).softmax(1)[:, target] for points in (image[None], torch.stack(ends)))
            change = float((p - q).sum())
            assert float(e.delta[i]) == pytest.approx(float(total.sum()) - change, rel=1e-6)
    if classes == 15:
        found = explain(net, x, target=target, steps=6, epsilon=0.04).details["reached"]
        assert found.any()  # or else nothing was said about ways that end early
        assert not found.all()


def test_of_two_linear_logits_each_step_adds_what_it_changes():
    """The way is straight, along sign(w_1 - w_0), and ends at the first step on the other side."""
    x = images(2)
    linear = seeded(LinearNet, x[0].numel(), classes=2).double()
    e = explain(linear, x, output="logit", epsilon=0.01, steps=40)
    w = linear.fc.weight.detach()
    for i, image in enumerate(x):
        target = e.target[i]
        towards = w[1 - target] - w[target]
        size = 0.01 * float(image.max() - image.min())
        points = torch.stack(
            [
                (image + step * size * towards.sign().view_as(image)).clamp(image.min(), image.max())
                for step in range(41)
            ]
        )
        arrived = int((linear(points).argmax(1) == 1 - target).nonzero()[0])
        expected = w[target].view_as(image) * (image - points[arrived])
        assert_close(e.raw[i], expected, 1e-9)
    assert e.delta.abs().max() < 1e-6
    assert e.details["false_classes"][:, 0].tolist() == [1 - t for t in e.target]


@given(own=st.integers(0, 29), others=st.integers(1, 29), most=st.integers(1, 40))
def test_false_classes_are_others_spread_evenly(own, others, most):
    own = min(own, others)
    (found,) = adversarial_classes(torch.tensor([own]), others + 1, most).tolist()
    assert own not in found
    assert len(found) == len(set(found)) == min(most, others)
    assert found[0] >= 0
    assert found[-1] <= others
    gaps = [b - a for a, b in pairwise(found)]
    assert not gaps or max(gaps) - min(gaps) <= 2  # one for rounding, one where its own class is left out


def test_a_class_that_the_image_already_has_adds_nothing(net):
    """A target that is not the prediction: the prediction is reached before the first step."""
    x = images(1)
    predicted = explain(net, x, classes=1, steps=1).target[0]
    target = (predicted + 1) % 6
    e = explain(net, x, target=target, steps=3)
    goals = e.details["false_classes"][0].tolist()
    assert predicted in goals
    assert e.details["reached"][0, goals.index(predicted)]
    size = 0.05 * float(x.max() - x.min())
    rest = [goal for goal in goals if goal != predicted]
    assert_close(e.raw[0], literal(net, x[0], target, rest, 3, size, False)[0], 1e-9)


def test_pixels_stay_between_black_and_white():
    preprocess = pellucid.Preprocess(size=(8, 8), scale_to=(8, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    seen: list[Tensor] = []
    module = seeded(LinearNet, 192)
    module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    model = pellucid.Model(module, preprocess=preprocess)
    x = model.prepare((torch.arange(192) * 4 % 256).to(torch.uint8).view(8, 8, 3).numpy())
    e = explain(model, x, classes=1, steps=30, epsilon=0.05)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (preprocess.mean, preprocess.std))
    pixels = torch.cat(seen) * std + mean
    assert pixels.min() > -1e-5
    assert pixels.max() < 1 + 1e-5
    first = (pixels[:, None] - pixels[None]).abs().flatten(2).amax(2)
    assert torch.isclose(first, torch.tensor(0.05), atol=1e-5).any()  # one step, in pixels
    assert e.raw.any()


def test_where_the_model_does_not_look_there_is_nothing(net):
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net(torch.cat([x[..., :8], torch.ones_like(x[..., 8:])], -1))

    e = explain(Half(), images(1), steps=4)
    assert e.raw[..., :8].any()
    assert not e.raw[..., 8:].any()


@pytest.mark.parametrize("name", ["residual", "single logit", "vit"])
def test_neither_the_batch_nor_its_size_matters(name):
    x, module = pictures(name), small(name)
    options = {"classes": 3, "steps": 4, "epsilon": 0.02}
    together = explain(module, x, **options)
    for size in (1, 5):
        torch.testing.assert_close(together.raw, explain(module, x, batch_size=size, **options).raw)
    for i in range(len(x)):
        single = explain(module, x[i : i + 1], **options)
        torch.testing.assert_close(together.raw[i], single.raw[0])
        assert torch.equal(together.details["reached"][i], single.details["reached"][0])


def test_ways_that_have_arrived_cost_nothing_more(net):
    module, counter = watched(net)
    x = images(2)
    e = explain(module, x, steps=15, epsilon=0.04, batch_size=1)
    assert e.details["reached"].any()
    assert sum(counter.forward) == e.cost.forward < 2 * (5 * 16 + 1)
    assert sum(counter.backward) == e.cost.backward < 2 * 2 * 5 * 15


def test_a_contrast_has_false_classes_besides_its_first(net):
    e = explain(net, images(1), target=pellucid.Contrast(2, 4), steps=2)
    assert e.details["false_classes"][0].tolist() == [0, 1, 3, 4, 5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": 0}, "classes and steps must be at least 1; got classes=0"),
        ({"steps": 0}, "classes and steps must be at least 1; got classes=15 and steps=0"),
        ({"epsilon": 0.0}, "epsilon must be above 0; got 0.0"),
        ({"target": lambda raw: raw[:, 0]}, "the target must be a class or a Contrast; it is a callable"),
    ],
)
def test_what_does_not_hold_is_said_in_a_sentence(net, options, words):
    with pytest.raises(InvalidValue, match=words):
        explain(net, images(1), **options)
