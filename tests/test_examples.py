"""The examples run as they stand, each in fifteen lines of one's own."""

import ast
import json
import runpy
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
JOBS = {
    "own_resnet": ([], ["own_resnet.png"]),
    "six_methods": ([], ["six_methods.png", "six_methods.html"]),
    "two_vits": ([], ["two_vits.html"]),
    "black_boxes": ([], ["forest.png"]),
    "onnx_file": (["model.onnx"], ["onnx.png"]),
    "many_pictures": (["3"], ["many.csv", "maps/000.png", "maps/002.png"]),
}


def own_lines(text: str) -> int:
    """Lines of code, without imports, comments and the docstring."""
    left_out = {0}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    doc = ast.parse(text).body[0]
    left_out |= set(range(1, (doc.end_lineno or 1) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(x.strip()) and not x.strip().startswith("#") and i not in left_out for i, x in lines)


class Session:
    """What the example asks of ONNX Runtime, which is no dependency, with two classes told by brightness."""

    def __init__(self, file: str) -> None:
        assert file == "model.onnx"

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="x")]

    def run(self, outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        upper, lower = np.split(feed["x"], 2, axis=2)
        return [np.stack([upper.mean((1, 2, 3)), lower.mean((1, 2, 3))], 1)]


LONG = {"six_methods", "two_vits"}
"""What the quick suite leaves to the sweeps."""


@pytest.mark.parametrize(
    "job", [pytest.param(job, marks=pytest.mark.full if job in LONG else ()) for job in JOBS]
)
def test_a_job_runs(job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    arguments, files = JOBS[job]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    if job == "onnx_file":
        stand_in = ModuleType("onnxruntime")
        stand_in.__spec__ = ModuleSpec("onnxruntime", None)  # other libraries look whether it is there
        stand_in.InferenceSession = Session
        monkeypatch.setitem(sys.modules, "onnxruntime", stand_in)
    monkeypatch.setattr(sys, "argv", [f"{job}.py", *arguments])
    runpy.run_path(str(EXAMPLES / f"{job}.py"), run_name="__main__")
    for file in files:
        assert (tmp_path / file).stat().st_size > 0
        if file.endswith(".png"):
            assert len(Image.open(tmp_path / file).convert("RGB").getcolors(1 << 24)) > 20
    if job == "many_pictures":
        rows = [line.split(",") for line in (tmp_path / "many.csv").read_text().splitlines()]
        assert [row[0] for row in rows] == ["000", "001", "002"]
        assert all(0 < float(row[-1]) <= 1 for row in rows)


@pytest.mark.parametrize("job", JOBS)
def test_a_job_is_short(job: str):
    assert 0 < own_lines((EXAMPLES / f"{job}.py").read_text("utf-8")) <= 15


def test_lines_of_code_are_counted():
    assert (
        own_lines('"""A\n\nb."""\nimport a\nfrom b import (\n    c,\n)\n\n# d\nx = 1  # e\ny = [\n    2\n]\n')
        == 4
    )


def test_the_notebook_runs():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    book = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    nbclient.NotebookClient(book, timeout=300).execute()
    shown = [cell.outputs for cell in book.cells if cell.cell_type == "code"]
    assert "text/html" in shown[0][-1]["data"] or "image/png" in shown[0][-1]["data"]
    assert "image/png" in json.dumps(shown[1])
