"""Metrics of localisation against loops over pixels, closed forms and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from judging import judged, truth_of
from skimage.measure import label
from sklearn.metrics import roc_auc_score
from torch import Tensor

from pellucid.errors import InvalidValue

SIZE = (9, 11)
TRUTH = truth_of((2, 5, 3, 9), (0, 9, 0, 2), (6, 8, 1, 4), size=SIZE)
LSHAPE = TRUTH.clone()
LSHAPE[0, 2, 3:8] = LSHAPE[1, 2:8, 0] = False


@pytest.fixture
def maps() -> Tensor:
    """Signed, three channels, with ties."""
    drawn = torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return (drawn * 2).round() / 2


def summed(map: Tensor) -> np.ndarray:
    return map.sum(0).numpy()


def pointing_game(map: np.ndarray, truth: np.ndarray, tolerance: float) -> float:
    hits = []
    for i, j in np.argwhere(map == map.max()):
        near = [math.hypot(i - k, j - m) for k, m in np.argwhere(truth)]
        hits.append(min(near) == 0 or min(near) < tolerance)
    return sum(hits) / len(hits)


def top_share(map: np.ndarray, truth: np.ndarray, k: int, orders: int = 4000) -> float:
    """The mean over ties broken at random."""
    drawn, total = np.random.default_rng(0), 0.0
    for _ in range(orders):
        shuffled = drawn.permutation(map.size)
        first = shuffled[np.argsort(-map.flatten()[shuffled], kind="stable")][:k]
        total += truth.flatten()[first].mean()
    return total / orders


def iou(map: np.ndarray, truth: np.ndarray, threshold: float, boxed: bool) -> float:
    parts = label(map >= threshold * map.max(), connectivity=1)
    best = max(range(1, parts.max() + 1), key=lambda n: ((parts == n).sum(), map[parts == n].sum()))
    areas = []
    for region in (parts == best, truth):
        at = np.argwhere(region)
        if boxed:
            (top, left), (bottom, right) = at.min(0), at.max(0)
            at = [(i, j) for i in range(top, bottom + 1) for j in range(left, right + 1)]
        areas.append({(int(i), int(j)) for i, j in at})
    return len(areas[0] & areas[1]) / len(areas[0] | areas[1])


@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 3])
def test_the_pointing_game_is_its_twin(maps: Tensor, tolerance: float):
    found = judged("pointing-game", maps, truth=TRUTH, tolerance=tolerance).value
    twin = [pointing_game(summed(m), t.numpy(), tolerance) for m, t in zip(maps, TRUTH, strict=True)]
    assert found.tolist() == pytest.approx(twin)


def test_the_pointing_game_counts_what_is_closer_than_the_tolerance():
    truth, map = truth_of((0, 1, 0, 1), size=(1, 30)), torch.zeros(1, 1, 1, 30)
    map[0, 0, 0, 14] = 1
    assert judged("pointing-game", map, truth=truth).value.item() == 1  # 14 pixels away
    assert judged("pointing-game", map.roll(1, -1), truth=truth).value.item() == 0  # 15


def test_a_tie_hits_by_the_share_of_its_pixels_that_hit():
    constant = torch.ones(1, 1, *SIZE)
    found = judged("pointing-game", constant, truth=TRUTH[:1], tolerance=0).value.item()
    assert found == pytest.approx(18 / 99)


def test_the_energy_in_the_box_is_that_of_positive_evidence(maps: Tensor):
    found = judged("energy-pointing-game", maps, truth=LSHAPE).value
    twin = []
    for map, truth in zip(maps, TRUTH, strict=True):  # the boxes around the masks
        positive = np.maximum(summed(map), 0)
        twin.append(sum(positive[i, j] for i, j in np.argwhere(truth.numpy())) / positive.sum())
    assert found.tolist() == pytest.approx(twin)
    constant = judged("energy-pointing-game", torch.ones(3, 1, *SIZE), truth=TRUTH).value
    assert constant.tolist() == pytest.approx([18 / 99, 18 / 99, 6 / 99])


POOLINGS = {
    "positive-sum": lambda channels: max(sum(channels), 0),
    "max-norm": lambda channels: max(abs(a) for a in channels),
    "squared-l2": lambda channels: sum(a * a for a in channels),
}


def pooled(map: Tensor, pooling: str) -> np.ndarray:
    channels = map.numpy()
    return np.array([[POOLINGS[pooling](channels[:, i, j]) for j in range(SIZE[1])] for i in range(SIZE[0])])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_relevance_mass_and_rank_are_their_twins(maps: Tensor, pooling: str):
    mass = judged("relevance-mass", maps, truth=LSHAPE, pooling=pooling).value
    rank = judged("relevance-rank", maps, truth=LSHAPE, pooling=pooling).value
    for image, (map, truth) in enumerate(zip(maps, LSHAPE.numpy(), strict=True)):
        relevance = pooled(map, pooling)
        assert mass[image].item() == pytest.approx(relevance[truth].sum() / relevance.sum())
        assert rank[image].item() == pytest.approx(top_share(relevance, truth, truth.sum()), abs=0.02)


def test_top_k_is_its_twin(maps: Tensor):
    found = judged("top-k-intersection", maps, truth=TRUTH, k=7).value
    twin = [top_share(summed(m), t.numpy(), 7) for m, t in zip(maps, TRUTH, strict=True)]
    assert found.tolist() == pytest.approx(twin, abs=0.02)


def test_the_right_map_and_its_negative():
    right = TRUTH[:, None].double()
    for name in ("relevance-mass", "relevance-rank", "energy-pointing-game", "localisation-auc",
                 "localisation-iou", "pointing-game"):  # fmt: skip
        assert judged(name, right, truth=TRUTH).value.tolist() == [1, 1, 1], name
    assert judged("top-k-intersection:k=6", right, truth=TRUTH).value.tolist() == [1, 1, 1]
    assert judged("localisation-auc", -right, truth=TRUTH).value.tolist() == [0, 0, 0]
    assert judged("pointing-game:tolerance=0", -right, truth=TRUTH).value.tolist() == [0, 0, 0]
    wrong = judged("energy-pointing-game", right, truth=TRUTH.roll(1, 0))
    assert wrong.value.tolist() == pytest.approx([0, 0, 2 / 6])
    for name in ("energy-pointing-game", "localisation-iou"):
        with pytest.raises(InvalidValue, match="it has no positive evidence"):
            judged(name, -right, truth=TRUTH)


@pytest.mark.parametrize("region", ["box", "mask"])
@pytest.mark.parametrize("threshold", [0.15, 0.5])
def test_the_overlap_is_its_twin(maps: Tensor, threshold: float, region: str):
    found = judged("localisation-iou", maps, truth=LSHAPE, threshold=threshold, region=region).value
    twin = [iou(summed(m), t.numpy(), threshold, region == "box") for m, t in zip(maps, LSHAPE, strict=True)]
    assert found.tolist() == pytest.approx(twin)


def test_the_largest_region_counts_not_the_strongest():
    map = torch.zeros(1, 1, 8, 8)
    map[0, 0, 0:2, 0:4], map[0, 0, 6, 6] = 1, 3
    truth = truth_of((0, 2, 0, 4), size=(8, 8))
    assert judged("localisation-iou", map, truth=truth).value.item() == 1
    assert judged("localisation-iou:threshold=0.5", map, truth=truth).value.item() == 0


def test_the_area_under_the_roc_curve_is_scikit_learns(maps: Tensor):
    found = judged("localisation-auc", maps, truth=LSHAPE).value
    theirs = [
        roc_auc_score(t.flatten(), m.sum(0).flatten())
        for m, t in zip(maps.numpy(), LSHAPE.numpy(), strict=True)
    ]
    assert found.tolist() == pytest.approx(theirs)
    assert judged("localisation-auc", torch.ones(3, 1, *SIZE), truth=TRUTH).value.tolist() == [0.5] * 3


@pytest.mark.usefixtures("unchecked")
def test_what_has_no_value_says_why(maps: Tensor):
    none, whole = torch.zeros_like(TRUTH), torch.ones_like(TRUTH)
    with pytest.raises(InvalidValue, match="the picture has no object"):
        judged("relevance-mass", maps, truth=none)
    with pytest.raises(InvalidValue, match="the object fills the picture"):
        judged("localisation-auc", maps, truth=whole)
    one = none.clone()
    one[1] = TRUTH[1]
    found = judged("pointing-game", maps, truth=one)
    assert sorted(found.failures) == [0, 2]
    assert found.value[1].isfinite()
    with pytest.raises(InvalidValue, match=r"9, 11\); got \(\d, 9, 10\)"):
        judged("relevance-rank", maps, truth=TRUTH[:, :, :-1])
    with pytest.raises(InvalidValue, match="at most the number of pixels, 99; got 1000"):
        judged("top-k-intersection", maps, truth=TRUTH)
    with pytest.raises(InvalidValue, match="threshold must be a share"):
        judged("localisation-iou:threshold=0", maps, truth=TRUTH)
