"""`pellucid train digits`, `pellucid digits extract` and `--model FILE.safetensors`."""

import json
from pathlib import Path

import numpy as np
import pytest
from digit_sets import write_set
from PIL import Image
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.digits import training
from pellucid.digits.data import bundled, read_folder

run = CliRunner().invoke


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "set", count=40, tests=20)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_network_is_trained_written_and_used(here: Path):
    done = run(app, ["train", "digits", "--data", "set", "--epochs", "2"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "cnn learns set: 40 pictures, and 20 held out to see how well."
    assert lines[1].startswith("epoch 1 of 2: loss ")
    assert lines[3].startswith("digits.safetensors: right in ")
    assert names(here) == ["digits.safetensors", "set"]
    used = run(app, ["digits", "extract", "7", "--data", "set"])
    assert used.stdout.strip() == "digit.png: 7 (test picture 7 of set)"
    explained = run(app, ["explain", "digit.png", "--model", "digits.safetensors", "--out", "o", "--json"])
    assert explained.exit_code == 0, explained.output
    assert json.loads(explained.stdout)


def test_json_is_one_document(here: Path):
    done = run(app, ["train", "digits", "--data", "set", "--epochs", "1", "--out", "a.safetensors", "--json"])
    said = json.loads(done.stdout)
    assert (said["architecture"], said["pictures"], said["held_out"]) == ("cnn", 40, 20)
    found = json.loads(
        run(app, ["digits", "extract", "1", "--split", "train", "--data", "set", "--json"]).stdout
    )
    assert found == {"file": "digit.png", "label": "1", "split": "train", "index": 1, "data": "set"}


def test_one_that_was_stopped_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch):
    step, done = training._step, 0

    def stopped(*args: object) -> float:
        nonlocal done
        done += 1
        if done == 6:  # in the second epoch
            raise KeyboardInterrupt
        return step(*args)

    command = ["train", "digits", "--data", "set", "--epochs", "2", "--batch", "10"]
    with monkeypatch.context() as patched:
        patched.setattr(training, "_step", stopped)
        first = run(app, command)
    assert first.exit_code == 130
    assert "digits.partial.safetensors has what was learned: the same command goes on" in first.stderr
    assert names(here) == ["digits.partial.safetensors", "set"]
    other = run(app, [*command, "--seed", "1"])
    assert other.exit_code == 2
    assert "is the checkpoint of another training (seed is 0, not 1)" in other.stderr
    second = run(app, command)
    assert "Going on from digits.partial.safetensors." in second.stdout
    assert "epoch 1 of" not in second.stdout
    assert names(here) == ["digits.safetensors", "set"]
    monkeypatch.setattr(training, "_step", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt()))
    nothing = run(app, [*command, "--out", "b.safetensors"])
    assert (nothing.exit_code, names(here)) == (130, ["digits.safetensors", "set"])
    assert "Stopped in the first epoch; nothing was written." in nothing.stderr


def test_restart_begins_anew(here: Path):
    (here / "digits.partial.safetensors").write_bytes(b"rubbish")
    command = ["train", "digits", "--data", "set", "--epochs", "1"]
    refused = run(app, command)
    assert (refused.exit_code, "begin anew (--restart)" in refused.stderr) == (2, True)
    assert run(app, [*command, "--restart"]).exit_code == 0
    assert names(here) == ["digits.safetensors", "set"]


def test_a_trained_network_is_not_overwritten(here: Path):
    command = ["train", "digits", "--data", "set", "--epochs", "1"]
    assert run(app, command).exit_code == 0
    trained = Path("digits.safetensors").read_bytes()
    refused = run(app, [*command, "--seed", "1"])
    assert (refused.exit_code, "digits.safetensors is there already" in refused.stderr) == (2, True)
    assert Path("digits.safetensors").read_bytes() == trained
    assert run(app, [*command, "--seed", "1", "--restart"]).exit_code == 0
    assert Path("digits.safetensors").read_bytes() != trained


def test_a_digit_is_written_as_it_is(here: Path):
    done = run(app, ["digits", "extract", "12", "--out", "new/twelve.png"])
    test = bundled().test
    assert (
        done.stdout.strip() == f"new/twelve.png: {test.labels[12]} (test picture 12 of scikit-learn's digits)"
    )
    with Image.open("new/twelve.png") as written:
        assert written.mode == "L"
        assert np.array_equal(np.asarray(written), test.images[12])
    assert read_folder("set").train.picture(0).size == (28, 28)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["digits", "extract", "20", "--data", "set"], "a test picture 20; set has them from 0 to 19."),
        (["digits", "extract", "--data", "set", "--", "-1"], "a test picture -1; set has them from 0 to 19."),
        (["digits", "extract", "0", "--out", "a.gif"], "path must end in .png; got 'a.gif'."),
        (["digits", "extract", "0", "--data", "."], None),
        (["train", "digits", "--data", "nowhere"], "There is no folder nowhere."),
        (["train", "digits", "--out", "a.pt"], "path must end in .safetensors; got 'a.pt'."),
        (["explain", "sample:cat", "--model", "no.safetensors"], "There is no model file no.safetensors."),
    ],
)
def test_bad_requests_are_one_sentence_and_write_nothing(here: Path, command: list[str], said: str | None):
    done = run(app, command)
    if said is None:  # found one folder below
        assert done.exit_code == 0
        return
    assert done.exit_code == 2
    assert done.stderr.strip().splitlines()[-1].endswith(said)
    assert "Traceback" not in done.output
    assert names(here) == ["set"]
