"""`pellucid bench truth`: it tries the tasks that were named, and writes what it found."""

import json
from pathlib import Path

import pytest
from dots import Dots
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.truth import tasks

FEW = [
    "bench",
    "truth",
    "--task",
    "dots",
    "--pictures",
    "1",
    "-m",
    "input-x-gradient",
    "--metric",
    "deletion",
]


@pytest.fixture(autouse=True)
def one_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one task, of a network that need not be trained."""
    monkeypatch.setattr(tasks, "TASKS", {"dots": Dots([12], side=64)})


def test_it_prints_json_and_writes_what_is_asked(tmp_path: Path):
    files = [str(tmp_path / "board.json"), str(tmp_path / "board.md")]
    run = CliRunner().invoke(app, [*FEW, "--json", "--out", files[0], "--out", files[1]])
    assert run.exit_code == 0, run.output
    (half,) = json.loads(run.stdout)["halves"]
    assert half["half"] == "development"
    assert [row["title"] for row in half["methods"]] == ["input-x-gradient"]
    assert [row["title"] for row in half["metrics"]] == ["deletion"]
    assert json.loads((tmp_path / "board.json").read_text()) == json.loads(run.stdout)
    assert (tmp_path / "board.md").read_text().startswith("## Development tasks")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--task", "cats"], "task must be one of dots; got 'cats'."),
        (["--task", "dots", "-m", "gradcam"], "grad-cam"),
        (["--task", "dots", "--out", "board.txt"], "must end in .json or .md"),
    ],
)
def test_what_does_not_hold_is_refused_before_anything_is_tried(
    given: list[str], message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pellucid.truth.trials.units", None)
    run = CliRunner().invoke(app, ["bench", "truth", *given])
    assert run.exit_code == 2
    assert message in run.stderr
