"""The guides' generated pages are current, and what they say has its place in the repository."""

import runpy
from collections import Counter
from pathlib import Path

import pellucid

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
