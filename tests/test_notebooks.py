"""The notebooks run from the first cell to the last, and find what they say."""

import re
import runpy
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "examples/notebooks"
QUICK = {"paper_figure", "why_did_it_fail"}
"""What the quick suite runs; the sweeps run the others."""
FILES = {
    "quickstart": ["tabby.png", "tabby against Egyptian cat.png", "report.html"],
    "wolf_or_husky": ["wolf.html", "before_and_after.png"],
    "two_models": ["two_models.png"],
    "thousand_pictures": ["maps/index.jsonl", "maps/0005.layer-cam.npz"],
    "why_did_it_fail": ["why.png", "contrast.png"],
    "digits": ["digits.safetensors", "digit.png", "digit_maps.png", "worst.png"],
    "paper_figure": ["figure.pdf", "figure.svg", "layer_cam.pdf"],
}


def found_what_it_says(name: str, space: dict[str, Any]) -> bool:
    """Whether the text beside the cells is true of what they computed."""
    if name == "quickstart":
        return "grad-cam" in space["supported"]
    if name == "wolf_or_husky":
        biased = space["usual"] > 0.9 and space["swapped"] < 0.2 and max(space["before"].values()) < 0.3
        proven = space["seen"]["husky", True] > 0.9 and space["seen"]["wolf", False] < 0.1
        mended = space["fair_swapped"] > 0.9 and min(space["after"].values()) > 0.6
        return biased and proven and mended and not space["c"].verdict.localised
    if name == "two_models":
        alike = space["alike"]  # of the models under one method, and of the methods on one model
        return bool(min(alike[0][2], alike[1][3]) > max(alike[0][1], alike[2][3]))
    if name == "thousand_pictures":
        first, second = space["first"], space["second"]
        went_on = "6 results were there" in second.stdout and len(space["lines"]) == 12
        return bool(first.returncode == 1 and "broken.jpg" in first.stderr and went_on)
    if name == "digits":
        learned = len(space["right"]) > 0.95 * len(space["outputs"])
        looked = min(space["on_ink"].values()) > space["ink"].mean()
        return bool(learned and looked and space["why"].score[0] > 0)
    if name == "why_did_it_fail":
        hidden, elsewhere = space["scores"].values()
        return bool(hidden < 0.7 * space["best"].score[0] < elsewhere)
    return bool(space["same"])


def test_every_notebook_is_listed_and_tested():
    names = {path.stem for path in NOTEBOOKS.glob("*.py")}
    assert set(FILES) == names
    assert set(re.findall(r"\((\w+)\.py\)", (NOTEBOOKS / "README.md").read_text("utf-8"))) == names


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.full) for n in FILES]
)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [f"{name}.py", "12"])  # pictures, of the folder of a thousand
    space = runpy.run_path(str(NOTEBOOKS / f"{name}.py"), run_name="__main__")
    assert found_what_it_says(name, space)
    for file in FILES[name]:
        assert (tmp_path / file).stat().st_size > 0


def cells(script: str) -> nbformat.NotebookNode:
    """A script of the percent format as a notebook."""
    book = nbformat.v4.new_notebook()
    for head, body in re.findall(r"^# %%(.*)\n((?:(?!# %%).*\n)*)", script, re.MULTILINE):
        text = body.strip("\n")
        if "markdown" in head:
            book.cells.append(nbformat.v4.new_markdown_cell(re.sub(r"^# ?", "", text, flags=re.MULTILINE)))
        else:
            book.cells.append(nbformat.v4.new_code_cell(text))
    return book


def test_a_script_becomes_a_notebook():
    book = cells((NOTEBOOKS / "quickstart.py").read_text("utf-8"))
    assert book.cells[0].source.startswith("# Quickstart\n\nA map of why")
    assert book.cells[1].source.startswith("import pellucid")
    assert {cell.cell_type for cell in book.cells} == {"markdown", "code"}
    assert len(book.cells) > 8


@pytest.mark.full
def test_a_notebook_runs_in_jupyter_and_shows_its_explanation(tmp_path: Path):
    book = cells((NOTEBOOKS / "quickstart.py").read_text("utf-8"))
    NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [out for cell in book.cells if cell.cell_type == "code" for out in cell.outputs]
    assert any("text/html" in out.get("data", {}) for out in shown)
