"""The lesson: pictures are chosen by the network's answers, methods judged by numbers, all on one page."""

import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from digit_sets import few, learned, write_set
from typer.testing import CliRunner

import pellucid
from pellucid.cli import app
from pellucid.digits.data import Digits
from pellucid.digits.lesson import METHODS, SUITED, Lesson, make_lesson
from pellucid.digits.page import render
from pellucid.digits.standings import floors, standings
from pellucid.digits.training import Plan, Trained, scores, train
from pellucid.digits.typeset import mathml, sentence
from pellucid.errors import ModelError
from pellucid.formula import formula_of
from pellucid.networks.architectures import ARCHITECTURES

SHORT = ("grad-cam", "input-x-gradient", "lime:samples=60,segments=grid:4")


@cache
def three() -> Trained:
    """A network that knows three classes, and has a few mistakes to explain."""
    digits = few()
    some = [part.chosen(np.flatnonzero(part.labels < 3)) for part in (digits.train, digits.test)]
    return train(Digits("three digits", *some, labels=tuple("012")), Plan(epochs=1, batch=32), progress=False)


@cache
def lesson() -> Lesson:
    trained = three()
    return make_lesson(
        trained.model(),
        trained.digits,
        architecture="cnn",
        training=trained.record.training,
        methods=SHORT,
        progress=False,
    )


def test_one_of_each_class_and_the_surest_mistakes_are_explained():
    outputs = scores(three().module, three().digits.test.inputs)
    sure, predicted = (t.numpy() for t in outputs.softmax(1).max(1))
    labels = three().digits.test.labels
    wrong = np.flatnonzero(predicted != labels)
    worst = sorted(wrong, key=lambda i: -sure[i])[:4]
    right, mistakes = lesson().answers[:3], lesson().answers[3:]
    assert [one.label for one in right] == list("012")
    assert all(one.right for one in right)
    assert [one.index for one in mistakes] == [int(i) for i in worst]
    assert mistakes
    assert mistakes[0].probability == pytest.approx(sure[worst[0]])
    assert lesson().mistakes == len(wrong)
    assert lesson().confusion.sum(1).tolist() == np.bincount(labels).tolist()


def test_standings_are_means_over_what_was_measured():
    c = lesson().comparison
    by_title = {one.title: one for one in standings(c)}
    assert set(by_title) == set(SHORT)
    one = by_title["grad-cam"]
    curves = [curve for curve in c.curves if curve.title == "grad-cam"]
    assert len(curves) == len(lesson().answers)
    deletion = np.mean([float((curve.deletion / curve.deletion[0]).mean()) for curve in curves])
    assert one.deletion == pytest.approx(deletion)
    judged = [m for v in c.verdicts if v.localised for m in v.maps if m.title == "grad-cam"]
    assert one.supported + one.undecided + one.rejected == len(judged)
    assert one.q == (pytest.approx(np.mean([m.q for m in judged])) if judged else None)
    assert one.passes == (1, 1)
    assert bool(floors(c)) == bool(judged)


class Reader(HTMLParser):
    """What a page would load, its formulas, and whether its elements close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded, self.open, self.formulas = [], [], 0

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.loaded += [given[name] for name in ("src", "href") if name in given]
        self.formulas += tag == "math"
        if tag not in ("meta", "link", "input", "br", "image", "use", "fecolormatrix"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_holds_its_numbers():
    page = render(lesson())
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert all(link.startswith(("data:", "#")) for link in reader.loaded)
    assert "<script>" not in page
    assert reader.formulas >= len(SHORT)
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    data = json.loads(text)
    assert data["accuracy"]["mean"] == lesson().accuracy.mean
    assert {one["title"] for one in data["methods"]} == set(SHORT)
    assert len(data["pictures"]) == len(lesson().answers)
    for title in SHORT:
        assert f">{title}</a></th>" in page
    assert "so that several" not in page  # of another method
    assert sentence(pellucid.METHODS["grad-cam"].doc.split("\n\n")[1].replace("\n", " ")) in page


@pytest.mark.parametrize("name", [m.name for m in pellucid.methods() if m.built_in])
def test_every_formula_becomes_mathml(name: str):
    formula = formula_of(pellucid.METHODS[name].doc)
    for latex in (*formula.lines, *(symbol for symbol, _ in formula.symbols)):
        made = str(mathml(latex))
        assert "\\" not in made, latex
        assert made.startswith("<math")


def test_the_lesson_names_methods_that_there_are():
    assert set(SUITED) == set(ARCHITECTURES)
    for name in (*METHODS, *(one for some in SUITED.values() for one in some)):
        assert name.partition(":")[0] in pellucid.METHODS


def test_a_network_of_other_inputs_or_classes_is_refused():
    other = pellucid.load("timm:resnet18", random_weights=True)
    with pytest.raises(ModelError, match=r"must read one channel of 28 by 28 pixels: train such a network"):
        make_lesson(other, few(), architecture="cnn", training={}, progress=False)
    fewer = replace(few(), labels=tuple("abc"))
    with pytest.raises(ModelError, match=r"must have 3 classes, as few digits has; it gives \(10,\)\."):
        make_lesson(learned("cnn", epochs=2).model(), fewer, architecture="cnn", training={}, progress=False)


def test_the_command_trains_explains_and_writes_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pellucid.digits.lesson.MISTAKES", 1)
    write_set(tmp_path / "set", count=60, tests=20)
    asked = ["lab", "--data", "set", "-m", "grad-cam", "-m", "saliency"]
    done = CliRunner().invoke(app, [*asked, "--epochs", "1"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in Path("pellucid-lab").iterdir()) == ["digits.safetensors", "lab.html"]
    again = CliRunner().invoke(
        app, [*asked, "--model", "pellucid-lab/digits.safetensors", "--out", "second", "--json"]
    )
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["architecture"] == "cnn"
    assert [path.name for path in Path("second").iterdir()] == ["lab.html"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "a.safetensors", "--arch", "vit"], "is trained already: leave out --arch and --epochs."),
        (["--model", "a.safetensors"], "There is no model file a.safetensors."),
        (["-m", "grad-camera"], "There is no method"),
        (["--out", "file"], "--out must be a folder; file is a file."),
        (["--data", "nowhere"], "There is no folder nowhere."),
    ],
)
def test_bad_requests_write_nothing(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    done = CliRunner().invoke(app, ["lab", *options])
    assert done.exit_code == 2
    assert said in done.stderr or "grad-cam" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
