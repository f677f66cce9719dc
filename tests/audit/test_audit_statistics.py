"""Where evidence lies: closed forms and slow twins."""

import math

import pytest
import torch
from torch import Tensor

from pellucid.audit.evidence import Evidence, box_cover, margin_of, to_cells
from pellucid.audit.regions import Region, region_of
from pellucid.audit.statistics import (
    affinity,
    agreement,
    border_share,
    corner_share,
    displacement,
    likeness_gaps,
    outside_boxes,
    peak_parts,
    relocated,
)


def random_grids(count: int, side: int = 8, seed: int = 0) -> Tensor:
    """Shares of random evidence."""
    values = torch.rand(count, side, side, generator=torch.Generator().manual_seed(seed)) ** 4
    return values / values.sum((1, 2), keepdim=True)


def at(row: int, column: int, side: int = 8) -> Tensor:
    """All evidence in one cell."""
    grid = torch.zeros(side, side)
    grid[row, column] = 1.0
    return grid


@pytest.mark.parametrize("size", [(7, 7), (32, 48), (5, 16), (1, 3)])
def test_cells_share_a_maps_evidence_by_how_much_of_each_pixel_they_cover(size: tuple[int, int]):
    map = torch.randn(2, *size, generator=torch.Generator().manual_seed(1))
    values = map.double().sum(0).clamp(min=0)
    grid, fine = 4, 4 * size[0] * size[1]
    # The twin: every pixel cut so finely that no piece lies in two cells.
    pieces = values.repeat_interleave(4, 0).repeat_interleave(4, 1)
    slow = pieces.reshape(grid, size[0], grid, size[1]).sum((1, 3)) / pieces.sum()
    assert fine == pieces.numel() // 4
    assert torch.allclose(to_cells(map, grid).double(), slow, atol=1e-6)


def test_a_map_without_evidence_for_its_target_has_no_shares():
    assert to_cells(torch.full((3, 3), -1.0), 4).sum() == 0


def test_boxes_cover_cells_in_the_part_of_the_picture_that_is_seen():
    # The input shows the pixels from 20 to 60: the box from 30 to 40 is the second quarter across.
    found = box_cover([(30.0, 20.0, 40.0, 60.0), (50.0, 50.0, 80.0, 80.0)], (20.0, 20.0, 60.0, 60.0), 4)
    assert found.tolist() == [[0, 1, 0, 0]] * 3 + [[0, 1, 0, 1]]


def test_evidence_may_lie_beside_a_coarse_cell():
    assert [margin_of((side, side), 16) for side in (7, 8, 16, 224)] == [3, 2, 1, 1]
    assert Evidence.of_maps(torch.rand(3, 1, 7, 7), torch.tensor([0, 0, 1])).margin == 3


def test_shares_near_border_and_corners_are_those_of_their_areas():
    even = torch.full((1, 16, 16), 1 / 256)
    assert border_share(even).item() == pytest.approx(1 - 0.75**2)
    assert corner_share(even).item() == pytest.approx(0.25)
    # On seven cells the border of an eighth is part of a cell.
    assert border_share(torch.full((1, 7, 7), 1 / 49)).item() == pytest.approx(1 - 0.75**2)
    assert border_share(at(0, 3)[None]).item() == corner_share(at(7, 0)[None]).item() == 1
    assert border_share(at(3, 3)[None]).item() == corner_share(at(0, 3)[None]).item() == 0
    assert border_share(torch.zeros(1, 8, 8)).item() == 0


def test_agreement_is_the_mean_affinity_of_pairs():
    grids, others = random_grids(6), random_grids(4, seed=1)
    roots = grids.double().sqrt().flatten(1)
    pairs = [float(roots[i] @ roots[j]) for i in range(6) for j in range(6) if i != j]
    assert agreement(grids) == pytest.approx(sum(pairs) / 30)
    across = roots @ others.double().sqrt().flatten(1).T
    assert affinity(grids, others) == pytest.approx(float(across.mean()))


def test_gaps_compare_the_fifth_nearest_of_either_side():
    grids, null = random_grids(9), random_grids(7, seed=1)
    found = likeness_gaps(grids, null, neighbours=3)
    for i in range(9):
        own = sorted((affinity(grids[i : i + 1], grids[j : j + 1]) for j in range(9) if j != i), reverse=True)
        theirs = sorted((affinity(grids[i : i + 1], null[j : j + 1]) for j in range(7)), reverse=True)
        assert float(found[i]) == pytest.approx(own[2] - theirs[2])


def test_maps_are_moved_to_the_peaks_of_others_and_keep_their_shape():
    grids = torch.stack([at(1, 1) * 0.75 + at(1, 2) * 0.25] * 3)
    moved = relocated(grids, at(5, 3)[None], torch.Generator().manual_seed(0))
    assert torch.allclose(moved, torch.stack([at(5, 3) * 0.75 + at(5, 4) * 0.25] * 3))
    # What would leave the input is gone; the rest is all there is.
    assert torch.allclose(relocated(grids, at(0, 7)[None], torch.Generator().manual_seed(0))[0], at(0, 7))


def test_displacement_is_hellingers_distance_of_where_maps_peak():
    left = peak_parts(torch.stack([at(row, 0) for row in range(8)]))
    anywhere = peak_parts(torch.stack([at(row, column) for row in range(8) for column in range(8)]))
    assert left.tolist() == [0, 0, 4, 4, 8, 8, 12, 12]
    assert displacement(left, anywhere) == pytest.approx(1 - math.sqrt(1 / 4))
    assert displacement(left, left) == pytest.approx(0, abs=1e-12)
    assert displacement(left, left[:0]) == 0


def test_displacement_beyond_chance_is_about_none_for_few_pictures_of_one_kind():
    random = torch.Generator().manual_seed(0)
    found = [
        displacement(
            torch.randint(16, (8,), generator=random), torch.randint(16, (8,), generator=random), random
        )
        for _ in range(200)
    ]
    assert abs(sum(found) / 200) < 0.02
    left, right = torch.tensor([0, 4, 8, 12] * 5), torch.tensor([3, 7, 11, 15] * 5)
    assert displacement(left, right, random) > 0.8


def test_evidence_outside_boxes_is_what_they_do_not_cover():
    grids = torch.stack([at(0, 0), at(7, 7)])
    objects = torch.stack(
        [box_cover([(0.0, 0.0, 4.0, 4.0)], (0.0, 0.0, 8.0, 8.0), 8), torch.full((8, 8), torch.nan)]
    )
    found = outside_boxes(grids, objects)
    assert found[0] == 0
    assert found[1].isnan()


def test_the_region_is_where_evidence_exceeds_that_of_others():
    everywhere = random_grids(40)
    grids = 0.5 * everywhere + 0.5 * at(6, 6)
    assert region_of(grids, everywhere, margin=1) == Region(5, 5, 8, 8, 8)
    assert region_of(grids, everywhere, margin=0) == Region(6, 6, 7, 7, 8)
    wide = torch.full((3, 8, 8), 1 / 64)
    assert region_of(wide + at(2, 2) * 1e-3, wide, 0) == Region(2, 2, 3, 3, 8)


@pytest.mark.parametrize(
    ("region", "place"),
    [
        (Region(0, 0, 3, 3, 16), "at the top left"),
        (Region(6, 6, 10, 10, 16), "in the middle"),
        (Region(6, 0, 10, 3, 16), "at the left"),
        (Region(13, 6, 16, 10, 16), "at the bottom"),
    ],
)
def test_a_region_is_called_by_its_place(region: Region, place: str):
    assert region.place == place


def test_other_places_of_a_region_do_not_touch_it():
    region = Region(2, 2, 4, 5, 8)
    found = region.elsewhere()
    assert len(found) == sum(
        not (abs(top - 2) < 2 and abs(left - 2) < 3) for top in range(7) for left in range(6)
    )
    assert all(not (one.mask & region.mask).any() and one.area == region.area for one in found)


def test_a_region_has_the_pixels_that_a_grid_of_cells_has():
    from pellucid.metrics.grid import Grid

    for size in ((30, 50), (16, 16), (224, 97)):
        region = Region(3, 11, 7, 14, 16)
        grid = Grid(16, 16, *size)
        pixels = torch.zeros(size, dtype=torch.bool)
        pixels[region.pixels(size)] = True
        assert grid.pixels(region.mask[None])[0].equal(pixels)
    assert Region(15, 15, 16, 16, 16).pixels((4, 4)) == (slice(3, 4), slice(3, 4))
