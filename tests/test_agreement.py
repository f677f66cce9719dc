"""Agreement of maps at a common grain: cells of a grid, with signs and without."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import nn

import pellucid
from pellucid.comparison import Comparison
from pellucid.engine.cost import Cost
from pellucid.entries import Entry
from pellucid.grain import in_cells
from pellucid.images import Box, Picture
from pellucid.report.page import page


@pytest.fixture(scope="module")
def some():
    torch.manual_seed(0)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 3))
    return pellucid.explain(net, torch.rand(1, 3, 56, 56), "saliency", target=0)


def comparison(e, *maps, boxes=None, output=None):
    """The maps, as if methods had made them of one picture of 56 x 56 pixels."""
    entries = []
    for i, map in enumerate(maps):
        made = replace(e, attribution=map[None, None].float(), raw=map[None].float())
        if boxes:
            made.boxes = [boxes[i]]
        if output:
            made.output = output[i]
        entries.append(Entry(f"map {i}", made))
    return Comparison(tuple(entries), (), Cost())


def agreement(e, *maps, **how):
    return comparison(e, *maps, boxes=how.pop("boxes", None)).agreement(**how)


def noise(seed, *size):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hill(size, y, x, width=0.2):
    at = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    return torch.exp(-((at[:, None] - y) ** 2 + (at - x) ** 2) / (2 * width**2))


@pytest.mark.parametrize("magnitudes", [False, True])
def test_it_is_scipys_spearman_of_the_sums_in_cells(some, magnitudes):
    maps = [noise(seed, 56, 56) for seed in range(3)]
    cells = [
        (map.float().double().abs() if magnitudes else map.float().double())
        .reshape(14, 4, 14, 4)
        .sum((1, 3))
        .flatten()
        .numpy()
        for map in maps
    ]
    expected = spearmanr(np.stack(cells), axis=1).statistic
    np.testing.assert_allclose(agreement(some, *maps, magnitudes=magnitudes), expected, atol=1e-6)


def test_evidence_is_shared_among_cells_by_area():
    """A map of 3 pixels in 2 cells, against sums by hand: the middle pixel's evidence is halved."""
    fine = torch.tensor([[3.0, 5.0, 7.0]], dtype=torch.float64)
    coarse = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    found = in_cells([fine, coarse], [Box(0.0, 0.0, 6.0, 2.0), Box(0.0, 0.0, 6.0, 2.0)], (6, 2))
    torch.testing.assert_close(found, torch.tensor([[5.5, 9.5], [1.0, 2.0]]).double())


def test_sums_are_kept():
    map = noise(0, 17, 23)
    found = in_cells([map], [Box(0.0, 0.0, 23.0, 17.0)], (23, 17))
    assert float(found.sum()) == pytest.approx(float(map.sum()), abs=1e-6)


@given(st.integers(0, 99), st.sampled_from([28, 42, 112]))
@settings(max_examples=10, deadline=None)
def test_a_map_at_another_resolution_is_the_same_map(some, seed, side):
    coarse = noise(seed, 14, 14)
    one = coarse.repeat_interleave(4, 0).repeat_interleave(4, 1)
    two = coarse.repeat_interleave(side // 14, 0).repeat_interleave(side // 14, 1)
    for magnitudes in (False, True):
        assert agreement(some, one, two, magnitudes=magnitudes)[0, 1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("sizes", [(56, 37), (224, 56), (7, 56), (56, 60)])
def test_a_smooth_map_at_odd_resolutions_agrees_nearly_wholly(some, sizes):
    one, two = (hill(size, 0.3, 0.6) for size in sizes)
    assert agreement(some, one, two)[0, 1] > 0.98


def test_a_map_and_its_negative_agree_only_in_where_they_are(some):
    map = noise(3, 56, 56)
    assert agreement(some, map, -map)[0, 1] == pytest.approx(-1)
    assert agreement(some, map, -map, magnitudes=True)[0, 1] == pytest.approx(1)


def test_random_maps_do_not_agree(some):
    found = torch.cat(
        [
            agreement(some, *(noise(seed, 56, 56) for seed in range(12)), magnitudes=magnitudes)
            for magnitudes in (False, True)
        ]
    )
    others = found[found < 0.99]
    assert others.abs().max() < 0.3  # four standard errors of 196 cells
    assert abs(float(others.mean())) < 0.05


def test_alternating_pixels_on_an_object_agree_with_a_blur_of_it_without_their_signs(some):
    blur = hill(56, 0.4, 0.5)
    grainy = blur * noise(5, 56, 56)
    assert agreement(some, blur, grainy, magnitudes=True)[0, 1] > 0.8
    assert abs(agreement(some, blur, grainy)[0, 1]) < 0.3
    pixels = spearmanr(blur.flatten(), grainy.flatten()).statistic  # what ranking single pixels would say
    assert abs(pixels) < 0.1


@pytest.mark.parametrize("size", [(56, 56), (1, 40), (8, 8), (13, 29)])
def test_a_constant_map_has_no_order(some, size):
    """Also where cells cut pixels, whose sums then differ by rounding."""
    some = replace(some, boxes=[Box(0.0, 0.0, float(size[1]), float(size[0]))])
    some.pictures = [Picture(some.pictures[0].rgb.resize(size[::-1]))]
    found = agreement(some, torch.full(size, 0.1), noise(0, *size))
    assert found[0].tolist() == [0, 0]
    assert found[1, 1] == pytest.approx(1)


def test_only_what_all_of_them_saw_counts(some):
    """The left half is noise that only one map shows."""
    right = hill(56, 0.5, 0.5)[:, :28]
    whole = torch.cat([noise(0, 56, 28), right], 1)
    boxes = [Box(0.0, 0.0, 56.0, 56.0), Box(28.0, 0.0, 56.0, 56.0)]
    assert agreement(some, whole, right, boxes=boxes)[0, 1] == pytest.approx(1, abs=1e-6)
    apart = [Box(0.0, 0.0, 20.0, 56.0), Box(28.0, 0.0, 56.0, 56.0)]
    assert agreement(some, whole, right, boxes=apart)[0, 1] == 0


def test_who_agrees_with_none_is_told_truly(some):
    blur = hill(56, 0.4, 0.5)
    kin, grainy, elsewhere = blur**2, blur * noise(5, 56, 56), hill(56, 0.95, 0.05, 0.05)
    made = page(comparison(some, blur, kin, grainy, elsewhere).entries, (), Cost())
    (question,) = made.subjects[0].models[0].questions
    assert [title for title, _ in question.agreement.loners] == ["map 3"]


def test_a_logit_and_a_probability_of_one_class_are_one_question(some):
    blur = hill(56, 0.4, 0.5)
    c = comparison(some, blur, blur**2, blur**3, output=["logit", "probability", "logit"])
    c.entries[1].explanation.score = torch.tensor([0.25])
    (question,) = page(c.entries, (), Cost()).subjects[0].models[0].questions
    assert len(question.cards) == 3
    assert question.agreement.titles == ["map 0", "map 1", "map 2"]
    assert re.fullmatch(r"logit .* · probability 0\.25", question.score)
    explains = [dict(card.facts)["Explains"] for card in question.cards]
    assert [re.search(r"logit|probability", text)[0] for text in explains] == [
        "logit",
        "probability",
        "logit",
    ]
    # Two scores of one kind are two questions: callables may share a name.
    c.entries[2].explanation.score = torch.tensor([123.0])
    assert len(page(c.entries, (), Cost()).subjects[0].models[0].questions) == 2
