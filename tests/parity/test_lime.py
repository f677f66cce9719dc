"""The lime package against ours: on its own neighbours and predictions; and how those are distributed."""

import re
import warnings

import numpy as np
import pytest
import torch
from lime.lime_base import LimeBase
from lime.lime_image import LimeImageExplainer
from lime.lime_tabular import LimeTabularExplainer
from lime.lime_text import IndexedString, LimeTextExplainer
from lime.submodular_pick import SubmodularPick
from scipy.stats import ks_2samp
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

from pellucid import lime
from pellucid.lime.picking import cover
from pellucid.lime.tables import Table
from pellucid.lime.words import Words
from pellucid.methods.perturb import surrogate

TEXT = "Not a bad film, not at all: the cast is superb, the plot — bad puns aside — superb too."
WORDS = {"superb": 1.5, "bad": -1.2, "Not": 0.5, "not": 0.4, "plot": 0.2, "film": -0.1}


def sentiment(texts):
    score = np.array([sum(WORDS.get(w, 0.0) for w in set(re.split(r"\W+", t))) for t in texts])
    score = score * np.where(["not at" in t for t in texts], 1.3, 1.0)
    p = 1 / (1 + np.exp(-score))
    return np.stack([1 - p, p], 1)


@pytest.fixture
def watched(monkeypatch):
    """Every surrogate the lime package fits: its data, predictions, distances, question and answer."""
    seen = []
    original = LimeBase.explain_instance_with_data

    def watching(self, data, predictions, distances, label, num_features, **options):
        answer = original(self, data, predictions, distances, label, num_features, **options)
        seen.append((np.array(data, float), predictions[:, label], distances, num_features, answer))
        return answer

    monkeypatch.setattr(LimeBase, "explain_instance_with_data", watching)
    return seen


def assert_equal_to(seen, width, distance):
    for data, predictions, distances, features, (intercept, weights, r2, local) in seen:
        z = torch.from_numpy(data)
        torch.testing.assert_close(distance(z), torch.from_numpy(distances), rtol=1e-6, atol=1e-7)
        kernel = surrogate.kernel(torch.from_numpy(distances), width)
        y = torch.from_numpy(np.asarray(predictions, float))
        ours = surrogate.fit(z, y, kernel, features=features)
        theirs = np.zeros(z.shape[1])
        for index, weight in weights:
            theirs[index] = weight
        np.testing.assert_allclose(ours.coefficients.numpy(), theirs, rtol=1e-6, atol=1e-9)
        assert set(ours.chosen.tolist()) == {index for index, _ in weights}
        assert ours.intercept == pytest.approx(float(intercept), rel=1e-6, abs=1e-9)
        assert ours.r2 == pytest.approx(float(r2), rel=1e-6, abs=1e-9)
        assert float(ours.predict(z[:1])) == pytest.approx(float(local[0]), rel=1e-6)


@pytest.mark.parametrize("features", [3, 10])
def test_text_coefficients_equal_limes_on_its_neighbours(watched, features):
    LimeTextExplainer(random_state=0).explain_instance(
        TEXT, sentiment, labels=(0, 1), num_features=features, num_samples=800
    )
    assert len(watched) == 2
    assert_equal_to(watched, 25.0, lambda z: 100 * surrogate.cosine_distance(z))


@pytest.mark.parametrize("features", [2, 10])
@pytest.mark.parametrize("discretize", [True, False])
def test_tabular_coefficients_equal_limes_on_its_neighbours(watched, features, discretize):
    iris = load_iris()
    model = RandomForestClassifier(20, random_state=0).fit(iris.data, iris.target)
    explainer = LimeTabularExplainer(iris.data, discretize_continuous=discretize, random_state=0)
    explainer.explain_instance(
        iris.data[60], model.predict_proba, top_labels=3, num_features=features, num_samples=1000
    )
    assert len(watched) == 3
    assert_equal_to(watched, 0.75 * 2, surrogate.euclidean_distance)


def test_tabular_regression_coefficients_equal_limes_on_its_neighbours(watched):
    data, target = load_diabetes(return_X_y=True)
    model = LinearRegression().fit(data, target)
    explainer = LimeTabularExplainer(data, mode="regression", categorical_features=[1], random_state=0)
    explainer.explain_instance(data[3], model.predict, num_features=8, num_samples=1000)
    assert_equal_to(watched, 0.75 * 10**0.5, surrogate.euclidean_distance)


@pytest.mark.parametrize("features", [100000, 5])
def test_image_coefficients_equal_limes_on_its_neighbours(watched, features):
    image = np.random.default_rng(0).uniform(0, 1, (24, 24, 3))
    segments = np.arange(24)[:, None] // 6 * 4 + np.arange(24)[None] // 6

    def classify(images):
        red, green, _ = np.array([i[6:18].mean((0, 1)) for i in images]).T
        p = 1 / (1 + np.exp(4 - 20 * red + 9 * green + 30 * red * green))
        return np.stack([p, 1 - p], 1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        LimeImageExplainer(random_state=0).explain_instance(
            image, classify, top_labels=2, hide_color=0, num_features=features, num_samples=300,
            segmentation_fn=lambda _: segments,
        )  # fmt: skip
    assert watched[0][0].shape == (300, 16)
    assert watched[0][1].std() > 0.005
    assert_equal_to(watched, 0.25, surrogate.cosine_distance)


@pytest.mark.parametrize("bag_of_words", [True, False])
def test_words_are_cut_and_taken_out_as_lime_does(bag_of_words):
    ours = Words.of(TEXT, r"\W+", bag_of_words, None, 25.0)
    theirs = IndexedString(TEXT, bow=bag_of_words)
    assert ours.names == [str(theirs.word(i)) for i in range(theirs.num_words())]
    z, texts = ours.draw(200, np.random.default_rng(0))
    assert texts == [theirs.inverse_removing(np.flatnonzero(row == 0)) for row in z]


def test_text_weights_agree_with_limes_within_their_standard_errors():
    ours = lime.text(sentiment, TEXT, labels=1, features=None)
    peer = LimeTextExplainer(random_state=1).explain_instance(TEXT, sentiment, num_features=100)
    theirs = dict(peer.as_list())
    assert set(theirs) == set(ours.names)
    gap = np.array([weight - theirs[name] for name, weight in ours.as_list()])
    error = ours[1].stderr[ours[1].chosen].numpy() * 2**0.5
    assert np.abs(gap / error).max() < 4
    assert error.max() < 0.05
    assert ours[1].r2 == pytest.approx(peer.score, abs=0.03)


@pytest.mark.parametrize("discretizer", ["quartile", "decile"])
def test_neighbours_of_a_row_follow_limes_distribution(discretizer):
    iris = load_iris()
    ours = Table.of(iris.data[60], iris.data, None, (), {}, discretizer, False, None)
    z, rows = ours.draw(20000, np.random.default_rng(0))
    explainer = LimeTabularExplainer(iris.data, discretizer=discretizer, random_state=0)
    data, inverse = explainer._LimeTabularExplainer__data_inverse(iris.data[60], 20000)
    np.testing.assert_allclose(z.mean(0), data.mean(0), atol=0.015)
    rows, inverse = rows.round(6), inverse.round(6)  # lime spreads bins of one value by 1e-11
    for column in range(4):  # 1.63 is the 1 % point of Kolmogorov's distribution; eight are drawn
        assert ks_2samp(rows[:, column], inverse[:, column]).statistic < 2 * (2 / 20000) ** 0.5


@pytest.mark.parametrize("discretizer", ["quartile", "decile"])
@pytest.mark.parametrize("index", [0, 60, 149])
def test_conditions_on_a_row_are_limes_in_more_digits(index, discretizer):
    iris = load_iris()
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    ours = Table.of(iris.data[index], iris.data, names, (), {}, discretizer, False, None)
    explainer = LimeTabularExplainer(iris.data, feature_names=names, discretizer=discretizer)
    bins = explainer.discretizer.discretize(iris.data[index]).astype(int)
    for column, described in enumerate(ours.columns):
        theirs = explainer.discretizer.names[column][bins[column]]
        assert re.sub(r"\d+\.\d+|\d+", "#", described.condition) == re.sub(r"\d+\.\d+|\d+", "#", theirs)
        borders = [
            [float(n) for n in re.findall(r"\d+\.?\d*", text)] for text in (described.condition, theirs)
        ]
        np.testing.assert_allclose(*borders, atol=0.0051)


def test_pick_equals_limes_greedy_where_nothing_ties():
    class Told:
        """An explanation as SubmodularPick reads it."""

        mode = "classification"

        def __init__(self, row):
            self.row = row

        def available_labels(self):
            return [0]

        def as_list(self, label):
            return [(j, float(w)) for j, w in enumerate(self.row) if w]

    class Explainer:
        def explain_instance(self, row, *_, **__):
            return Told(row)

    rng = np.random.default_rng(0)
    for _ in range(10):
        weights = rng.normal(size=(12, 40)) * (rng.uniform(size=(12, 40)) < 0.15)
        peer = SubmodularPick(Explainer(), weights, None, method="full", num_exps_desired=5)
        assert cover(weights, 5).indices == peer.V
