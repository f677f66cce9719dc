"""Gradients of the input against captum, live."""

from collections.abc import Callable

import pytest
import torch
from captum.attr import InputXGradient, NoiseTunnel, Saliency
from cases import MODELS, SMALL, Case
from torch import Tensor, nn

import pellucid
from zoo import Quadratic, ResidualNet, assert_close, images, seeded, swept

Cases = Callable[[str], Case]

FLOAT32 = 1e-5
STATISTICS = {"smooth-grad": "smoothgrad", "smooth-grad-squared": "smoothgrad_sq", "var-grad": "vargrad"}


@pytest.mark.parametrize("name", swept(MODELS, SMALL))
def test_gradients_are_captums(case: Cases, name: str) -> None:
    c = case(name)
    x = c.x.clone().requires_grad_()
    signed = Saliency(c.net).attribute(x, c.target, abs=False)
    assert_close(c.maps["saliency:signed=true"], signed, FLOAT32)
    magnitude = Saliency(c.net).attribute(x, c.target)  # per channel; ours is the largest, as the paper's
    assert_close(c.maps["saliency"], magnitude.amax(1, keepdim=True), FLOAT32)
    product = InputXGradient(c.net).attribute(x, c.target).detach()
    assert_close(c.maps["input-x-gradient"], product, FLOAT32)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return seeded(ResidualNet).double()


@pytest.mark.parametrize("method", STATISTICS)
def test_smooth_gradients_of_the_same_noisy_copies_are_captums(
    net: nn.Module, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = images(n=1, size=(24, 40))
    seen: list[Tensor] = []
    handle = net.register_forward_pre_hook(lambda module, args: seen.extend(args[0].detach().clone()))
    e = pellucid.explain(net, x, method, target=2, samples=6, progress=False)
    handle.remove()
    # One may have run twice: a model, or a hook of it, that takes its batch apart may mix the samples.
    copies = torch.stack(list({c.sum().item(): c for c in seen if not torch.equal(c, x[0])}.values()))
    monkeypatch.setattr(NoiseTunnel, "_add_noise_to_input", lambda *args: copies.clone())
    tunnel = NoiseTunnel(Saliency(net))
    theirs = tunnel.attribute(
        x.clone().requires_grad_(), nt_type=STATISTICS[method], nt_samples=6, target=2, abs=False
    )
    assert_close(e.raw, theirs.detach(), 1e-10)


@pytest.mark.parametrize("method", STATISTICS)
def test_smooth_gradients_agree_with_captums_own_noise_within_their_standard_errors(method: str) -> None:
    """On a quadratic, whose pixels are independent.

    captum's stdevs are absolute, 1.0 by default; ours are a share of the range: they are matched here.
    """
    x, samples = images(n=1, size=(20, 31)), 400
    net = seeded(Quadratic, x.numel()).double()
    e = pellucid.explain(net, x, method, target=1, samples=samples, batch_size=50, progress=False)
    theirs = NoiseTunnel(Saliency(net)).attribute(
        x.clone().requires_grad_(),
        nt_type=STATISTICS[method],
        nt_samples=samples,
        nt_samples_batch_size=50,
        stdevs=0.15 * float(x.max() - x.min()),
        target=1,
        abs=False,
    )
    difference = (e.raw - theirs.detach()).abs()
    assert 0.93 < (difference <= 2 * 2**0.5 * e.stderr).double().mean() < 0.97
