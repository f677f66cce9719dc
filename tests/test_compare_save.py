"""`pellucid compare --save`: the files that are asked for, and no others."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import pellucid
from pellucid.cli import app

NET = """
from torch import nn
import pellucid
def net():
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 3)).eval()
    return pellucid.Model(module, preprocess=pellucid.Preprocess((16, 16), 16), name="net")
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NET)
    Image.effect_noise((24, 20), 60).convert("RGB").save("cat.png")


def compare(*more: str):
    ask = ("compare", "cat.png", "-m", "grad-cam", "-m", "saliency", "--model", "nets.py:net")
    return CliRunner().invoke(app, [*ask, *more])


def written() -> list[str]:
    return sorted(path.name for path in Path("pellucid-out").glob("[!.]*"))


@pytest.mark.parametrize(
    ("asked", "files"),
    [
        ([], ["compare.png", "report.html"]),
        (["--save", "SVG, pdf,svg"], ["compare.svg", "compare.pdf"]),
        (["--save", "html"], ["report.html"]),
        (["--save", "npz,safetensors"], ["compare.npz", "compare.safetensors"]),
    ],
)
def test_the_files_that_were_asked_for_are_written_and_told(asked, files):
    result = compare(*asked, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["files"] == [f"pellucid-out/{name}" for name in files]
    assert written() == sorted(files)


def test_what_was_saved_is_the_comparison():
    assert compare("--save", "npz", "--scale", "shared").exit_code == 0
    saved = pellucid.Comparison.load("pellucid-out/compare.npz")
    assert [entry.title for entry in saved.entries] == ["grad-cam", "saliency"]


def test_another_kind_is_refused_before_anything_is_run():
    result = compare("--save", "png,gif")
    assert result.exit_code == 2
    assert result.stderr == (
        "pellucid: --save must name any of png, jpg, webp, pdf, svg, html, npz, safetensors; got 'gif'.\n"
    )
    assert not Path("pellucid-out").exists()
