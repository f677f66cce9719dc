"""Integrated gradients from uniform noise: the mean over its baselines, and what is known of it."""

import pytest
import torch
from torch import Tensor, nn

import pellucid
from nets import net as small
from nets import pictures, watched
from pellucid.errors import InvalidValue
from pellucid.methods.path import random_baseline_ig
from zoo import LinearNet, ResidualNet, images, seeded


def explain(net, x, **options) -> pellucid.Explanation:
    return pellucid.explain(net, x, "random-baseline-ig", progress=False, **{"target": 1, **options})


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return seeded(ResidualNet).double()


def noise(x: Tensor, count: int) -> Tensor:
    """Baselines (count, N, C, H, W) between each image's smallest and largest value, of the seed 0."""
    drawn = [torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(k)) for k in range(count)]
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return torch.stack([low + (high - low) * u for u in drawn])


@pytest.mark.parametrize("quadrature", ["gauss-legendre", "left"])
def test_it_is_the_mean_of_integrated_gradients_over_its_baselines(net, quadrature):
    x, options = images(2), {"steps": 7, "quadrature": quadrature}
    e = explain(net, x, samples=4, **options)
    lines = [
        pellucid.explain(net, x, "integrated-gradients", target=1, baseline=start, progress=False, **options)
        for start in noise(x, 4)
    ]
    maps = torch.stack([line.raw for line in lines])
    torch.testing.assert_close(e.raw, maps.mean(0))
    squares = (maps[0] - maps[1]) ** 2 + (maps[2] - maps[3]) ** 2
    torch.testing.assert_close(e.stderr, (squares.sqrt() / 4).float())
    torch.testing.assert_close(e.delta, torch.stack([line.delta for line in lines]).mean(0))


def test_its_sum_is_the_score_less_the_baselines_mean_score(net):
    x = images(2)
    e = explain(net, x, samples=2)
    with torch.no_grad():
        change = net(x)[:, 1] - torch.stack([net(start)[:, 1] for start in noise(x, 2)]).mean(0)
    torch.testing.assert_close(e.raw.sum((1, 2, 3)) - e.delta, change)
    assert (e.delta.abs() < 0.02 * change.abs()).all()


def test_noise_is_drawn_between_black_and_white_where_these_are_known():
    preprocess = pellucid.Preprocess(size=(8, 8), scale_to=(8, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    module = seeded(LinearNet, 192)
    model = pellucid.Model(module, preprocess=preprocess)
    x = model.prepare(torch.full((8, 8, 3), 100, dtype=torch.uint8).numpy())
    seen: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    e = explain(model, x, samples=40, steps=2)
    hook.remove()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (preprocess.mean, preprocess.std))
    black, white = -mean / std, (1 - mean) / std
    starts = torch.cat(seen)
    assert (starts > black - 1e-5).all()
    assert (starts < white + 1e-5).all()
    # w times the way from the mean baseline: that of grey, but for the variance of uniform noise
    weights = module.fc.weight[1].detach().view(x.shape)
    expected = (weights * (white - black)).abs() / 12**0.5 / 40**0.5
    grey = weights * (x - (black + white) / 2)
    assert float(((e.raw - grey) / expected).square().mean()) == pytest.approx(1, abs=0.3)
    assert float((e.stderr / expected).square().mean()) == pytest.approx(1, abs=0.2)


def test_a_seed_gives_the_same_map_and_another_one_another(net):
    one, again, other = (explain(net, images(1), samples=2, steps=3, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.raw, again.raw)
    assert not torch.allclose(one.raw, other.raw)


@pytest.mark.parametrize("steps", [3, "auto"])
def test_neither_the_batch_nor_its_size_matters(steps):
    x, module = pictures("in-place", 2)[..., :12, :16], small("in-place")
    options = {"samples": 2, "steps": steps}
    together = explain(module, x, **options)
    for size in (1, 64):
        torch.testing.assert_close(together.raw, explain(module, x, batch_size=size, **options).raw)
    for i in range(len(x)):
        single = explain(module, x[i : i + 1], **options)
        torch.testing.assert_close(together.raw[i], single.raw[0])
        torch.testing.assert_close(together.stderr[i], single.stderr[0])


@pytest.mark.parametrize("batch_size", [1, 6, 64])
def test_passes_are_those_of_the_lines_in_chunks_as_large_as_allowed(net, batch_size):
    module, counter = watched(net)
    e = explain(module, images(2), samples=3, steps=5, batch_size=batch_size)
    assert e.details["samples"].tolist() == [4, 4]
    assert sum(counter.forward) == e.cost.forward == 2 * (4 * (5 + 2) + 1)
    assert sum(counter.backward) == e.cost.backward == 2 * 4 * 5
    assert max(counter.forward) <= batch_size
    if batch_size == 64:
        assert max(counter.backward) == 2 * 4 * 5  # all baselines share one chunk


def test_auto_draws_baselines_until_the_map_is_settled(net, monkeypatch):
    monkeypatch.setattr(random_baseline_ig, "MOST", 24)
    x = images(1)
    loose = explain(net, x, samples="auto", steps=4, tolerance=0.9)
    assert loose.details["samples"].tolist() == [10]
    assert not any("converged" in warning for warning in loose.warnings)
    tight = explain(net, x, samples="auto", steps=4, tolerance=0.001)
    assert tight.details["samples"].tolist() == [24]
    assert any("not converged after 24 samples" in warning for warning in tight.warnings)
    torch.testing.assert_close(tight.raw, explain(net, x, samples=24, steps=4).raw)


def test_too_few_steps_are_told(net):
    e = explain(net, 5 * images(1), samples=2, steps=1, quadrature="left")
    assert any("The map is not complete: it sums to" in warning for warning in e.warnings)


def test_an_image_of_one_value_gives_zero_and_a_word(net):
    x = torch.cat([images(1), torch.full((1, 3, 12, 17), 0.3, dtype=torch.float64)])
    e = explain(net, x, samples=2, steps=2)
    assert e.raw[0].any()
    assert not e.raw[1].any()
    assert [any("there is no path between them" in note for note in notes) for notes in e.notes] == [0, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 0}, "samples must be 'auto' or at least 1; got 0"),
        ({"steps": 0}, "steps must be 'auto' or at least 1; got 0"),
        ({"samples": "auto", "tolerance": 0.0}, "tolerance must be between 0 and 1"),
    ],
)
def test_what_does_not_hold_is_said_in_a_sentence(net, options, words):
    with pytest.raises(InvalidValue, match=words):
        explain(net, images(1), **options)
