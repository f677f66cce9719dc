"""GradientSHAP and Expected Gradients against captum's GradientShap, live."""

import captum._utils.common as common
import captum.attr._core.gradient_shap as theirs
import numpy as np
import pytest
import torch
from captum.attr import GradientShap, NoiseTunnel

import pellucid
from pellucid.methods.path import expected_gradients, gradient_shap
from zoo import Quadratic, ResidualNet, assert_close, images, seeded


@pytest.mark.parametrize("noise", [None, 0.0, 0.1])
def test_of_the_same_draws_the_maps_are_captums(noise: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With noise and without; expected gradients are the same mean over draws of their own."""
    net, x, references = seeded(ResidualNet).double(), images(1), images(5, seed=7)
    which, mixed = np.array([4, 0, 1, 1, 3, 2]), np.linspace(0.05, 0.9, 6)
    plan = lambda *_: (torch.from_numpy(which), torch.from_numpy(mixed))  # noqa: E731
    monkeypatch.setattr(gradient_shap, "independent", plan)
    monkeypatch.setattr(expected_gradients, "stratified", plan)
    method, options = ("expected-gradients", {}) if noise is None else ("gradient-shap", {"noise": noise})
    ours = pellucid.explain(net, x, method, target=2, references=references, samples=6, progress=False,
                            **options)  # fmt: skip
    drawn = [torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(k)) for k in range(6)]
    copies = x + (noise or 0) * (x.max() - x.min()) * torch.stack(drawn).double()
    monkeypatch.setattr(NoiseTunnel, "_add_noise_to_input", lambda *_: copies.clone())
    monkeypatch.setattr(theirs.np.random, "uniform", lambda *_: mixed)
    monkeypatch.setattr(common.np.random, "choice", lambda *_: which)
    map, delta = GradientShap(net).attribute(
        x, references, n_samples=6, target=2, return_convergence_delta=True
    )
    assert_close(ours.raw, map, 1e-10)
    if not noise:  # captum's error is of the noisy copies, ours of the image
        assert_close(ours.delta, delta.mean()[None], 1e-6)


@pytest.mark.parametrize("method", ["gradient-shap", "expected-gradients"])
def test_of_their_own_draws_they_agree_within_standard_errors(method: str) -> None:
    net, x, references = seeded(Quadratic, 48).double(), images(1, (4, 4)), images(7, (4, 4), seed=7)
    ours = pellucid.explain(net, x, method, target=1, references=references, samples=1500, batch_size=64,
                            progress=False)  # fmt: skip
    attribute = GradientShap(net).attribute
    shap = torch.stack([attribute(x, references, n_samples=300, target=1)[0] for _ in range(10)]).detach()
    error = (ours.stderr[0].double() ** 2 + shap.var(0) / 10).sqrt()
    assert ((ours.raw[0] - shap.mean(0)).abs() < 5 * error).all()
