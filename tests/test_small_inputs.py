"""Defaults on small pictures: sizes follow from the input's size, or a note says why."""

import pytest
import torch
from torch import nn

import pellucid
from pellucid.errors import PellucidError
from pellucid.methods import METHODS
from pellucid.methods.path.regions import candidates
from pellucid.methods.perturb.occlusion import _sizes

CHEAP = {"samples": 100, "steps": 6}
REFERENCES = {"expected-gradients", "gradient-shap", "deep-shap"}  # need the user's own pictures


def net(seed=0):
    """Weights with a place and a scale of their own, as training leaves them."""
    torch.manual_seed(seed)
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    with torch.no_grad():
        for layer in made:
            if hasattr(layer, "weight"):
                layer.weight.normal_(std=0.5)
    return made.eval()


def blob(height, width):
    """A bright disk off the centre of a dark, slightly noisy picture."""
    y = (torch.arange(height) + 0.5)[:, None] / height
    x = (torch.arange(width) + 0.5)[None] / width
    disk = (((y - 0.35) ** 2 + (x - 0.6) ** 2) < 0.05).float()
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)) * 0.1
    return (disk * torch.tensor([0.9, 0.6, 0.3])[:, None, None] + noise)[None]


def target(raw):
    """The sum of all scores, moved so that each part of the picture matters."""
    return raw.sum(1)


@pytest.mark.parametrize("size", [(28, 28)], ids=str)
@pytest.mark.parametrize("name", [name for name in METHODS if name not in REFERENCES])
def test_every_methods_defaults_say_something_about_a_small_picture(name, size):
    own = {option.name: option.default for option in METHODS[name].options}
    cheap = {key: value for key, value in CHEAP.items() if key in own}
    try:
        e = pellucid.explain(net(), blob(*size), name, target=1, **cheap)
    except PellucidError:
        if METHODS[name].family != "attention":  # there is none in this network
            raise
        return
    assert e.attribution.isfinite().all()
    spread = float(e.attribution.std() / e.attribution.abs().max().clamp(min=1e-30))
    assert spread > 1e-3 or e.notes[0], f"{name} is constant without a word"


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (16, 24), (1, 40), (64, 64), (40, 1), (2, 3)], ids=str)
@pytest.mark.parametrize(
    "method", ["occlusion", "lime", "baylime", "kernel-shap", "partition-shap", "rise", "xrai"]
)
def test_perturbing_methods_find_a_place_in_every_small_picture(method, size):
    x = blob(*size)
    weights = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(1))
    model = lambda x: torch.stack([(x * weights).sum((1, 2, 3)), x.mean((1, 2, 3))], 1)  # noqa: E731
    cheap = {} if method in ("occlusion", "xrai") else {"samples": 300}
    e = pellucid.explain(model, x, method, target=0, output="logit", **cheap)
    assert e.attribution.isfinite().all()
    assert e.attribution.std() > 0


def test_windows_follow_from_the_input_and_stay_as_they_were_on_224_pixels():
    assert _sizes("auto", "auto", 224, 224) == (32, 8)
    assert _sizes("auto", "auto", 384, 384) == (32, 8)
    assert _sizes("auto", "auto", 28, 28) == (4, 1)
    assert _sizes(20, "auto", 28, 28) == (20, 8)
    assert _sizes(5, "auto", 28, 28) == (5, 5)
    for height in range(1, 65):
        for width in (1, 3, 8, 17, 64):
            window, stride = _sizes("auto", "auto", height, width)
            assert 1 <= stride <= window
            assert height * width == 1 or window < max(height, width)  # never one window alone


def test_a_windows_default_is_told_and_equals_that_number():
    x = blob(28, 28)
    e = pellucid.explain(net(), x, "occlusion", target=0)
    assert {"window": 4, "stride": 1}.items() <= e.details["chosen"].items()
    same = pellucid.explain(net(), x, "occlusion", target=0, window=4, stride=1)
    torch.testing.assert_close(e.raw, same.raw, rtol=1e-4, atol=1e-6)
    assert not {"window", "stride"} & same.details.get("chosen", {}).keys()


def test_one_window_says_so():
    e = pellucid.explain(net(), blob(28, 28), "occlusion", window=32, target=0)
    assert e.raw.max() == e.raw.min()
    assert "One window of 32 pixels hides the whole input of 28 x 28" in e.warnings[0]


@pytest.mark.parametrize("method", ["lime", "baylime"])
@pytest.mark.parametrize("size", [(28, 28)], ids=str)
def test_a_picture_without_segments_is_cut_into_a_grid_with_a_word(method, size):
    x = torch.full((1, 3, *size), 0.5)
    weights = torch.linspace(-1, 1, size[1]).expand(3, *size) / size[0] / size[1]
    model = lambda x: torch.stack([(x * weights).sum((1, 2, 3)), x.mean((1, 2, 3))], 1)  # noqa: E731
    how = {"baseline": "zero"} if "lime" in method else {}
    e = pellucid.explain(model, x, method, target=0, output="logit", samples=1000, **how)
    labels = e.details["segments"][0]
    assert len(labels.unique()) == 49
    assert labels[0, :: size[1] // 7].tolist()[:7] == list(range(7))
    assert any("1 segment in the" in note and "a grid of 7 x 7 cells" in note for note in e.warnings)
    assert e.details["chosen"]["segments"] == "a grid of 7 x 7 cells"
    # The model is linear: each cell's true value is what it holds.
    truth = torch.stack([(x[0] * weights)[:, labels == i].sum() for i in range(49)])
    assert torch.corrcoef(torch.stack([truth.double(), e.details["coefficients"][0]]))[0, 1] > 0.95


def test_own_segments_are_never_replaced():
    labels = torch.arange(28).expand(28, 28) // 14
    e = pellucid.explain(net(), blob(28, 28), "lime", segments=labels, samples=20, target=0)
    assert torch.equal(e.details["segments"][0], labels)
    assert not any("grid" in note for note in e.warnings)


def test_xrais_regions_are_no_larger_on_a_small_picture():
    rgb = (blob(28, 28)[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy()
    masks = candidates(rgb)
    assert masks.sum((1, 2)).min() < 0.5 * 28 * 28
    e = pellucid.explain(net(), blob(28, 28), "xrai", target=1)
    assert len(e.raw.unique()) > 2
