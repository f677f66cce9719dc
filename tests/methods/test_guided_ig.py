"""Guided IG against a slow twin of its paper, and what any of its paths must do."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import pellucid
from pellucid.errors import InvalidValue
from pellucid.methods.path.guided_ig import advanced
from zoo import LinearNet, Quadratic, ResidualNet, assert_close, images, raw, seeded

SIZE = (9, 11)


def gradient(net: nn.Module, x: Tensor, target: int) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(net(x)[:, target].sum(), x)[0]


def guided(net: nn.Module, x: Tensor, start: Tensor, target: int, steps: int, fraction: float, dist: float):
    """One image's path, in points and one value at a time."""
    end, origin = x.flatten().tolist(), start.flatten().tolist()
    here = list(origin)
    numbers = range(len(end))
    whole = sum(abs(end[i] - origin[i]) for i in numbers)
    map = [0.0] * len(end)
    for step in range(1, steps + 1):
        g = gradient(net, torch.tensor(here, dtype=x.dtype).view_as(x), target).flatten().tolist()
        before = list(here)
        late, early = max(step / steps - dist, 0), min(step / steps + dist, 1)
        last = [origin[i] + early * (end[i] - origin[i]) for i in numbers]
        for i in numbers:
            first = origin[i] + late * (end[i] - origin[i])
            if abs(first - origin[i]) > abs(here[i] - origin[i]):
                here[i] = first
        waiting = sorted((i for i in numbers if abs(last[i] - here[i]) > 1e-12), key=lambda i: abs(g[i]))
        while waiting:
            to_do = sum(abs(end[i] - here[i]) for i in numbers) - whole * (1 - step / steps)
            if to_do < 1e-12:
                break
            group = waiting[: math.floor(fraction * (len(end) - 1)) + 1]
            waiting = waiting[len(group) :]
            part = min(1.0, to_do / sum(abs(last[i] - here[i]) for i in group))
            for i in group:
                here[i] += part * (last[i] - here[i])
        map = [map[i] + g[i] * (here[i] - before[i]) for i in numbers]
    return torch.tensor(map, dtype=x.dtype).view_as(x)


@pytest.mark.parametrize("fraction", [0.001, 0.25, 0.8])
@pytest.mark.parametrize("dist", [0.02, 0.3, 1.0])
def test_guided_ig_is_its_paper_one_value_at_a_time(fraction, dist):
    net, x = seeded(ResidualNet).double(), images(2, SIZE)
    steps = 4 if fraction < 0.01 else 9
    ours = raw(net, x, "guided-ig", target=3, steps=steps, fraction=fraction, max_dist=dist, baseline=0.1)
    start = torch.full_like(x, 0.1)
    slow = [guided(net, x[i : i + 1], start[:1], 3, steps, fraction, dist) for i in range(2)]
    assert_close(ours, torch.cat(slow), 1e-9)


@pytest.mark.parametrize("options", [{"fraction": 1.0, "max_dist": 1.0}, {"max_dist": 0.0}])
def test_without_freedom_the_path_is_straight(options):
    """All values at once, or none ahead of the others: integrated gradients by the left Riemann sum."""
    net, x = seeded(ResidualNet).double(), images(2, SIZE)
    mean = sum(gradient(net, x * k / 7, 1) for k in range(7)) / 7
    assert_close(raw(net, x, "guided-ig", target=1, steps=7, **options), x * mean, 1e-10)


def test_of_a_linear_score_it_is_exact_in_any_number_of_steps():
    x = images(2, SIZE)
    net = seeded(LinearNet, x[0].numel()).double()
    start = images(2, SIZE, seed=5)
    e = pellucid.explain(net, x, "guided-ig", target=2, steps=3, baseline=start, progress=False)
    assert_close(e.raw, (x - start) * net.fc.weight[2].detach().view_as(x[0]), 1e-10)
    assert e.delta.abs().max() < 1e-10


def test_its_completeness_error_is_told_and_falls_with_the_steps():
    x = images(1, SIZE)
    net = seeded(Quadratic, x.numel()).double()
    change = net(x)[0, 1] - net(torch.zeros_like(x))[0, 1]
    errors = []
    for steps in (20, 80):
        e = pellucid.explain(net, x, "guided-ig", target=1, steps=steps, progress=False)
        assert torch.allclose(e.delta, (e.raw.sum() - change).detach(), atol=1e-10)
        errors.append(abs(float(e.delta)))
    assert 3 < errors[0] / errors[1] < 5  # a Riemann sum: of first order


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), at=st.integers(0, 9), fraction=st.floats(0.01, 1), dist=st.floats(0, 1),
    flat=st.booleans(),
)  # fmt: skip
def test_a_step_does_its_share_of_the_way_by_the_smallest_slopes(seed, at, fraction, dist, flat):
    drawn = torch.Generator().manual_seed(seed)
    length, slope = torch.rand(2, 3, 40, dtype=torch.float64, generator=drawn)
    length[0, :7] = 0.0
    slope = slope.round(decimals=1) if flat else slope  # values alike move alike
    share = torch.zeros_like(length)
    for step in range(at):
        share = advanced(share, length, slope.roll(step, 1), (step + 1) / 10, fraction, dist)
    goal = (at + 1) / 10
    moved = advanced(share, length, slope.clone(), goal, fraction, dist)
    low, high = max(goal - dist, 0), min(goal + dist, 1)
    assert torch.allclose((length * moved).sum(1), length.sum(1) * goal)
    assert (moved >= share).all()
    some = length > 0
    assert (moved[some] >= low).all()
    assert (moved[some] <= high).all()
    ahead = some & (moved > share.clamp(min=low) + 1e-9)
    still = some & ~ahead & (moved < high - 1e-9)
    for i in range(3):
        if ahead[i].any() and still[i].any():
            assert slope[i][ahead[i]].max() <= slope[i][still[i]].min()


def test_pixels_as_in_the_baseline_and_unused_ones_get_nothing():
    x = images(1, SIZE)
    x[..., :4] = 0.0
    net = seeded(LinearNet, x.numel()).double()
    with torch.no_grad():
        net.fc.weight.view(4, *x.shape[1:])[..., 8:] = 0.0
    map = raw(net, x, "guided-ig", target=0, steps=5)
    assert (map[..., :4] == 0).all()
    assert (map[..., 8:] == 0).all()
    assert (map[..., 4:8] != 0).all()


def test_an_image_that_is_its_baseline_has_a_zero_map_and_a_warning():
    net, x = seeded(ResidualNet).double(), images(2, SIZE)
    x[1] = 0.0
    e = pellucid.explain(net, x, "guided-ig", target=0, steps=3, progress=False)
    assert (e.raw[1] == 0).all()
    assert e.delta[1] == 0
    assert (e.raw[0] != 0).any()
    assert any("baseline is the image itself" in note for note in e.notes[1])
    assert not any("baseline is the image itself" in note for note in e.notes[0])


def test_a_batch_is_its_images():
    net, x = seeded(ResidualNet).double(), images(3, SIZE)
    together = pellucid.explain(net, x, "guided-ig", target=[0, 1, 2], steps=6, batch_size=3, progress=False)
    for i in range(3):
        alone = pellucid.explain(net, x[i : i + 1], "guided-ig", target=i, steps=6, progress=False)
        assert_close(together.raw[i : i + 1], alone.raw, 1e-10)
        assert torch.allclose(together.delta[i : i + 1], alone.delta)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be at least 1; got 0"),
        ({"fraction": 0.0}, "fraction must be above 0"),
        ({"fraction": 1.5}, "at most 1; got 1.5"),
        ({"max_dist": -0.1}, "max_dist must be from 0 to 1; got -0.1"),
        ({"max_dist": 2}, "max_dist must be from 0 to 1; got 2"),
        ({"baseline": torch.zeros(3, 4, 4)}, "baseline"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(InvalidValue, match=words):
        raw(seeded(ResidualNet), images(1).float(), "guided-ig", **options)
