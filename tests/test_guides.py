"""The guides' generated pages are current, and what they say has its place in the repository."""

import re
import runpy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pellucid
from pellucid.errors import PellucidError, SomeFailed

ROOT = Path(__file__).parents[1]


def test_the_choice_of_a_method_is_what_registry_and_measurements_say():
    choosing = runpy.run_path(str(ROOT / "docs/choosing.py"))
    written = (ROOT / "docs/choosing.md").read_text("utf-8")
    assert written == choosing["render"](), "docs/choosing.md is out of date: run `python docs/choosing.py`"
    rates = {row[0]: row[1] for row in choosing["ordered"]()}
    assert rates["`occlusion`"] == "1.000 [.958, 1.000]"
    assert len(rates) > 20


def test_the_limits_of_each_method_are_told_once():
    kinds = runpy.run_path(str(ROOT / "docs/choosing.py"))["KINDS"]
    told = Counter(name for kind in kinds for name in kind["methods"].split())
    assert set(told) == {m.name for m in pellucid.methods() if m.built_in}
    assert set(told.values()) == {1}


@pytest.fixture(scope="module")
def errors() -> dict[str, Any]:
    """What docs/errors.py defines."""
    return runpy.run_path(str(ROOT / "docs/errors.py"))


def test_the_page_of_errors_has_every_error_of_the_source(errors: dict[str, Any]):
    written = (ROOT / "docs/errors.md").read_text("utf-8")
    assert written == errors["render"](), "docs/errors.md is out of date: run `python docs/errors.py`"
    assert len({text for _, _, text in errors["raised"]()}) > 380


def test_errors_met_most_often_are_those_of_the_source(errors: dict[str, Any]):
    texts = [text for _, _, text in errors["raised"]()]
    texts.append(str(SomeFailed(None, [0], {1: PellucidError("no")})))
    for question in errors["WORDS"]["question"]:
        assert any(question["text"] in text for text in texts), question["text"]


@pytest.mark.parametrize(
    "fails",
    [
        lambda: pellucid.explain(lambda x: x.mean((2, 3)), torch.rand(1, 3, 8, 8), "grad-cam"),
        lambda: pellucid.explain(nn.Flatten(), torch.rand(1, 3, 8, 8), "grad-cam", sample=3),
        lambda: pellucid.explain(nn.Flatten(), torch.rand(1, 3, 4, 4), "saliency", target=99),
        lambda: pellucid.explain(nn.Flatten(), "nowhere.png"),
        lambda: pellucid.explain(nn.Identity(), torch.rand(1, 3, 4, 4), "saliency"),
        lambda: pellucid.load("timm:no_such_model", random_weights=True),
        lambda: pellucid.explain(nn.Flatten(), torch.full((1, 3, 4, 4), torch.nan)),
        lambda: pellucid.Preprocess((8, 8), scale_to=8, mean=(0.0,), std=(0.0,)),
    ],
)
def test_an_error_that_comes_stands_on_the_page(errors: dict[str, Any], fails: Callable[[], object]):
    with pytest.raises(PellucidError) as caught:
        fails()
    kind, said = type(caught.value).__name__, " ".join(str(caught.value).split())
    forms = [text for _, name, text in errors["raised"]() if name == kind]
    assert any(re.fullmatch(re.escape(form).replace("…", ".*"), said) for form in forms), said


def test_each_yes_of_the_comparison_leads_to_a_page_or_a_test():
    """That each link exists, `tests/test_docs.py` checks of all pages; here, that no yes is without one."""
    page = ROOT / "docs/comparison.md"
    rows = [
        line.strip("|").split("|") for line in page.read_text("utf-8").splitlines() if line.startswith("| ")
    ]
    rows = [[cell.strip() for cell in row] for row in rows if "Pellucid" not in row[1]]
    assert len(rows) > 70
    assert {len(row) for row in rows} == {14}
    told = 0
    for name, ours, *theirs in rows:
        assert set(theirs) <= {"yes", "partly", "–"}, name
        if ours != "–":
            link = re.fullmatch(r"\[(?:yes|partly)\]\((\S+)\)", ours)
            assert link, name
            path = (page.parent / link[1]).resolve()
            assert path.is_file(), ours
            assert path.suffix == ".md" or path.name.startswith("test_"), ours
            told += 1
    assert told > 60
