"""The quality of maps where the truth is known: closed forms."""

import pytest
import torch

from pellucid.truth.quality import GRID, cells, evidence, quality

TRUTH = torch.zeros(64, 64, dtype=torch.bool)
TRUTH[8:24, 16:32] = True  # 4 x 4 cells of 4 pixels


def one(map: torch.Tensor, truth: torch.Tensor = TRUTH, seed: int = 0) -> tuple[float, float, float]:
    found = quality(map[None], truth, seed)
    return float(found.share), float(found.hit), float(found.q)


def test_the_truth_itself_is_as_good_as_possible():
    assert one(cells(TRUTH.float())) == (1.0, 1.0, 1.0)


def test_what_lies_beside_the_truth_is_worth_nothing():
    assert one(cells((~TRUTH).float())) == (0.0, 0.0, 0.0)


def test_half_inside_with_the_weaker_half():
    map = torch.zeros(GRID, GRID)
    map[2:6, 4:8] = 1.0
    map[10:14, 4:8] = 3.0  # the 16 strongest cells lie here
    assert one(map) == (0.25, 0.0, 0.125)
    map[10:12, 4:8] = 0.5  # now 8 of the strongest are inside or outside by their strength
    share, hit, _ = one(map)
    assert share == pytest.approx(16 / (16 + 24 + 4))
    assert hit == 0.5


def test_a_constant_map_is_as_good_as_its_order_drawn_by_chance():
    hits = [one(torch.ones(GRID, GRID), seed=seed)[1] for seed in range(400)]
    assert one(torch.ones(GRID, GRID))[0] == pytest.approx(16 / 256)
    assert sum(hits) / len(hits) == pytest.approx(16 / 256, abs=0.01)
    assert one(torch.ones(GRID, GRID), seed=3)[1] == hits[3]


def test_a_map_without_evidence_has_no_share():
    assert one(torch.zeros(GRID, GRID), seed=0)[0] == 0.0
    assert quality(-torch.ones(1, GRID, GRID), TRUTH).share.tolist() == [0.0]


def test_cells_that_the_truth_cuts_count_by_what_is_true_of_them():
    truth = torch.zeros(64, 64, dtype=torch.bool)
    truth[:4, :6] = True  # one cell and a half: k = 2
    map = torch.zeros(GRID, GRID)
    map[0, 0], map[8, 8] = 1.0, 1.0
    share, hit, _ = one(map, truth)
    assert share == 0.5
    assert hit == pytest.approx(1 / 1.5)
    map[0, 1] = 2.0
    assert one(map, truth)[0] == pytest.approx((1 + 2 * 0.5) / 4)


def test_the_best_that_k_cells_can_hold_is_all_that_can_be_hit():
    truth = torch.zeros(64, 64, dtype=torch.bool)
    truth[:4, 2:6] = truth[8:12, 2:6] = True  # four half cells: k = 2, and two of them hold 1 of 2
    assert one(cells(truth.float()), truth)[1] == 1.0


def test_good_is_half_of_what_can_be_hit():
    maps = torch.zeros(2, GRID, GRID)
    maps[:, 2:6, 4:8] = 1.0
    maps[0, 10:14, 4:6] = 2.0  # 8 of 16
    maps[1, 10:14, 4:6] = 2.0
    maps[1, 14, 4] = 2.0  # 9 of 16 miss
    assert quality(maps, TRUTH).good.tolist() == [True, False]


def test_evidence_is_the_positive_part_of_what_channels_and_pixels_of_a_cell_add_up_to():
    attribution = torch.zeros(2, 3, 4, 4)
    attribution[0, 0, 0, 0], attribution[0, 1, 0, 1] = 4.0, -1.0
    attribution[0, 2, 3, 3] = -2.0
    assert evidence(attribution, 2)[0].tolist() == [[0.75, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (7, 7), (30, 50)])
def test_cells_keep_the_mean_of_maps_of_any_size(size: tuple[int, int]):
    assert cells(torch.full(size, 2.5)).tolist() == torch.full((GRID, GRID), 2.5).tolist()
