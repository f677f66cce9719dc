"""What tutorials get wrong, written as they write it, beside ours on the same digit, and why the two differ.

docs/digits.md tells the same in words.
"""

from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
from digit_sets import few, learned
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

import pellucid

SEVEN = 6
"""A held-out digit, a 7."""


@cache
def net() -> nn.Module:
    return learned("cnn", epochs=2).module


@pytest.fixture
def x() -> Tensor:
    return few().test.inputs[SEVEN : SEVEN + 1].clone()


def correlation(a: Tensor, b: Tensor) -> float:
    return float(np.corrcoef(a.detach().numpy().ravel(), b.detach().numpy().ravel())[0, 1])


def activations(network: nn.Module, x: Tensor, name: str) -> Tensor:
    kept = []
    hook = network.get_submodule(name).register_forward_hook(lambda *args: kept.append(args[2].detach()))
    with torch.no_grad():
        network(x)
    hook.remove()
    return kept[0][0]


# --- Grad-CAM++ ---------------------------------------------------------------------------------------------


def tutorial_grad_cam_plus_plus(network: nn.Module, x: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Gradients of the layer's weights, divided by their sum over an axis of length 1."""
    A = activations(network, x, "conv2")
    (grad,) = torch.autograd.grad(network(x)[0, target], network.conv2.weight)  # (64, 32, 5, 5)
    weights = grad.mean((1, 2, 3))[:, None]  # (64, 1)
    weights = weights / weights.sum(1, keepdim=True)
    return weights, (weights[:, :, None] * A).sum(0)


def test_grad_cam_plus_plus_from_weight_gradients_is_the_plain_sum_of_channels(x: Tensor):
    weights, wrong = tutorial_grad_cam_plus_plus(net(), x, 7)
    # A sum over one number is that number: every weight is 1, or 0/0 where nothing flowed.
    known = weights[weights.isfinite()]
    assert known.tolist() == pytest.approx([1.0] * len(known))
    A = activations(net(), x, "conv2")
    plain = A[weights[:, 0].isfinite()].sum(0)
    assert wrong.nan_to_num().shape == plain.shape
    # What is left is the same for every class: nothing of it explains the decision.
    _, other = tutorial_grad_cam_plus_plus(net(), x, 1)
    both = wrong.isfinite() & other.isfinite()
    assert torch.allclose(wrong[both], other[both], rtol=1e-3, atol=1e-4)
    ours, ours_for_1 = (
        pellucid.explain(net(), x, "grad-cam++", layer="relu2", target=k).raw[0] for k in (7, 1)
    )
    assert not torch.allclose(ours, ours_for_1, rtol=0.05)
    assert correlation(ours, plain) < 0.5
    # And the layer before its ReLU has evidence below zero, which the method has no meaning for.
    assert (A < 0).any()
    assert (ours >= 0).all()


def test_no_weight_of_a_layer_behind_a_relu_is_called_negative(x: Tensor):
    behind, before = (
        pellucid.explain(net(), x, "grad-cam++", layer=name, target=7).warnings for name in ("relu2", "conv2")
    )
    assert not any("assumes activations >= 0" in warning for warning in behind)
    assert any("assumes activations >= 0" in warning for warning in before)


def test_the_weights_gradient_is_a_sum_over_the_batch_and_the_activations_is_not(x: Tensor):
    batch = few().test.inputs[:4]
    alone = torch.autograd.grad(net()(x)[0, 7], net().conv2.weight)[0]
    together = torch.autograd.grad(net()(torch.cat([x, batch]))[:, 7].sum(), net().conv2.weight)[0]
    assert not torch.allclose(alone, together, rtol=0.1)
    one = pellucid.explain(net(), x, "grad-cam++", target=7).raw[0]
    several = pellucid.explain(net(), torch.cat([x, batch]), "grad-cam++", target=7).raw[0]
    assert torch.allclose(one, several, rtol=1e-4, atol=1e-6)


# --- Score-CAM ----------------------------------------------------------------------------------------------


@torch.no_grad()
def tutorial_score_cam(network: nn.Module, x: Tensor, target: int, layer: str = "relu2") -> Tensor:
    """Masks as they come, logits as weights, no ReLU."""
    A = activations(network, x, layer)
    masks = interpolate(A[:, None], x.shape[-2:], mode="bilinear", align_corners=False)
    weights = network(x * masks)[:, target]
    return (weights[:, None, None] * A).sum(0)


def ours_score_cam(network: nn.Module, x: Tensor, layer: str = "relu2") -> Tensor:
    return pellucid.explain(network, x, "score-cam", layer=layer, target=7).raw[0]


class Shifted(nn.Module):
    """The same network with all logits higher, which changes no probability."""

    def __init__(self, network: nn.Module, by: float) -> None:
        super().__init__()
        self.network, self.by = network, by

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) + self.by


def scaled(by: float) -> nn.Module:
    """The same function, with larger activations in the layer and smaller weights behind it."""
    made = deepcopy(net())
    with torch.no_grad():
        made.conv2.weight *= by
        made.conv2.bias *= by
        made.fc1.weight /= by
    return made.eval()


@pytest.fixture
def three() -> Tensor:
    """A held-out 3, asked why it might be a 7: a class whose logits are not all alike."""
    return few().test.inputs[2:3].clone()


def test_score_cam_with_logits_changes_with_a_constant_that_changes_no_answer(three: Tensor):
    shifted = Shifted(net(), 20.0).eval()
    assert torch.allclose(net()(three).softmax(1), shifted(three).softmax(1), atol=1e-5)
    wrong = tutorial_score_cam(net(), three, 7), tutorial_score_cam(shifted, three, 7, "network.relu2")
    ours = ours_score_cam(net(), three), ours_score_cam(shifted, three, "network.relu2")
    assert correlation(*ours) > 0.9999
    assert correlation(*wrong) < 0.5


def test_score_cam_with_masks_as_they_come_depends_on_the_scale_of_the_layer(three: Tensor):
    tenth = scaled(0.1)
    assert torch.allclose(net()(three), tenth(three), rtol=1e-3, atol=1e-3)
    wrong = correlation(*(tutorial_score_cam(network, three, 7) for network in (net(), tenth)))
    ours = correlation(*(ours_score_cam(network, three) for network in (net(), tenth)))
    assert ours > 0.9999
    assert wrong < 0.98  # .83 to .95, as the network was trained by one PyTorch or another


def test_score_cam_of_tutorials_and_ours_differ_on_the_same_digit(three: Tensor):
    wrong, ours = tutorial_score_cam(net(), three, 7), ours_score_cam(net(), three)
    assert correlation(wrong, ours) < 0.7
    assert (wrong < 0).any()
    assert (ours >= 0).all()


# --- LIME ---------------------------------------------------------------------------------------------------


def test_a_normalised_picture_times_255_as_bytes_is_another_picture(x: Tensor):
    bytes_ = (x[0, 0] * 255).numpy().astype(np.int64).astype(np.uint8)  # what LIME is given in tutorials
    true = few().test.images[SEVEN]
    black = true == 0
    assert (bytes_[black] == (int(x.min() * 255) % 256)).all()  # -0.42 wraps round: black became grey
    assert bytes_[black][0] > 100
    # The network normalises it once more, and sees what it never learned.
    again = (torch.from_numpy(bytes_.astype(np.float32)) / 255 - 0.1307) / 0.3081
    right, wrong = net()(x).softmax(1)[0, 7], net()(again[None, None]).softmax(1)[0, 7]
    assert right > 0.5
    assert wrong < right / 2


def test_rows_of_class_and_probability_explain_the_number_of_the_class(x: Tensor):
    def numbers(raw: Tensor) -> Tensor:  # the first column of [class, probability]
        return raw.argmax(1).float()

    options = {"segments": "grid:7", "samples": 500, "seed": 0}
    wrong = pellucid.explain(net(), x, "lime", target=numbers, **options)
    ours = pellucid.explain(net(), x, "lime", target=7, output="probability", **options)
    assert float(wrong.score[0]) == 7.0  # because it is a 7: a 2 would score 2, and a 0 nothing
    assert float(ours.score[0]) == pytest.approx(float(net()(x).softmax(1)[0, 7]), abs=1e-5)
    assert correlation(wrong.raw, ours.raw) < 0.9


def test_a_hundred_samples_of_49_segments_are_too_few_and_ours_say_so(x: Tensor):
    maps = [
        pellucid.explain(net(), x, "lime", target=7, segments="grid:7", samples=samples, seed=seed)
        for samples, seed in ((100, 0), (100, 1), (2000, 0), (2000, 1))
    ]
    assert correlation(maps[0].raw, maps[1].raw) < 0.95
    assert correlation(maps[2].raw, maps[3].raw) > 0.98
    assert maps[0].stderr.mean() > 2 * maps[2].stderr.mean()


def test_quickshift_finds_next_to_nothing_on_so_few_pixels_and_a_grid_is_taken(x: Tensor):
    digit = few().test.picture(SEVEN)
    e = pellucid.explain(learned("cnn", epochs=2).model(), digit, "lime", target="7", samples=100)
    assert any("quickshift finds" in warning for warning in e.warnings)
    assert int(e.details["segments"].max()) == 48


def test_cells_hidden_by_their_mean_leave_the_digit_readable(x: Tensor):
    """LIME's usual replacement hides nothing here: a digit of 7 by 7 means is still that digit."""
    images, labels = few().test.inputs, few().test.targets
    means = interpolate(avg_pool2d(images, 4), scale_factor=4)  # all 49 cells of 4 by 4 pixels hidden
    with torch.no_grad():
        right = (net()(means).argmax(1) == labels).float().mean()
    assert right > 0.85
    digit, network = few().test.picture(SEVEN), learned("cnn", epochs=2).model()
    options = {"target": "7", "segments": "grid:7", "samples": 500}
    by_mean = pellucid.explain(network, digit, "lime", **options)
    by_black = pellucid.explain(network, digit, "lime", baseline="black", **options)
    assert by_black.raw.abs().max() > 20 * by_mean.raw.abs().max()
