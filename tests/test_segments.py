"""Superpixels: labels without gaps, and what is computed over them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label as components

from pellucid.errors import InvalidType, InvalidValue
from pellucid.options.parts import Segments
from pellucid.options.types import Option
from pellucid.segments import boundaries, check, hierarchy, mean_colours, neighbours, segment


@pytest.fixture(scope="module")
def photo(cat) -> np.ndarray:
    return np.array(cat.resize((112, 80)))


def _random(height: int, width: int, d: int, seed: int = 0) -> torch.Tensor:
    """Labels of which each of 0 to d - 1 occurs."""
    drawn = np.random.default_rng(seed).permutation(np.arange(height * width) % d)
    return torch.from_numpy(drawn.reshape(height, width))


@pytest.mark.parametrize("how", ["quickshift", "slic", "felzenszwalb", "grid:5"])
def test_labels_are_consecutive_repeatable_and_leave_the_picture_alone(photo, how):
    before = photo.copy()
    labels = segment(photo, how)
    assert labels.shape == photo.shape[:2]
    assert labels.unique().tolist() == list(range(int(labels.max()) + 1))
    assert 2 < labels.max() < 150
    assert segment(photo, how).equal(labels)
    np.testing.assert_array_equal(photo, before)


def test_quickshift_is_that_of_the_lime_package(cat):
    from skimage.segmentation import quickshift

    rgb = np.array(cat.resize((64, 64)))
    theirs = quickshift(rgb, kernel_size=4, max_dist=200, ratio=0.2, rng=0)
    assert segment(rgb, "quickshift").numpy().tolist() == theirs.tolist()


def test_felzenszwalb_cuts_alike_at_other_resolutions(cat):
    counts = [int(segment(np.array(cat.resize((s, s))), "felzenszwalb").max()) for s in (112, 224)]
    assert 0.5 < counts[0] / counts[1] < 2


@pytest.mark.parametrize(("height", "width", "n"), [(6, 6, 3), (7, 12, 4), (5, 5, 5), (224, 160, 7)])
def test_a_grid_has_n_by_n_blocks_of_nearly_equal_size(height, width, n):
    labels = segment(np.zeros((height, width, 3), np.uint8), f"grid:{n}")
    sizes = torch.bincount(labels.flatten())
    assert len(sizes) == n * n
    assert sizes.max() <= -(-height // n) * -(-width // n)
    assert sizes.min() >= (height // n) * (width // n)
    _, pieces = components(labels.numpy() + 1 == 1)
    assert pieces == 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=12, unique=True), st.integers(0, 99))
def test_gaps_between_own_labels_are_closed_and_segments_stay_as_they_are(values, seed):
    drawn = _random(4, 5, len(values), seed)
    own = torch.tensor(values)[drawn]
    labels = segment(np.zeros((4, 5, 3), np.uint8), own)
    assert labels.unique().tolist() == list(range(len(values)))
    together = own.flatten()[:, None] == own.flatten()
    assert together.equal(labels.flatten()[:, None] == labels.flatten())


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, lambda v: np.asarray(v, np.float32)])
def test_own_labels_come_as_array_tensor_or_callable_and_stay_unchanged(kind):
    rgb, own = np.zeros((2, 3, 3), np.uint8), kind([[7, 7, 2], [7, 2, 2]])
    for how in (own, lambda _: own):
        labels = segment(rgb, how)
        labels += 1
    assert np.asarray(own).tolist() == [[7, 7, 2], [7, 2, 2]]
    assert segment(rgb, own).tolist() == [[1, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("kind", ["bool", "uint8", "uint16", "int16", "uint64", "float16"])
def test_own_labels_may_be_of_any_number_type(kind):
    own = np.eye(3).astype(kind)
    assert segment(np.zeros((3, 3, 3), np.uint8), own).equal(torch.eye(3).long())


def test_a_callable_cannot_alter_the_picture():
    rgb = np.zeros((4, 4, 3), np.uint8)

    def spoil(picture):
        picture[:] = 255
        return np.arange(16).reshape(4, 4)

    segment(rgb, spoil)
    assert not rgb.any()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("quickshft", "Did you mean 'quickshift'"),
        ("grid", "'grid:N' with N at least 2"),
        ("grid:1", "'grid:N' with N at least 2"),
        ("grid:5", "no more blocks along a side than the picture has pixels; it has 4 x 6"),
        (np.zeros((4, 6), int), "at least 2 segments; it gives 1"),
        (np.full((4, 6), np.nan), "whole number from 0 on"),
        (np.where(np.eye(4, 6), -1, np.arange(24).reshape(4, 6)), "negative"),
        (np.arange(24).reshape(4, 6) / 2, "fractional"),
        (np.arange(20).reshape(4, 5), r"of the input, 4 x 6; got 4 x 5"),
        (np.arange(24), r"of the input, 4 x 6; got 24\."),
        (np.zeros((4, 6, 3), np.uint8), "4 x 6; got 4 x 6 x 3"),
        (lambda rgb: rgb[0], "4 x 6; got 6 x 3"),
        (np.array(3), "got a single number"),
    ],
)
def test_labels_that_do_not_hold_are_refused(how, words):
    with pytest.raises(InvalidValue, match=words):
        segment(np.zeros((4, 6, 3), np.uint8), how)


@pytest.mark.parametrize("how", [3, None, ["slic"], lambda rgb: None, np.full((4, 6), "a")])
def test_what_makes_no_labels_is_refused_by_type(how):
    with pytest.raises(InvalidType, match="segments must be"):
        segment(np.zeros((4, 6, 3), np.uint8), how)


def test_the_option_refuses_a_wrong_name_before_there_is_a_picture():
    option = Option("segments", Segments, "quickshift")
    assert option.kind == "quickshift | slic | felzenszwalb | grid:N"
    assert option.check("grid:12") == "grid:12"
    assert option.check(check) is check
    with pytest.raises(InvalidValue, match="slic"):
        option.check("slick")


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(1, 4), st.integers(0, 99))
def test_mean_colours_equal_a_loop_over_segments(d, channels, seed):
    labels = _random(5, 7, d, seed)
    x = torch.randn(channels, 5, 7, generator=torch.Generator().manual_seed(seed))
    slow = x.clone()
    for one in range(d):
        slow[:, labels == one] = x[:, labels == one].mean(1, keepdim=True)
    torch.testing.assert_close(mean_colours(x, labels), slow)


def test_boundaries_equal_a_loop_over_pixels():
    labels = _random(6, 8, 3)
    slow = [
        [
            any(
                labels[y, x] != labels[v, u]
                for v, u in ((y, x + 1), (y + 1, x))
                if v < labels.shape[0] and u < labels.shape[1]
            )
            for x in range(8)
        ]
        for y in range(6)
    ]
    assert boundaries(labels).tolist() == slow


def test_neighbours_are_the_pairs_that_share_an_edge():
    labels = segment(np.zeros((9, 9, 3), np.uint8), "grid:3")
    beside = {(r * 3 + c, r * 3 + c + 1) for r in range(3) for c in range(2)}
    below = {(r * 3 + c, r * 3 + c + 3) for r in range(2) for c in range(3)}
    assert set(map(tuple, neighbours(labels).tolist())) == beside | below


def test_every_node_of_the_hierarchy_is_one_piece_of_the_picture(photo):
    labels = segment(photo, "grid:6").numpy()
    merges = hierarchy(photo, torch.from_numpy(labels)).tolist()
    regions = {one: labels == one for one in range(36)}
    for step, (a, b) in enumerate(merges):
        regions[36 + step] = regions.pop(a) | regions.pop(b)
        assert components(regions[36 + step])[1] == 1
    assert list(regions) == [70]
    assert regions[70].all()


def test_each_merge_is_the_one_of_neighbours_that_adds_least_variance(photo):
    from skimage.color import rgb2lab

    rgb = photo[:40, :60]
    rows, columns = np.searchsorted([3, 20, 26, 40], np.arange(40), "right"), np.arange(60) // 7 % 9 // 3
    labels = rows[:, None] * 3 + columns  # pieces of very different sizes
    yx = np.mgrid[:40, :60] * 100 / 60
    pixels = np.concatenate([rgb2lab(rgb), np.stack([*yx], -1)], -1)

    def scatter(region):
        return ((pixels[region] - pixels[region].mean(0)) ** 2).sum()

    regions = {one: labels == one for one in range(12)}
    for step, merge in enumerate(hierarchy(rgb, torch.from_numpy(labels)).tolist()):
        added = {
            (a, b): scatter(regions[a] | regions[b]) - scatter(regions[a]) - scatter(regions[b])
            for a in regions
            for b in regions
            if a < b and components(regions[a] | regions[b])[1] == 1
        }
        assert tuple(merge) == min(added, key=added.__getitem__)
        regions[12 + step] = regions.pop(merge[0]) | regions.pop(merge[1])


def test_regions_of_one_colour_are_merged_before_others():
    labels = segment(np.zeros((4, 4, 3), np.uint8), "grid:4")
    rgb = np.zeros((4, 4, 3), np.uint8)
    rgb[:, 2:] = 255
    *inner, last = hierarchy(rgb, labels).tolist()
    members = {one: {one} for one in range(16)}
    for step, (a, b) in enumerate(inner):
        members[16 + step] = members[a] | members[b]
    halves = sorted(sorted(members[node]) for node in last)
    assert halves == [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]]
