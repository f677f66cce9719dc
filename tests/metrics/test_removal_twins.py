"""Metrics that remove pixels, patches or superpixels: slow literal twins, and closed forms."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.measure import measure

H, W = 6, 9
TARGET = 1


class Curved(nn.Module):
    """A small network in float64 whose score is no sum over pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).tanh().mean((2, 3)))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return Curved().double().eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(2, 3, H, W, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture(scope="module")
def maps() -> Tensor:
    return torch.randn(2, 3, H, W, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def linear() -> tuple[nn.Module, Tensor, Tensor]:
    """A linear model, an input, and the perfect map: what each pixel contributes to the score."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * H * W, 2)).double()
    x = torch.rand(1, 3, H, W, dtype=torch.float64)
    contributions = net[1].weight[TARGET].detach().view(1, 3, H, W) * x
    return net, x, contributions


def scored(net: nn.Module, picture: np.ndarray, output: str) -> float:
    with torch.no_grad():
        raw = net(torch.from_numpy(picture)[None])[0]
    return float(raw.softmax(0)[TARGET] if output == "probability" else raw[TARGET])


def trapezoids(values: list[float], places: list[float] | None = None) -> float:
    """The area under values over [0, 1], equally spaced unless their places are given."""
    places = places or [k / (len(values) - 1) for k in range(len(values))]
    widths = [right - left for left, right in pairwise(places)]
    return sum(w * (a + b) / 2 for w, (a, b) in zip(widths, pairwise(values), strict=True))


# ---------------------------------------------------------------- twins


def pixels_removed(
    net: nn.Module, x: np.ndarray, map: np.ndarray, steps: int, fill: np.ndarray, output: str, least: bool
) -> list[float]:
    """Scores with 0, 1 / steps, ... of the pixels replaced, one pixel after another."""
    evidence = {(i, j): sum(map[c, i, j] for c in range(3)) for i in range(H) for j in range(W)}
    ranked = sorted(evidence, key=lambda at: evidence[at], reverse=not least)
    picture, scores = x.copy(), [scored(net, x, output)]
    done = 0
    for step in range(1, steps + 1):
        while done < H * W * step // steps:
            i, j = ranked[done]
            for c in range(3):
                picture[c, i, j] = fill[c]
            done += 1
        scores.append(scored(net, picture, output))
    return scores


def patch_lists(side: int) -> list[list[tuple[int, int]]]:
    return [
        [(i, j) for i in range(top, min(top + side, H)) for j in range(left, min(left + side, W))]
        for top in range(0, H, side)
        for left in range(0, W, side)
    ]


def regions_removed(
    net: nn.Module,
    x: np.ndarray,
    map: np.ndarray,
    regions: list[list[tuple[int, int]]],
    fill: np.ndarray,
    output: str,
    *,
    least: bool = False,
    mean: bool = False,
) -> list[float]:
    """Scores with none, one, ... of the regions replaced."""
    evidence = []
    for region in regions:
        total = sum(map[c, i, j] for c in range(3) for i, j in region)
        evidence.append(total / len(region) if mean else total)
    ranked = sorted(range(len(regions)), key=lambda r: evidence[r], reverse=not least)
    picture, scores = x.copy(), [scored(net, x, output)]
    for r in ranked:
        for i, j in regions[r]:
            picture[:, i, j] = fill
        scores.append(scored(net, picture, output))
    return scores


ZERO = np.zeros(3)


def colour(x: np.ndarray) -> np.ndarray:
    return np.array([sum(x[c].ravel()) / (H * W) for c in range(3)])


def twin_pixel_flipping(net: nn.Module, x: np.ndarray, map: np.ndarray) -> float:
    places = [H * W * k // 7 / (H * W) for k in range(8)]
    return trapezoids(pixels_removed(net, x, map, 7, ZERO, "logit", False), places)


def twin_morf(net: nn.Module, x: np.ndarray, map: np.ndarray) -> float:
    return trapezoids(pixels_removed(net, x, map, 6, colour(x), "probability", False))


def twin_lerf(net: nn.Module, x: np.ndarray, map: np.ndarray) -> float:
    return trapezoids(pixels_removed(net, x, map, 6, colour(x), "probability", True))


def twin_srg(net: nn.Module, x: np.ndarray, map: np.ndarray) -> float:
    return twin_lerf(net, x, map) - twin_morf(net, x, map)


def twin_selectivity(net: nn.Module, x: np.ndarray, map: np.ndarray) -> float:
    return trapezoids(regions_removed(net, x, map, patch_lists(2), ZERO, "logit"))


def twin_aopc(net: nn.Module, x: np.ndarray, map: np.ndarray) -> float:
    scores = regions_removed(net, x, map, patch_lists(2), np.full(3, 0.3), "logit")[:6]
    return sum(scores[0] - s for s in scores) / 6


def twin_region_perturbation(net: nn.Module, x: np.ndarray, map: np.ndarray) -> float:
    scores = regions_removed(net, x, map, patch_lists(2), np.full(3, 0.3), "logit", least=True)[:6]
    return sum(scores[0] - s for s in scores[1:]) / 5


def twin_irof(net: nn.Module, x: np.ndarray, map: np.ndarray) -> float:
    blocks: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i in range(H):
        for j in range(W):
            blocks.setdefault((i * 4 // H, j * 4 // W), []).append((i, j))
    scores = regions_removed(net, x, map, list(blocks.values()), colour(x), "probability", mean=True)
    return 1 - trapezoids([s / scores[0] for s in scores])


TWINS: dict[str, Callable[[nn.Module, np.ndarray, np.ndarray], float]] = {
    "pixel-flipping:steps=7": twin_pixel_flipping,
    "morf:steps=6": twin_morf,
    "lerf:steps=6": twin_lerf,
    "srg:steps=6": twin_srg,
    "selectivity:patch=2": twin_selectivity,
    "aopc:patch=2,regions=5,replacement=0.3": twin_aopc,
    "region-perturbation:patch=2,regions=5,replacement=0.3,order=lerf": twin_region_perturbation,
    "irof:segments=grid:4": twin_irof,
}


@pytest.mark.parametrize("spec", TWINS)
def test_equals_a_slow_literal_twin(spec: str, net: nn.Module, x: Tensor, maps: Tensor):
    found = measure(net, x, maps, spec, target=TARGET).value
    twins = [TWINS[spec](net, one.numpy(), map.numpy()) for one, map in zip(x, maps, strict=True)]
    assert found.tolist() == pytest.approx(twins, abs=1e-12)
    assert twins[0] != pytest.approx(twins[1], abs=1e-4)


# ---------------------------------------------------------------- closed forms


def test_of_a_linear_model_the_perfect_map_has_the_lowest_curve_of_all():
    net, x, contributions = linear()
    pixels = contributions.sum(1).flatten().sort(descending=True).values
    bias = net[1].bias[TARGET].item()
    curve = [pixels[k:].sum().item() + bias for k in range(H * W + 1)]
    options = {"steps": H * W, "target": TARGET}
    perfect = measure(net, x, contributions, "pixel-flipping", **options)
    assert perfect.details["curve"][0].tolist() == pytest.approx(curve, abs=1e-12)
    others = torch.randn(20, 1, H, W, dtype=torch.float64)
    for other in others:
        assert measure(net, x, other[None], "pixel-flipping", **options).value > perfect.value


def test_of_a_linear_model_the_gain_of_the_perfect_map_turns_round_with_its_sign():
    net, x, contributions = linear()
    options = {"replacement": 0.0, "output": "logit", "target": TARGET}
    gain = measure(net, x, contributions, "srg", **options).value
    assert gain.item() > 0
    assert measure(net, x, -contributions, "srg", **options).value.item() == pytest.approx(-gain.item())


@pytest.mark.parametrize("name", ["deletion", "pixel-flipping", "morf", "lerf", "selectivity"])
def test_curves_of_all_maps_share_their_ends(name: str, net: nn.Module, x: Tensor, maps: Tensor):
    options = {"replacement": 0.3, "output": "logit", "target": TARGET}
    curves = [measure(net, x, m, name, **options).details["curve"] for m in (maps, maps.flip(2), -maps)]
    with torch.no_grad():
        whole, gone = net(x)[:, TARGET], net(torch.full_like(x, 0.3))[:, TARGET]
    for curve in curves:
        assert torch.allclose(curve[:, 0], whole)
        assert torch.allclose(curve[:, -1], gone)
    assert not torch.allclose(curves[0], curves[2])


def test_the_two_curves_of_the_gain_are_morf_and_lerf(net: nn.Module, x: Tensor, maps: Tensor):
    both = measure(net, x, maps, "srg", target=TARGET)
    for name in ("morf", "lerf"):
        one = measure(net, x, maps, name, target=TARGET)
        assert torch.allclose(both.details[name], one.details["curve"])


def test_a_constant_map_gains_nothing_and_is_judged_as_a_random_one(net: nn.Module, x: Tensor):
    constant = torch.ones(2, 1, H, W)
    assert measure(net, x, constant, "srg", target=TARGET).value.tolist() == [0.0, 0.0]
    random = measure(net, x, constant, "region-perturbation:order=random,patch=3", target=TARGET).value
    assert torch.equal(measure(net, x, constant, "region-perturbation:patch=3", target=TARGET).value, random)


def test_a_random_order_knows_nothing_of_the_map(net: nn.Module, x: Tensor, maps: Tensor):
    spec = "region-perturbation:order=random,patch=2"
    values = [measure(net, x, m, spec, target=TARGET).value for m in (maps, -maps)]
    assert torch.equal(*values)
    assert not torch.equal(
        measure(net, x, maps, "region-perturbation:patch=2", target=TARGET).value, values[0]
    )


def test_a_one_hot_map_removes_its_pixel_first(net: nn.Module, x: Tensor):
    map = torch.zeros(2, 1, H, W)
    map[:, 0, 3, 4] = 1
    gone = x.clone()
    gone[:, :, 3, 4] = 0
    curve = measure(net, x, map, "pixel-flipping", steps=H * W, target=TARGET).details["curve"]
    with torch.no_grad():
        assert torch.allclose(curve[:, 1], net(gone)[:, TARGET])


def test_regions_are_no_more_than_there_are(net: nn.Module, x: Tensor, maps: Tensor):
    found = measure(net, x, maps, "aopc:patch=4", target=TARGET)
    assert found.details["curve"].shape == (2, 2 * 3 + 1)
    assert found.cost.forward - 2 * 7 in (0, 2)


def test_irof_of_a_picture_that_the_model_gives_nothing_says_so(maps: Tensor):
    nothing = nn.Sequential(nn.Flatten(), nn.Linear(3 * H * W, 1)).double()
    nn.init.zeros_(nothing[1].weight)
    nn.init.zeros_(nothing[1].bias)
    with pytest.raises(
        Exception, match="irof has no value for this map: the score of the whole picture is 0"
    ):
        measure(nothing, torch.ones(1, 3, H, W).double(), maps[:1], "irof:segments=grid:2", output="logit")


def test_irof_cuts_a_photograph_by_slic_alone_or_among_others(net: nn.Module, cat: object):
    from torchvision.transforms.functional import to_tensor

    x = to_tensor(cat)[None, :, 100:164, 200:264].double()  # type: ignore[arg-type]
    map = torch.rand(1, 1, 64, 64)
    both = measure(net, torch.cat([x, x.flip(3)]), torch.cat([map, map]), "irof", target=TARGET).value
    assert both[0].item() == pytest.approx(measure(net, x, map, "irof", target=TARGET).value.item())


def test_an_order_that_is_none_is_refused(net: nn.Module, x: Tensor, maps: Tensor):
    with pytest.raises(ValueError, match="order must be one of morf"):
        measure(net, x, maps, "region-perturbation:order=first")
