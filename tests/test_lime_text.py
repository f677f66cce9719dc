"""LIME for text: what it finds, that it is repeatable, what it shows, and what it refuses."""

import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nets import unchecked
from pellucid import lime
from pellucid.errors import InvalidType, InvalidValue
from pellucid.lime.words import Words

TEXT = "You won a prize, a big prize: claim it"


def additive(weights):
    """The probability of class 1 is 0.5 plus the weights of the words that occur."""

    def predict(texts):
        p = np.array([0.5 + sum(weights.get(w, 0) for w in set(re.split(r"\W+", t))) for t in texts])
        return np.stack([1 - p, p], 1)

    return predict


SPAM = additive({"prize": 0.3, "won": 0.1, "You": -0.2})


def test_an_additive_model_is_found_exactly():
    found = lime.text(SPAM, TEXT, labels=1, features=None, ridge=1e-9)[1]
    weights = dict(zip(lime.text(SPAM, TEXT, samples=10).names, found.coefficients.tolist(), strict=True))
    assert weights == pytest.approx(
        {"You": -0.2, "won": 0.1, "a": 0, "prize": 0.3, "big": 0, "claim": 0, "it": 0}, abs=1e-8
    )
    assert found.intercept == pytest.approx(0.5, abs=1e-8)
    assert found.r2 == pytest.approx(1)
    assert found.prediction == pytest.approx(0.7)
    assert found.local_prediction == pytest.approx(0.7, abs=1e-8)
    assert found.stderr.max() < 1e-8


def test_weights_come_largest_first_and_only_as_many_as_asked():
    found = lime.text(SPAM, TEXT, labels=1, features=3)
    assert [name for name, _ in found.as_list()] == ["prize", "You", "won"]
    assert (found[1].coefficients != 0).sum() == 3


def test_the_likeliest_classes_are_explained_by_one_run():
    calls = []

    def predict(texts):
        calls.extend(texts)
        return SPAM(texts)

    found = lime.text(predict, TEXT, top_labels=2, samples=300, class_names=["mail", "spam"])
    assert len(calls) == found.samples == 300
    assert found.labels == [1, 0]
    assert [one.name for one in found] == ["spam", "mail"]
    torch.testing.assert_close(found["spam"].coefficients, -found["mail"].coefficients)
    assert found.as_list("spam")[0] == found.as_list(1)[0] == found.as_list()[0]


def test_labels_may_be_names_in_any_order():
    found = lime.text(SPAM, TEXT, labels=["mail", 1], class_names=["mail", "spam"], samples=50)
    assert found.labels == [0, 1]


def test_same_seed_same_result_for_every_batch_size():
    one, other, third = (
        lime.text(SPAM, TEXT, samples=700, batch_size=b, seed=s)[1] for b, s in ((700, 3), (13, 3), (13, 4))
    )
    assert torch.equal(one.coefficients, other.coefficients)
    assert not torch.equal(one.coefficients, third.coefficients)


def test_numpys_and_torchs_random_states_are_left_alone():
    before = str(np.random.get_state()), torch.get_rng_state().tolist()
    lime.text(SPAM, TEXT, samples=50)
    assert (str(np.random.get_state()), torch.get_rng_state().tolist()) == before


def wavy(texts):
    """Far from additive, so that it takes samples to converge."""
    p = np.array([0.5 + 0.4 * np.sin(len(t) * 1.7 + ("prize" in t)) for t in texts])
    return np.stack([1 - p, p], 1)


def test_auto_stops_when_settled_and_equals_a_run_of_so_many():
    rough = lime.text(wavy, TEXT, labels=1, samples="auto", tolerance=0.6)
    fine = lime.text(wavy, TEXT, labels=1, samples="auto", tolerance=0.3)
    assert 500 < rough.samples < fine.samples < 20_000
    assert fine.notes == rough.notes == []
    fixed = lime.text(wavy, TEXT, labels=1, samples=fine.samples)
    assert torch.equal(fixed[1].coefficients, fine[1].coefficients)
    top = fine[1].coefficients.abs().topk(3).indices
    assert fine[1].stderr[top].mean() <= 0.3 * fine[1].coefficients[top].abs().mean()


def test_auto_goes_on_while_halves_disagree_on_the_order(monkeypatch):
    """Three words are known at once; the other twelve differ by noise only."""
    monkeypatch.setattr("pellucid.lime.sampling.MOST", 1001)
    text = " ".join("abcdefghijklmno")

    def predict(texts):
        p = np.array([0.2 * ("a" in t) + 0.25 * ("b" in t) + 0.3 * ("c" in t) for t in texts])
        p += [0.1 * np.sin(1e4 * sum(map(ord, t))) ** 2 for t in texts]
        return np.stack([1 - p, p], 1)

    found = lime.text(predict, text, labels=1, features=None, samples="auto", tolerance=0.2)
    size, order = found[1].coefficients.abs(), found[1].chosen[:3]
    assert found[1].stderr[order].mean() < 0.1 * size[order].mean()
    assert "not converged" in found.warnings[0]


def test_auto_says_when_it_gives_up(monkeypatch):
    monkeypatch.setattr("pellucid.lime.sampling.MOST", 1500)
    found = lime.text(wavy, TEXT, labels=1, samples="auto", tolerance=0.01)
    assert found.samples == 1500
    assert "not converged to a tolerance of 0.01 after 1500 samples" in found.warnings[0]


def test_a_surrogate_that_explains_little_is_warned_of():
    found = lime.text(wavy, TEXT, labels=1, samples=2000)
    assert found[1].r2 < 0.5
    assert "1: the surrogate explains" in found.warnings[0]
    assert lime.text(SPAM, TEXT, samples=500).warnings == []


def test_regression_explains_any_number():
    found = lime.text(
        lambda texts: [100.0 * ("prize" in t) for t in texts],
        TEXT,
        mode="regression",
        samples=500,
        ridge=1e-9,
    )
    assert found.as_list()[0] == ("prize", pytest.approx(100, abs=1e-5))
    assert found[0].name == "prediction"


# --- words -----------------------------------------------------------------------------------------------


def cut(text, bag_of_words=True, mask=None, split=r"\W+"):
    return Words.of(text, split, bag_of_words, mask, 25.0)


@given(st.text(max_size=60), st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_any_text_is_put_together_again_and_loses_only_its_words(text, bag, seed):
    if len(set(re.findall(r"\w+", text))) < 2:
        return
    words = cut(text, bag, "")
    everything, nothing = words.without(np.array([[1.0] * len(words.names), [0.0] * len(words.names)]))
    assert everything == text
    assert nothing == re.sub(r"\w+", "", text)
    z, texts = words.draw(5, np.random.default_rng(seed))
    for row, lacking in zip(z, texts, strict=True):
        kept = [name for name, keep in zip(words.names, row, strict=True) if keep]
        left = re.findall(r"\w+", lacking)
        assert (set(left) == set(kept)) if bag else (left == kept) or not re.search(r"\W", text)


def test_the_number_of_removed_words_is_uniform():
    words = cut("a b c d e f g h")
    z, _ = words.draw(40_000, np.random.default_rng(0))
    removed = np.bincount((8 - z.sum(1)).astype(int), minlength=9)
    assert removed[0] == 0
    assert np.abs(removed[1:] / 40_000 - 1 / 8).max() < 0.008
    assert np.abs(z.mean(0) - z.mean()).max() < 0.012


def test_repeated_words_are_one_feature_in_a_bag_and_two_in_order():
    text = "good, not good"
    assert cut(text).names == ["good", "not"]
    assert cut(text).without(np.array([[0.0, 1]])) == [", not "]
    ordered = cut(text, bag_of_words=False)
    assert [f.name for f in ordered.features()] == ["good (1 of 2)", "not", "good (2 of 2)"]
    assert ordered.without(np.array([[1.0, 1, 0]])) == ["good, not UNKWORDZ"]
    assert cut(text, False, "[MASK]").without(np.array([[0.0, 1, 1]])) == ["[MASK], not good"]
    assert [text[a:b] for f in ordered.features() for a, b in f.spans] == ["good", "not", "good"]


def test_a_tokenizer_may_cut_the_text():
    words = cut("東京は大きい", split=lambda _: ["東京", "は", "大きい"])
    assert words.names == ["東京", "は", "大きい"]
    assert words.without(np.array([[1.0, 0, 1]])) == ["東京大きい"]


# --- what is shown ---------------------------------------------------------------------------------------


def test_html_tints_words_and_escapes_text():
    nasty = "<script>alert(1)</script> & won a prize"
    html = lime.text(SPAM, nasty, labels="<spam>", class_names=["m", "<spam>"], samples=500)._repr_html_()
    assert "<script>" not in html
    assert "&lt;spam&gt;" in html
    plain = re.sub(r"<[^>]+>", "", re.search(r'<p class="text">(.*?)</p>', html, re.S)[1])
    assert plain == "&lt;script&gt;alert(1)&lt;/script&gt; &amp; won a prize"
    tints = dict(re.findall(r'background:(#\w+)" title="[^"]*">(\w+)<', html))
    assert set(tints.values()) >= {"prize"}
    assert next(c for c, w in tints.items() if w == "prize").startswith("#b2182b")


def test_files_are_written_by_suffix(tmp_path):
    found = lime.text(SPAM, "won $prize$ — naïve ©", top_labels=2, samples=300)
    assert found.save(tmp_path / "a.html").read_text("utf-8").startswith("<!doctype html>")
    assert found.save(tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    told = json.loads(found.save(tmp_path / "a.json").read_text("utf-8"))
    assert told["labels"][0]["coefficients"] == found.by_label[0].coefficients.tolist()
    assert [f["name"] for f in told["features"]] == found.names
    with pytest.raises(InvalidValue, match=r"must end in \.html, \.png, .* or \.json; got 'a\.gif'"):
        found.save(tmp_path / "a.gif")
    assert found.save(tmp_path / "new" / "a.jpg").read_bytes()[:3] == b"\xff\xd8\xff"


def test_the_figure_has_a_panel_per_label_and_a_bar_per_word():
    found = lime.text(SPAM, TEXT, top_labels=2, features=3, samples=300)
    figure = found.plot()
    assert len(figure.axes) == 2
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [n for n, _ in found.as_list()]
    assert len(found.plot([0]).axes) == 1


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predict", "says"),
    [
        (lambda t: 0.7, "each of 1 inputs and each class, .* got one number, 0.7"),
        (lambda t: [0.7] * len(t), "one number each: pass predict_proba instead of predict"),
        (lambda t: [[0.7]] * len(t), "a single column"),
        (lambda t: [[3, 0.7]] * len(t), r"looks like \[class, probability\], \[3, 0.7\]"),
        (lambda t: [[2.0, -1.0, 0.5]] * len(t), "not negative, and of sum 1; .* apply a softmax"),
        (lambda t: [[0.7, 0.7]] * len(t), "of sum 1.4: apply a softmax"),
        (lambda t: [[float("nan"), 0.5]] * len(t), "must be finite; got .nan, 0.5. for 'You won"),
        (lambda t: [[0.5, 0.5]], "got 1 rows: it must answer every input"),
        (lambda t: [[[0.5, 0.5]]] * len(t), r"got shape \(1, 1, 2\)"),
        (lambda t: [[0.5, 0.5] if len(t) == 1 else [0.2, 0.2, 0.6]] * len(t), "same number of classes"),
    ],
)
def test_answers_that_are_no_probabilities_are_refused(predict, says):
    with pytest.raises(InvalidValue, match=says):
        lime.text(predict, TEXT, samples=200)


def test_answers_that_are_no_numbers_are_refused():
    with pytest.raises(InvalidType, match="must return an array of numbers; got list"):
        lime.text(lambda t: [["spam", "no"]] * len(t), TEXT)


def test_probabilities_may_come_as_tensors_in_low_precision():
    found = lime.text(lambda t: torch.tensor(SPAM(t)).half(), TEXT, samples=300)
    assert found.as_list(1)[0][0] == "prize"


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("", {}, "at least two different words to tell apart; '' holds 0"),
        ("spam, spam!", {}, "'spam, spam!' holds 1"),
        (TEXT, {"samples": 0}, "at least 2, the input and a neighbour; got 0"),
        (TEXT, {"samples": "many"}, 'samples must be "auto" or a whole number'),
        (TEXT, {"tolerance": 0.0, "samples": "auto"}, "tolerance must be between 0 and 1; got 0.0"),
        (TEXT, {"labels": 2}, "A label must be a class from 0 to 1; got 2"),
        (TEXT, {"labels": "ham", "class_names": ["mail", "spam"]}, "or one of mail, spam; got 'ham'"),
        (TEXT, {"class_names": ["a"]}, "must name all 2 columns of the predictions; got 1"),
        (TEXT, {"top_labels": 0}, "top_labels must be a whole number of at least 1; got 0"),
        (TEXT, {"features": 0}, "features must be a whole number of at least 1; got 0"),
        (TEXT, {"batch_size": 2.5}, "batch_size must be a whole number of at least 1; got 2.5"),
        (TEXT, {"kernel_width": 0.0}, "kernel_width must be positive"),
        (TEXT, {"split": "("}, "split must be a regular expression"),
        (TEXT, {"split": lambda t: ["won", "You"]}, "'You' is not found from character 7 on"),
        (TEXT, {"mode": "ranking"}, "mode must be"),
        (TEXT, {"selection": "lasso"}, "selection must be one of"),
        (TEXT, {"ridge": -1.0}, "ridge must be at least 0"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(text, options, says):
    with unchecked(), pytest.raises(InvalidValue, match=says):
        lime.text(SPAM, text, **options)


def test_a_text_that_is_none_is_refused():
    with unchecked(), pytest.raises(InvalidType, match="text must be one string; got list"):
        lime.text(SPAM, ["a", "b"])


def test_an_unexplained_label_is_refused():
    with pytest.raises(InvalidValue, match=r"must be one of those explained, 1 \(1\); got 0"):
        lime.text(SPAM, TEXT, samples=20).as_list(0)
