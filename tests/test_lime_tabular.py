"""LIME for tables: what it finds, what its neighbours look like, and what it refuses."""

import numpy as np
import pytest
import torch

from nets import unchecked
from pellucid import lime
from pellucid.errors import InvalidType, InvalidValue
from pellucid.lime.tables import Table

NAMES = ["income", "age", "colour"]


@pytest.fixture
def data() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([rng.gamma(2, 20, 400), rng.uniform(18, 80, 400), rng.integers(0, 3, 400)], 1)


def both(yes):
    return np.stack([1 - yes, yes], 1)


def test_a_sum_of_conditions_is_found_exactly(data):
    low, high = np.percentile(data[:, 0], [50, 75])

    def approve(rows):
        in_range = (rows[:, 0] > low) & (rows[:, 0] <= high)
        return both(0.3 + 0.4 * in_range + 0.2 * (rows[:, 2] == 1))

    row = [(low + high) / 2, 30, 1]
    found = lime.tabular(
        approve, row, data, feature_names=NAMES, categorical_features=["colour"],
        category_names={"colour": ["red", "green", "blue"]}, class_names=["no", "yes"], ridge=1e-9,
    )  # fmt: skip
    assert found.labels == [1]
    assert found.as_list("yes") == [
        (f"{low:.4g} < income <= {high:.4g}", pytest.approx(0.4, abs=1e-8)),
        ("colour = green", pytest.approx(0.2, abs=1e-8)),
        (found.names[1], pytest.approx(0, abs=1e-8)),
    ]
    assert [f.value for f in found.features] == [f"{row[0]:.4g}", "30", "green"]
    assert found["yes"].intercept == pytest.approx(0.3, abs=1e-8)


def test_without_bins_a_linear_model_gives_its_slopes_per_standard_deviation(data):
    slopes = np.array([0.5, -2.0])
    for around in (False, True):
        found = lime.tabular(
            lambda rows: rows @ slopes + 7, data[0, :2], data[:, :2], feature_names=["a", "b"],
            mode="regression", discretize=None, around_row=around, ridge=1e-9, kernel_width=5.0,
        )  # fmt: skip
        np.testing.assert_allclose(found[0].coefficients, slopes * data[:, :2].std(0), rtol=1e-6)
        assert sorted(found.names) == ["a", "b"]
        assert found[0].local_prediction == pytest.approx(float(data[0, :2] @ slopes + 7))


def test_neighbours_stay_in_the_bin_they_were_drawn_for(data):
    table = Table.of(data[7], data, NAMES, [2], {}, "quartile", False, None)
    z, rows = table.draw(5000, np.random.default_rng(0))
    for column in (0, 1):
        borders = np.percentile(data[:, column], [25, 50, 75])
        bins = np.searchsorted(borders, rows[:, column])
        assert ((bins == np.searchsorted(borders, data[7, column])) == z[:, column]).all()
        assert np.abs(np.bincount(bins) / 5000 - 0.25).max() < 0.03
        assert rows[:, column].min() >= data[:, column].min()
        assert rows[:, column].max() <= data[:, column].max()
    assert ((rows[:, 2] == data[7, 2]) == z[:, 2]).all()
    shares = np.bincount(data[:, 2].astype(int)) / 400
    assert np.abs(np.bincount(rows[:, 2].astype(int)) / 5000 - shares).max() < 0.03


def test_constant_columns_keep_their_value_and_get_no_weight(data):
    data[:, 1] = 5.0
    for discretize in ("quartile", "decile", None):
        seen = []

        def predict(rows, seen=seen):
            seen.append(rows)
            return both(1 / (1 + np.exp(rows[:, 0] / 50 - 1)))

        found = lime.tabular(predict, data[0], data, discretize=discretize, samples=400, labels=1)
        assert np.isfinite(np.concatenate(seen)).all()
        assert abs(float(found[1].coefficients[1])) < (1e-9 if discretize else 0.05)
        if discretize:
            assert (np.concatenate(seen)[:, 1] == 5).all()


def test_values_beyond_the_training_data_fall_into_the_outer_bins(data):
    found = lime.tabular(
        lambda r: both(1 / (1 + np.exp(-r[:, 0] / 9))),
        [1e6, -5.0, 0.0],
        data,
        feature_names=NAMES,
        samples=50,
    )
    assert found.names[0].startswith("income > ")
    assert found.names[1].startswith("age <= ")


def test_a_category_that_was_never_seen_is_warned_of(data):
    found = lime.tabular(
        lambda r: both(0.5 + 0 * r[:, 0]), [1.0, 20, 9], data, feature_names=NAMES, categorical_features=[2]
    )
    assert found.warnings == ["colour = 9 never occurs in the training data, so its weight is unknown."]


def test_frames_bring_their_names_and_tensors_are_read(data):
    class Frame:
        columns = NAMES

        def __array__(self, dtype=None, copy=None):
            return data

    def predict(rows):
        assert type(rows) is np.ndarray
        return torch.from_numpy(both(1 / (1 + np.exp(-rows[:, 0] / 30))))

    one = lime.tabular(predict, torch.from_numpy(data[3]), Frame(), samples=300)
    other = lime.tabular(predict, data[3].tolist(), torch.from_numpy(data), samples=300, feature_names=NAMES)
    assert "income" in one.names[0]
    assert one.as_list() == other.as_list()


def test_same_seed_same_result_and_nothing_is_changed(data):
    before = data.copy()

    def rude(rows):
        rows += 1  # a model that works in place
        return both(1 / (1 + np.exp(-rows[:, 0] / 30)))

    one, other = (lime.tabular(rude, data[3], data, samples=300, batch_size=b).as_list() for b in (300, 7))
    assert one == other
    assert (data == before).all()


def test_html_shows_conditions_and_values_escaped(data):
    names = ["<income>", "age", "colour"]
    found = lime.tabular(lambda r: both(r[:, 0] > 30), data[3], data, feature_names=names, samples=300)
    html = found._repr_html_()
    assert "&lt;income&gt;" in html
    assert "<income>" not in html
    assert f'<td class="value">{data[3, 1]:.4g}</td>' in html
    assert 'class="text"' not in html.split("</style>")[1]


@pytest.mark.parametrize(
    ("row", "options", "says"),
    [
        ([1.0, 2.0], {}, "row must have as many values as training_data has columns, 3; got 2"),
        ([1.0, 2.0, np.nan], {}, r"row must be finite; it holds nan at \[2\]: fill or drop"),
        ([[1.0, 2.0, 3.0]], {}, r"row must have shape \(d,\), one row, .* got \(1, 3\)"),
        (
            [1.0, 2.0, 0.0],
            {"training_data": [[1.0, 2.0, np.inf]]},
            r"training_data must be finite; it holds inf",
        ),
        ([1.0, 2.0, 0.0], {"training_data": []}, r"training_data must have shape \(n, d\)"),
        ([1.0, 2.0, 0.0], {"samples": 0}, "at least 2"),
        ([1.0, 2.0, 0.0], {"labels": 5}, "from 0 to 1; got 5"),
        ([1.0, 2.0, 0.0], {"feature_names": ["a", "b"]}, "must name the 3 columns, all differently; got 2"),
        ([1.0, 2.0, 0.0], {"feature_names": ["a", "b", "b"]}, "got 2 names"),
        ([1.0, 2.0, 0.0], {"categorical_features": [3]}, "must be a column from 0 to 2 or one of .*; got 3"),
        ([1.0, 2.0, 0.0], {"discretize": "entropy"}, 'discretize must be "quartile", "decile" or None'),
        ([1.0, 2.0, 0.0], {"around_row": True}, "needs discretize=None"),
        ([1.0, 2.0, 0.0], {"kernel_width": -1.0}, "kernel_width must be positive"),
        (
            [1.0, 2.0, 0.0],
            {"mode": "regression"},
            'With mode="regression" .* one number for each of 1 inputs',
        ),
    ],
)
def test_bad_input_is_refused_in_a_sentence(data, row, options, says):
    training = options.pop("training_data", data)
    with unchecked(), pytest.raises(InvalidValue, match=says):
        lime.tabular(lambda r: both(0.5 + 0 * r[:, 0]), row, training, **options)


def test_words_for_numbers_are_refused(data):
    with pytest.raises(InvalidType, match=r"row must hold numbers .* encode categories"):
        lime.tabular(lambda r: both(0.5 + 0 * r[:, 0]), [1.0, 2.0, "red"], data)
