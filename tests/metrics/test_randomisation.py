"""Metrics of randomisation against models whose weights are drawn anew by hand."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from judging import linear
from scipy.stats import entropy, spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor, nn

import pellucid
from pellucid.engine.redrawing import redraw, redrawable
from pellucid.errors import InvalidValue
from pellucid.measure import measure
from pellucid.metrics.retrained import mege
from zoo import seeded, trained_statistics

METHOD, TARGET, SEED = "input-x-gradient", 1, 7


class Net(nn.Module):
    """Four modules with weights, the last of which is listed in another order than it is run."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 4)
        self.conv1, self.bn, self.conv2 = (
            nn.Conv2d(3, 6, 3),
            nn.BatchNorm2d(6),
            nn.Conv2d(6, 5, 3, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv2(self.bn(self.conv1(x)).relu()).relu().mean((2, 3)))


NAMES = ["fc", "conv1", "bn", "conv2"]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    x = torch.randn(8, 3, 12, 14, generator=torch.Generator().manual_seed(5))
    net = trained_statistics(seeded(Net), x).double()
    nn.init.uniform_(net.bn.weight, 0.5, 1.5)
    nn.init.uniform_(net.bn.bias, -0.5, 0.5)
    return net


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 12, 14, dtype=torch.float64)


def drawn_anew(net: nn.Module, names: list[str]) -> nn.Module:
    """A copy, with uniform weights in +-1 / sqrt(fan in), as PyTorch's layers have them; norms 1 and 0."""
    copy = deepcopy(net)
    numbers = [name for name, _ in net.named_modules()]
    for name in names:
        part, drawn = (
            copy.get_submodule(name),
            torch.Generator().manual_seed(SEED * 1_000_003 + numbers.index(name)),
        )
        with torch.no_grad():
            if name == "bn":
                part.weight.fill_(1)
                part.bias.fill_(0)
                continue
            bound = 1 / math.sqrt(part.weight[0].numel())
            part.weight.uniform_(-bound, bound, generator=drawn)
            if part.bias is not None:
                part.bias.uniform_(-bound, bound, generator=drawn)
    return copy


def summed(net: nn.Module, x: Tensor, target: int = TARGET, method: str = METHOD) -> np.ndarray:
    return pellucid.explain(net, x, method, target=target, progress=False).attribution.sum(1).numpy()


STEPS = {
    ("top-down", 4): [NAMES[3:], NAMES[2:], NAMES[1:], NAMES],
    ("top-down", 2): [["conv2", "bn"], NAMES],
    ("bottom-up", 4): [NAMES[:1], NAMES[:2], NAMES[:3], NAMES],
    ("independent", 4): [["conv2"], ["bn"], ["conv1"], ["fc"]],
    ("independent", 50): [["conv2"], ["bn"], ["conv1"], ["fc"]],
}


def test_weights_are_drawn_anew_as_their_modules_draw_them(net: nn.Module):
    assert redrawable(net) == NAMES
    state, copy = torch.get_rng_state(), deepcopy(net)
    redraw(copy, NAMES, SEED)
    assert torch.equal(torch.get_rng_state(), state)
    twin = drawn_anew(net, NAMES).state_dict()
    for name, value in copy.state_dict().items():
        assert torch.allclose(value, twin[name], rtol=1e-12), name
        kept = any(word in name for word in ("running", "tracked"))
        assert torch.equal(value, net.state_dict()[name]) == kept, name  # all weights change, statistics stay
    alone = deepcopy(net)
    redraw(alone, ["conv2"], SEED)
    assert torch.equal(alone.conv2.weight, copy.conv2.weight)
    assert not torch.equal(alone.fc.weight, copy.fc.weight)


@pytest.mark.parametrize(("order", "steps"), STEPS)
def test_mprt_is_its_twin(net: nn.Module, x: Tensor, order: str, steps: int):
    map = pellucid.explain(net, x, METHOD, target=TARGET, progress=False).attribution
    found = measure(net, x, map, "mprt", method=METHOD, target=TARGET, order=order, steps=steps, seed=SEED)
    own, changed = summed(net, x), [summed(drawn_anew(net, names), x) for names in STEPS[order, steps]]
    for image in range(2):
        twin = [spearmanr(own[image].flatten(), other[image].flatten()).statistic for other in changed]
        assert found.details["similarity"][image].tolist() == pytest.approx(twin, abs=1e-5)
        assert found.value[image].item() == pytest.approx(sum(twin) / len(twin), abs=1e-5)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    return float(structural_similarity(a / abs(a).max(), b / abs(b).max(), data_range=2, win_size=7))


def test_magnitudes_and_structural_similarity(net: nn.Module, x: Tensor):
    map = pellucid.explain(net, x, METHOD, target=TARGET, progress=False).attribution
    options = {"method": METHOD, "target": TARGET, "steps": 1, "seed": SEED}
    own, changed = summed(net, x)[0], summed(drawn_anew(net, NAMES), x)[0]
    found = measure(net, x, map, "mprt", absolute=True, **options).value[0].item()
    assert found == pytest.approx(spearmanr(abs(own).flatten(), abs(changed).flatten()).statistic, abs=1e-5)
    found = measure(net, x, map, "mprt", similarity="ssim", **options).value[0].item()
    assert found == pytest.approx(ssim(own.astype("f8"), changed.astype("f8")), abs=1e-5)


def test_smooth_mprt_averages_over_noise(net: nn.Module, x: Tensor):
    one, seen = x[:1], []
    map = pellucid.explain(net, one, METHOD, target=TARGET, progress=False).attribution
    options = {"method": METHOD, "target": TARGET, "steps": 2, "seed": SEED}
    still = measure(net, one, map, "smooth-mprt:noise=0,samples=2", **options)
    assert still.value.item() == pytest.approx(
        measure(net, one, map, "mprt", **options).value.item(), abs=1e-5
    )
    handle = net.register_forward_pre_hook(lambda module, args: seen.extend(args[0].detach().clone()))
    found = measure(net, one, map, "smooth-mprt:samples=3,noise=0.2", **options)
    handle.remove()
    copies = list({round(float(c.sum()), 6): c for c in seen if not torch.equal(c, one[0])}.values())
    assert len(copies) == 3
    spread = (torch.stack(copies) - one).std().item() / float(one.max() - one.min())
    assert spread == pytest.approx(0.2, rel=0.05)
    nets = [net, *(drawn_anew(net, names) for names in STEPS["top-down", 2])]
    own, *changed = (np.mean([summed(n, c[None])[0] for c in copies], 0) for n in nets)
    twin = [spearmanr(own.flatten(), other.flatten()).statistic for other in changed]
    assert found.details["similarity"][0].tolist() == pytest.approx(twin, abs=1e-4)


def test_efficient_mprt_is_its_twin(net: nn.Module, x: Tensor):
    map = pellucid.explain(net, x, METHOD, target=TARGET, progress=False).attribution
    found = measure(net, x, map, "efficient-mprt", method=METHOD, target=TARGET, seed=SEED)
    own, other = summed(net, x).astype("f8"), summed(drawn_anew(net, NAMES), x).astype("f8")
    for image in range(2):
        before, after = (entropy(np.histogram(maps[image], bins=100)[0]) for maps in (own, other))
        assert found.value[image].item() == pytest.approx((after - before) / before, abs=0.01)
    with pytest.raises(InvalidValue, match="all its pixels fall in one bin"):
        measure(net, x, 0 * map, "efficient-mprt", method=METHOD, target=TARGET)


def test_the_random_logit_is_another_class_of_each_image(net: nn.Module, x: Tensor):
    map = pellucid.explain(net, x, METHOD, target=[1, 3], progress=False).attribution
    drawn = set()
    maps = [summed(net, x, target).astype("f8") for target in range(4)]
    own = map.sum(1).double().numpy()
    others = [[ssim(own[image], of_class[image]) for of_class in maps] for image in range(2)]
    for seed in range(4):
        found = measure(net, x, map, "random-logit", method=METHOD, target=[1, 3], seed=seed).value
        which = [
            next(t for t in range(4) if value == pytest.approx(row[t], abs=1e-5))
            for value, row in zip(found.tolist(), others, strict=True)
        ]
        assert (which[0] - 1) % 4 == (which[1] - 3) % 4 != 0
        drawn.add(which[0])
    assert len(drawn) > 1
    with pytest.raises(InvalidValue, match="needs a class as the target"):
        measure(net, x, map, "random-logit", method=METHOD, target=pellucid.Contrast(1, 2))


def test_a_map_that_does_not_depend_on_the_class(net: nn.Module, x: Tensor):
    map = pellucid.explain(net, x, "eigen-cam:layer=conv2", target=TARGET, progress=False).attribution
    found = measure(net, x, map, "random-logit", method="eigen-cam:layer=conv2", target=TARGET)
    assert found.value.tolist() == pytest.approx([1, 1], abs=1e-6)


def test_gradients_are_invariant_to_a_shift_and_products_with_the_input_are_not(net: nn.Module, x: Tensor):
    def value(net: nn.Module, method: str, **options: object) -> list[float]:
        map = pellucid.explain(net, x, method, target=TARGET, progress=False).attribution
        found = measure(net, x, map, "input-invariance", method=method, target=TARGET, **options)
        return found.value.tolist()

    assert value(net, "saliency") == pytest.approx([0, 0], abs=1e-5)
    flat = linear(size=(12, 14))
    w = flat.weight(TARGET).expand_as(x)
    expected = [float((0.5 * w[i]).norm() / (x[i] * w[i]).norm()) for i in range(2)]
    assert value(flat, "input-x-gradient", shift=0.5) == pytest.approx(expected, rel=1e-5)
    assert value(flat, "integrated-gradients", shift=0.5) == pytest.approx(expected, rel=1e-4)


def test_what_cannot_be_compared_says_why(net: nn.Module, x: Tensor):
    for name in ("mprt", "random-logit"):
        with pytest.raises(InvalidValue, match="it is the same everywhere"):
            measure(net, x, torch.ones(2, 3, 12, 14), name, method=METHOD, target=TARGET)
    weightless = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(InvalidValue, match=r"has a reset_parameters\(\)"):
        measure(weightless, x, torch.randn(2, 3, 12, 14), "mprt", method=METHOD, target=TARGET)


def test_mege_and_reco_are_their_twins():
    maps = torch.randn(3, 4, 2, 5, 6, dtype=torch.float64)
    right = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 0]]).bool()
    same, differ = [], []
    for image in range(4):
        for i in range(3):
            for j in range(i):
                a, b = (maps[k, image].sum(0).flatten() for k in (i, j))
                distance = 1 - spearmanr(a, b).statistic
                if right[i, image] and right[j, image]:
                    same.append(distance)
                elif right[i, image] != right[j, image]:
                    differ.append(distance)
    assert (len(same), len(differ)) == (5, 4)
    told = [
        sum(d <= g for d in same) / 5 + sum(d > g for d in differ) / 4 - 1 for g in [*same, *differ, 0.0, 2.0]
    ]
    found = mege(maps, right)
    assert found.mege == pytest.approx(1 / (1 + sum(same) / 5))
    assert found.reco == pytest.approx(max(told))
    alike = mege(maps[:1].expand(3, -1, -1, -1, -1), right)
    assert alike == (pytest.approx(1), pytest.approx(0))
    assert math.isnan(mege(maps, torch.zeros_like(right)).mege)
    apart = torch.cat([maps[:1], maps[:1], -maps[:1]])
    perfect = mege(apart, torch.tensor([[1] * 4, [1] * 4, [0] * 4]).bool())
    assert perfect == (pytest.approx(1), pytest.approx(1))
    with pytest.raises(InvalidValue, match="at least two networks; got 1"):
        mege(maps[:1], right[:1])
