"""The page about verdicts: its numbers are the measured ones, and the thresholds it names are the code's."""

import runpy
from pathlib import Path

from pellucid.verdict import decide

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/verdict.md"


def test_its_tables_are_those_of_the_results():
    script = runpy.run_path(str(ROOT / "docs/verdict.py"))
    page, results = PAGE.read_text("utf-8"), (ROOT / "benchmarks/results/truth.md").read_text("utf-8")
    assert page == script["updated"](page, results), (
        "docs/verdict.md is out of date: run `python docs/verdict.py`"
    )
    changed = results.replace(
        "supported maps of methods are right | .", "supported maps of methods are right | .1"
    )
    assert page != script["updated"](page, changed)


def test_its_thresholds_are_those_of_the_code():
    text = " ".join(PAGE.read_text("utf-8").split())
    assert (
        f"q is at least {decide.SUPPORTED:g}, its 95 % interval lies above {decide.REJECTED:g}, and q of the "
        f"strongest sixteenth is at least {decide.STRONGEST:g}"
    ) in text
    assert (
        f"q is below {decide.REJECTED:g} and its interval below {decide.SUPPORTED:g}, and q of the strongest "
        f"sixteenth is below {decide.REJECTED:g}"
    ) in text
    assert f"(correlation above {decide.DIFFUSE:g})" in text
    assert f"lowers the score by {decide.SMALL_DROP:.0%} of the most" in text.replace(" %", "%")
