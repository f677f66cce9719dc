"""What the command line wrote is not explained again: results are known by a hidden list beside them."""

import errno
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import pellucid
from pellucid.cli import app
from pellucid.errors import FileMissing, NotWritten
from pellucid.images import find_pictures

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
    for i, name in enumerate(("cat.png", "more/dog.png")):
        Path(name).parent.mkdir(exist_ok=True)
        Image.effect_noise((24, 20), 60 + i).convert("RGB").save(name)


def run(verb, *arguments):
    return CliRunner().invoke(app, [verb, *arguments, "--model", "nets.py:net"])


def results(folder="pellucid-out"):
    return sorted(path.name for path in Path(folder).glob("*.png"))


@pytest.mark.parametrize("where", [".", "**", "**/*.png"])
def test_a_second_run_explains_the_same_pictures(where):
    assert run("explain", where).exit_code == 0
    first = results()
    again = run("explain", where)
    assert again.exit_code == 0
    assert results() == first == ["cat.grad-cam.png", "dog.grad-cam.png"]
    (line,) = [line for line in again.stderr.splitlines() if "Left out" in line]
    assert line == "pellucid: Left out: 2 results of earlier explanations in " + (
        "./pellucid-out." if where == "." else "pellucid-out."
    )


def test_results_in_the_pictures_own_folder_leave_the_pictures():
    for _ in range(2):
        assert run("explain", ".", "--out", ".").exit_code == 0
    assert find_pictures(["."]) == ["./cat.png", "./more/dog.png"]
    assert len(results(".")) == 3


def test_comparisons_are_left_out_too():
    assert run("compare", "cat.png", "-m", "grad-cam", "-m", "cam", "--out", "both").exit_code == 0
    found = []
    assert find_pictures(["."], left_out=found) == ["./cat.png", "./more/dog.png"]
    assert found == ["./both/compare.png"]


def test_a_folder_of_results_alone_is_refused_and_a_named_result_is_not():
    run("explain", ".")
    with pytest.raises(FileMissing, match=r"no picture but results of earlier explanations.*name it"):
        find_pictures(["pellucid-out"])
    named = "pellucid-out/cat.grad-cam.png"
    assert find_pictures([named]) == [named]


def test_the_list_moves_with_the_folder_and_a_foreign_file_of_its_name_harms_nothing():
    run("explain", ".")
    shutil.move("pellucid-out", "more/old")
    assert find_pictures(["."]) == ["./cat.png", "./more/dog.png"]
    Path(".pellucid-results").write_bytes(b"\xff\xfe\x00")
    assert find_pictures(["."]) == ["./cat.png", "./more/dog.png"]


@pytest.mark.parametrize(
    "verb", [["explain", "cat.png"], ["compare", "cat.png", "-m", "saliency", "-m", "grad-cam"]]
)
@pytest.mark.parametrize(
    ("folder", "reason"),
    [("/proc/nope", "No such file or directory"), ("nets.py/more", "a file is where the folder should be")],
)
def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(verb, folder, reason):
    result = run(*verb, "--out", folder)
    assert result.exit_code != 0
    said = " ".join(result.stderr.split())
    assert f"The folder '{folder}' cannot be made ({reason}): choose another place for it." in said
    assert "Error" not in said


def test_files_that_cannot_be_written_are_told_and_leave_nothing_behind(monkeypatch):
    explanation = pellucid.explain(*_little(), "saliency", target=0)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    explanation.view()
    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(NotWritten, match=r"file 'x.png' cannot be written \(No space .*make room\."):
        explanation.save("x.png")
    with pytest.raises(NotWritten, match=r"'nets\.py' cannot be made \(a file is where the"):
        explanation.save("nets.py/x.png")
    assert not list(Path().glob(".x*"))


def _little():
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
