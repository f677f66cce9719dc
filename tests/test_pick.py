"""Submodular pick: greedy coverage against brute force, and what counts as the same feature."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pellucid import lime
from pellucid.engine.cost import Cost
from pellucid.errors import InvalidType, InvalidValue
from pellucid.explanation import Explanation
from pellucid.images import Box, Picture
from pellucid.lime.picking import cover


def sparse(seed: int, n: int = 8, d: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * (rng.uniform(size=(n, d)) < 0.25)


def covered(weights: np.ndarray, rows) -> float:
    importance = np.sqrt(np.abs(weights).sum(0))
    return float(importance[(weights[list(rows)] != 0).any(0)].sum())


@given(st.integers(0, 10**6), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_coverage_is_monotone_as_stated_and_near_the_best(seed, count):
    weights = sparse(seed)
    found = cover(weights, count)
    assert len(set(found.indices)) == count
    assert (np.diff(found.coverage) >= -1e-12).all()
    for k in range(1, count + 1):
        assert found.coverage[k - 1] == pytest.approx(covered(weights, found.indices[:k]))
        best = max(covered(weights, rows) for rows in combinations(range(8), k))
        assert found.coverage[k - 1] >= (1 - 1 / np.e) * best - 1e-12
    assert found.coverage[0] == pytest.approx(max(covered(weights, [i]) for i in range(8)))


def test_the_first_of_equals_is_taken_and_all_at_most_once():
    assert cover(np.ones((3, 2)), 10).indices == [0, 1, 2]


def told(texts):
    p = np.array([0.5 + 0.2 * ("good" in t) - 0.2 * ("bad" in t) + 0.1 * ("long" in t) for t in texts])
    return np.stack([1 - p, p], 1)


def test_texts_are_matched_by_word():
    texts = ["good film", "good book", "bad and long", "good song"]
    each = [
        lime.text(told, t, labels=1, features=1 if i != 2 else 2, samples=300) for i, t in enumerate(texts)
    ]
    found = lime.pick(each, 2)
    held = {"good": [0, 1, 3], "bad": [2], "long": [2]}
    weight = {w: np.sqrt(sum(abs(dict(each[i].as_list())[w]) for i in rows)) for w, rows in held.items()}
    first = 2 if weight["bad"] + weight["long"] > weight["good"] else 0
    assert found.indices == [first, 2 - first]
    assert found.coverage[-1] == pytest.approx(sum(weight.values()))


def test_rows_are_matched_by_condition():
    data = np.random.default_rng(0).uniform(0, 1, (200, 2))

    def predict(rows):
        p = 0.2 + 0.6 * (rows[:, 0] > 0.5)
        return np.stack([1 - p, p], 1)

    rows = [[0.9, 0.5], [0.95, 0.5], [0.1, 0.5]]
    each = [lime.tabular(predict, row, data, labels=1, features=1, samples=500) for row in rows]
    found = lime.pick(each, 3)
    assert found.indices in ([0, 2, 1], [2, 0, 1])
    assert found.coverage[1] == found.coverage[2]


def picture(colours, coefficients, size=(48, 32)) -> Explanation:
    """A picture of upright stripes, each a superpixel of one colour and one coefficient."""
    width, height = size
    stripe = np.arange(width) * len(colours) // width
    rgb = Image.fromarray(np.tile(np.array(colours, np.uint8)[stripe], (height, 1, 1)))
    segments = torch.from_numpy(np.tile(stripe, (height, 1)))[None]
    weights = torch.tensor(coefficients, dtype=torch.float64)
    box = Box(0.0, 0.0, float(width), float(height))
    return Explanation(
        method="lime", options={}, attribution=weights[segments][:, None].float(),
        raw=weights[segments].float(), target=[0], labels=["x"], score=torch.ones(1), output="probability",
        prediction=[[]], model="m", paper="", seed=0, precision="float32", versions={},
        cost=Cost(1, 0, 0.0), pictures=[Picture(rgb, "p", None)], boxes=[box],
        details={"segments": segments, "coefficients": [weights]},
    )  # fmt: skip


RED, GREEN, BLUE, GREY = (200, 0, 0), (0, 200, 0), (0, 0, 200), (120, 120, 120)


def test_superpixels_that_look_alike_are_one_feature_across_pictures():
    each = [
        picture([RED, GREY, GREY], [1.0, 0.0, 0.0]),
        picture([RED, GREY, GREY], [0.9, 0.0, 0.0], size=(96, 64)),
        picture([GREEN, BLUE, GREY], [0.3, 0.3, 0.0]),
        picture([GREEN, GREY, GREY], [0.3, 0.0, 0.0]),
    ]
    found = lime.pick(each, 4, clusters=5)
    assert set(found.indices[:2]) in ({0, 2}, {1, 2})  # red, and green with blue
    assert found.coverage[1] == pytest.approx(found.coverage[3])
    assert found == lime.pick(each, 4, clusters=5)


def test_pictures_are_read_where_they_became_the_input():
    """The left half of the picture is the input: what lies to the right of it must not be seen."""
    each = []
    for beyond in (RED, BLUE):
        one = picture([GREEN, GREY, beyond, beyond], [1.0, 0.5, 0, 0])
        one.boxes[0] = Box(0.0, 0.0, 24.0, 32.0)
        one.details["segments"] = (torch.arange(24) // 12).expand(32, 24)[None]
        one.details["coefficients"] = [torch.tensor([1.0, 0.5])]
        each.append(one)
    coverage = lime.pick(each, 2, clusters=10).coverage
    assert coverage[0] == pytest.approx(coverage[1])  # the same two visual words


@pytest.mark.parametrize(
    ("explanations", "options", "says"),
    [
        ([], {}, "at least one explanation to pick from"),
        ([picture([RED], [1.0])], {"count": 0}, "count must be a whole number of at least 1; got 0"),
        ([picture([RED], [1.0])], {"clusters": 0}, "clusters must be"),
    ],
)
def test_bad_input_is_refused(explanations, options, says):
    with pytest.raises(InvalidValue, match=says):
        lime.pick(explanations, **options)


def test_other_methods_and_mixtures_are_refused():
    bare = picture([RED], [1.0])
    bare.details.clear()
    with pytest.raises(InvalidValue, match="by a method that weighs superpixels"):
        lime.pick([bare])
    words = lime.text(told, "good film", samples=20)
    with pytest.raises(InvalidType, match="all of texts and rows or all of pictures; got Explanation, Local"):
        lime.pick([words, bare])
