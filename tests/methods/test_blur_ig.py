"""Blur IG: its blur against SciPy's, its sums against the paper's, one point of the path at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

import pellucid
from pellucid.errors import InvalidValue
from pellucid.methods.path.blur_ig import blurred
from zoo import LinearNet, Quadratic, ResidualNet, assert_close, images, raw, seeded


def scipys(x: Tensor, sigma: float) -> Tensor:
    """Every channel of every image under SciPy's Gaussian, zero outside."""
    planes = [[gaussian_filter(plane, sigma, mode="constant") for plane in image] for image in x.numpy()]
    return torch.from_numpy(np.array(planes))


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    sigmas=st.lists(st.floats(0.05, 60), min_size=1, max_size=4),
)
def test_the_blur_is_scipys(size, sigmas):
    x = images(2, size)
    ours = blurred(x, torch.tensor(sigmas, dtype=torch.float64))
    for i, sigma in enumerate(sigmas):
        assert torch.allclose(ours[:, i], scipys(x, sigma), rtol=0, atol=1e-13)


def test_no_blur_is_the_image_itself():
    x = images(2)
    assert torch.equal(blurred(x, torch.zeros(1))[:, 0], x)


def gradient(net: nn.Module, x: Tensor, target: int) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(net(x)[:, target].sum(), x)[0]


@pytest.mark.parametrize(("spacing", "power"), [("quadratic", 2), ("linear", 1), ("sqrt", 0.5)])
@pytest.mark.parametrize("official", [False, True])
def test_blur_ig_is_the_sum_over_the_parts_of_its_path(spacing, power, official):
    net, x = seeded(ResidualNet).double(), images(2)
    ours = raw(net, x, "blur-ig", target=3, steps=5, sigma=6.0, spacing=spacing, official=official)
    slow = torch.zeros_like(x)
    for i in range(5):
        a, b = 6.0 * (i / 5) ** power, 6.0 * ((i + 1) / 5) ** power
        if official:
            slope = (scipys(x, a + 0.01) - (scipys(x, a) if a else x)) / 0.01
            slow -= gradient(net, scipys(x, a) if a else x, 3) * slope * (b - a)
        else:
            slow += gradient(net, scipys(x, (a + b) / 2), 3) * ((scipys(x, a) if a else x) - scipys(x, b))
    assert_close(ours, slow, 1e-9)


@pytest.mark.parametrize("steps", [1, 4])
def test_of_a_linear_score_it_is_exact_in_any_number_of_steps(steps):
    """w * (x - blur(x)): what the sharp image has and the blurred one has not."""
    x = images(2)
    net = seeded(LinearNet, x[0].numel()).double()
    e = pellucid.explain(net, x, "blur-ig", target=1, steps=steps, sigma=7.0, progress=False)
    assert_close(e.raw, net.fc.weight[1].detach().view_as(x[0]) * (x - scipys(x, 7.0)), 1e-10)
    assert e.delta.abs().max() < 1e-10


def errors(x: Tensor, **options: object) -> list[float]:
    """Completeness errors with 32 and with 64 steps, of a quadratic score."""
    net = seeded(Quadratic, x.numel()).double()
    change = net(x)[0, 1] - net(scipys(x, 4.0))[0, 1]
    found = []
    for steps in (32, 64):
        e = pellucid.explain(net, x, "blur-ig", target=1, steps=steps, sigma=4.0, progress=False, **options)
        assert torch.allclose(e.delta, (e.raw.sum() - change).detach(), atol=1e-9)
        found.append(abs(float(e.delta)))
    return found


def test_its_completeness_error_is_of_second_order():
    """That of the official sums is not: a difference quotient's is left however many there are."""
    x = images(1)
    coarse, fine = errors(x)
    assert 3 < coarse / fine < 5
    left = errors(x, official=True, spacing="linear")
    assert fine < left[1] / 10


@pytest.mark.parametrize("official", [False, True])
def test_chunks_and_batches_change_nothing(official):
    net, x = seeded(ResidualNet).double(), images(3)
    options = {"steps": 5, "sigma": 6.0, "official": official, "progress": False}
    together = pellucid.explain(net, x, "blur-ig", target=[0, 1, 2], batch_size=7, **options)
    for i in range(3):
        alone = pellucid.explain(net, x[i : i + 1], "blur-ig", target=i, batch_size=2, **options)
        assert_close(together.raw[i : i + 1], alone.raw, 1e-10)
        assert torch.allclose(together.delta[i : i + 1], alone.delta)


@pytest.mark.parametrize("official", [False, True])
def test_float32_is_close_to_float64(official):
    """Also where a difference quotient is taken of blurs that hardly differ: of a smooth picture."""
    x = scipys(images(1, (40, 50)), 6.0).float()
    net = seeded(LinearNet, x.numel())
    options = {"target": 0, "steps": 20, "official": official, "spacing": "linear"}
    low = raw(net.float(), x, "blur-ig", **options)
    assert low.dtype == torch.float32
    assert_close(low, raw(net.double(), x.double(), "blur-ig", **options), 2e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be at least 1; got 0"),
        ({"sigma": 0}, "sigma must be above 0; got 0"),
        ({"sigma": -3}, "sigma must be above 0; got -3"),
        ({"spacing": "cubic"}, "spacing must be one of quadratic | linear | sqrt"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(InvalidValue, match=words.replace("|", r"\|")):
        raw(seeded(ResidualNet), images(1).float(), "blur-ig", **options)
