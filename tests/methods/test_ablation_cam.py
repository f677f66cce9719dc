"""Ablation-CAM: closed forms on conv -> ReLU -> GAP -> FC, and what it says about odd scores."""

import pytest
import torch
from torch import nn

import pellucid
from nets import TinyCNN, watched
from zoo import GapNet, images, seeded


def gap_net(bias: bool = True) -> nn.Module:
    return seeded(GapNet, bias=bias).double()


def parts(module: GapNet, x: torch.Tensor, target: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A (N, K, h, w), w_k F_k (N, K), and the score (N,)."""
    with torch.no_grad():
        A = module.relu(module.conv(x))
        return A, module.fc.weight[target] * A.mean((2, 3)), module(x)[:, target]


@pytest.mark.parametrize("target", range(5))
def test_behind_a_pool_and_one_linear_a_channel_weighs_its_share_of_the_score(target):
    module, x = gap_net(), images()
    A, gone, S = parts(module, x, target)
    e = pellucid.explain(module, x, "ablation-cam", layer="relu", target=target)
    weights = gone / S.abs()[:, None]
    torch.testing.assert_close(e.details["weights"], weights)
    torch.testing.assert_close(e.raw, torch.einsum("nk,nkhw->nhw", weights, A).relu())


def test_a_negative_score_does_not_turn_the_map_around():
    module, x = gap_net(), images()
    low = int(module(x).mean(0).argmin())
    _, gone, S = parts(module, x, low)
    assert (S < 0).all()
    e = pellucid.explain(module, x, "ablation-cam", layer="relu", target=low, signed=True)
    hirescam = pellucid.explain(module, x, "hirescam", layer="relu", target=low, signed=True)
    assert ((e.details["weights"] > 0) == (gone > 0)).all()
    a, b = (m.raw.flatten() for m in (e, hirescam))
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.5


def test_a_score_of_zero_has_no_shares_and_it_is_said():
    module, x = gap_net(bias=False), images(1)
    _, gone, S = parts(module, x, 0)
    e = pellucid.explain(module, x, "ablation-cam", layer="relu", signed=True,
                         target=lambda raw: raw[:, 0] - S[0])  # fmt: skip
    torch.testing.assert_close(e.details["weights"], gone)
    assert any("close to 0" in warning for warning in e.warnings)
    plain = pellucid.explain(module, x, "ablation-cam", layer="relu", signed=True, target=0)
    assert not plain.warnings
    torch.testing.assert_close(e.raw / e.raw.abs().max(), plain.raw / plain.raw.abs().max())


def test_each_image_of_a_batch_is_ablated_alone_for_its_own_target():
    module, x = gap_net(), images(3)
    e = pellucid.explain(module, x, "ablation-cam", layer="relu", target=[0, 4, 2], signed=True)
    for i, target in enumerate([0, 4, 2]):
        alone = pellucid.explain(
            module, x[i : i + 1], "ablation-cam", layer="relu", target=target, signed=True
        )
        torch.testing.assert_close(e.raw[i : i + 1], alone.raw)


def test_a_contrast_is_the_difference_of_what_two_classes_lose():
    module, x = gap_net(), images(2)
    _, a, Sa = parts(module, x, 1)
    _, b, Sb = parts(module, x, 3)
    e = pellucid.explain(module, x, "ablation-cam", layer="relu", target=pellucid.Contrast(1, 3))
    torch.testing.assert_close(e.details["weights"], (a - b) / (Sa - Sb).abs()[:, None])


def test_it_costs_one_forward_pass_and_the_head_once_per_channel():
    module, counter = watched(seeded(TinyCNN).double())
    x = images(2)
    e = pellucid.explain(module, x, "ablation-cam", layer="net.conv2")
    # the batch; two versions run alone, once; for each image the part before the layer
    assert counter.forward == [2, 1, 1, 1, 1]
    assert (e.cost.forward, e.cost.backward, e.cost.resumed) == (6, 0, 2 * (8 + 1))
    method = pellucid.METHODS["ablation-cam"]
    assert method.cost(method.resolve_options({})) == (1, 0, 0, 1)


def test_two_requests_about_one_layer_ablate_it_once():
    module, counter = watched(seeded(TinyCNN).double())
    c = pellucid.compare(module, images(1), ["ablation-cam", "ablation-cam:signed=true"], verdict=False)
    assert len(counter.forward) == 1 + 2 + 1
    assert [e.cost.resumed for e in c.explanations] == [9, 9]
    assert c.cost.resumed == 9


def test_several_layers_are_ablated_each():
    module = seeded(TinyCNN).double()
    e = pellucid.explain(module, images(1), "ablation-cam", layer=["conv1", "conv2"])
    assert e.cost.resumed == (6 + 1) + (8 + 1)


def test_its_cost_is_told_and_kept(tmp_path):
    e = pellucid.explain(seeded(TinyCNN).double(), images(1), "ablation-cam")
    e.save(tmp_path / "e.npz")
    assert pellucid.Explanation.load(tmp_path / "e.npz").cost == e.cost
