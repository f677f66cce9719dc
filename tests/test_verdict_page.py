"""The page about verdicts: its numbers are the measured ones, and the thresholds it names are the code's."""

import runpy
from pathlib import Path

from pellucid.verdict import decide

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/verdict.md"


def test_its_tables_are_those_of_the_results():
    script = runpy.run_path(str(ROOT / "docs/verdict.py"))
    read = [script[name].read_text("utf-8") for name in ("PAGE", "RESULTS", "FRESH")]
    assert read[0] == script["updated"](*read), "docs/verdict.md is out of date: run `python docs/verdict.py`"
    for at in (1, 2):
        other = list(read)
        other[at] = read[at].replace(
            "supported maps of methods are right | .", "supported maps of methods are right | .1"
        )
        assert other[0] != script["updated"](*other)


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
