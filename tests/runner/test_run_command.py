"""`pellucid run`, as it is typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import pellucid
from pellucid.cli import app
from runner.conftest import write_pictures

MODEL = ["--model", f"{Path(__file__).parent / 'victim.py'}:make"]


def typed(*words: object):
    """What came of a command."""
    return CliRunner().invoke(app, ["run", *map(str, words), *MODEL])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pictures."""
    return write_pictures(tmp_path_factory.mktemp("p"), 9)


def test_a_run_tells_what_came_of_it(folder: Path, tmp_path: Path):
    result = typed(folder, "--store", tmp_path / "r", "-m", "grad-cam", "-m", "saliency", "-t", "label")
    assert result.exit_code == 0, result.output
    assert "Run(grad-cam, saliency of victim, 9 of 9 pictures)" in result.output
    assert "open_run" in result.output
    run = pellucid.open_run(tmp_path / "r")
    assert run.to_arrow(["row"]).num_rows == 18
    assert run.model_spec == MODEL[1]


def test_json_and_exit_code_one_where_some_failed(folder: Path, tmp_path: Path):
    (folder / "c0" / "broken.png").write_bytes(b"")
    result = typed(folder, "--store", tmp_path / "r", "--json")
    (folder / "c0" / "broken.png").unlink()
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["pictures"], told["rows"]) == (10, 10)
    assert list(told["failed"].values()) == [1]
    said = typed(folder, "--store", tmp_path / "r")
    assert said.exit_code == 1
    assert "1 failed: c0/broken.png is empty" in said.output
    assert "--retry-errors" in said.output


def test_progress_as_lines_of_json(folder: Path, tmp_path: Path):
    result = typed(folder, "--store", tmp_path / "r", "--json-progress", "--quiet")
    assert result.exit_code == 0
    last = json.loads(result.stderr.strip().splitlines()[-1])
    assert (last["done"], last["total"], last["failed_rows"]) == (9, 9, 0)
    assert last["pictures_per_second"] >= 0
    assert last["seconds_left"] in (None, 0)


def test_an_estimate_is_multiplication_and_keeps_nothing(folder: Path, tmp_path: Path):
    asked = [folder, "--store", tmp_path / "r", "--estimate", "--workers", 3, "--price", 2.5]
    result = typed(*asked, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["pictures"], told["tried"], told["failed"], told["workers"]) == (9, 9, 0, 3)
    assert told["hours"] == pytest.approx(9 * told["seconds"] / 3 / 3600)
    assert told["dollars"] == pytest.approx(3 * told["hours"] * 2.5)
    assert told["gigabytes"] == pytest.approx(9 * told["bytes"] / 1e9)
    assert not (tmp_path / "r").exists()
    words = typed(*asked)
    assert "dollars" in words.output
    assert "Measured on 9 of them" in words.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere/"], "no such file or folder"),
        (["{folder}", "--price", "3"], "--price is for --estimate"),
        (["{folder}", "--engine", "ray", "--address", "127.0.0.1:1"], "nothing does"),
        (["{folder}", "-t", "c7"], "c7"),
        (["{folder}", "-m", "grad-kam"], "grad-cam"),
        (["{folder}", "--metric", "deletoin"], "deletion"),
        (["{folder}", "--workers", "2"], "workers is for engine='processes'"),
        (["{empty}"], "at least one picture"),
        (["{empty}/l.csv"], "name the one with the pictures (image=, --image-column)"),
        (["{empty}/l.csv", "--image-column", "where", "--label-column", "what"], "has no column 'what'"),
        (["{empty}/l.csv", "--image-column", "where"], "--box-format xywh"),
    ],
)
def test_what_is_refused_is_one_line(words: list[str], says: str, folder: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/l.csv").write_text("where,bbox\na.png,9 9 2 2\n")
    given = [word.format(folder=folder, empty=tmp_path / "empty") for word in words]
    result = typed(*given, "--store", tmp_path / "r")
    assert result.exit_code == 2
    assert says in result.output.replace("\n", " ")
    assert "Traceback" not in result.output


def test_the_columns_of_a_list_can_be_named(folder: Path, tmp_path: Path):
    (tmp_path / "l.csv").write_text(f"where,what,bbox\n{folder}/c1/0001.png,c2,1 2 3 4\n")
    words = ["--image-column", "where", "--label-column", "what", "--box-format", "xywh"]
    result = typed(tmp_path / "l.csv", *words, "--store", tmp_path / "r", "-m", "saliency", "--quiet")
    assert result.exit_code == 0, result.output
    (row,) = pellucid.open_run(tmp_path / "r").to_arrow(["label", "label_index", "boxes"]).to_pylist()
    assert row == {"label": "c2", "label_index": 2, "boxes": [[1.0, 2.0, 4.0, 6.0]]}
