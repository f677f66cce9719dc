"""`index.jsonl`, and `--skip-existing`, by which a run that was killed goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import pellucid
from pellucid.cli import app

NET = """
import time, torch
from torch import nn
import pellucid

PAUSE, BIAS = 0.0, 0.0

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 3))
        self.net[-1].bias.data += BIAS

    def forward(self, x):
        time.sleep(PAUSE)
        return self.net(x)

def net():
    preprocess = pellucid.Preprocess((16, 16), scale_to=16)
    return pellucid.Model(Net(), preprocess=preprocess, labels=["tabby", "tiger cat", "dog"], name="net")
"""
OUT = Path("pellucid-out")
INDEX = OUT / "index.jsonl"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NET)
    Path("a").mkdir()
    for i in range(4):
        Image.effect_noise((24, 20), 60 + i).convert("RGB").save(f"a/{i}.png")


ASK = ("explain", "a", "--model", "nets.py:net", "-m", "grad-cam", "-m", "smooth-grad:samples=3")


def run(*more: str, ask: tuple[str, ...] = ASK) -> Result:
    return CliRunner().invoke(app, [*ask, *more])


def told(*more: str, ask: tuple[str, ...] = ASK) -> dict:
    result = run("--json", *more, ask=ask)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def listed() -> list[dict]:
    return [json.loads(line) for line in INDEX.read_text("utf-8").splitlines()]


def test_each_result_has_a_line_that_is_what_json_tells():
    found = told()["results"]
    lines = listed()
    assert [line["files"] for line in lines] == [row["files"] for row in found]
    assert len(lines) == 8
    for line, row in zip(lines, found, strict=True):
        assert {key: line[key] for key in row} == row
        assert {"picture", "title", "target", "prediction", "labels", "score", "certainty"} <= line.keys()
    assert lines[1]["title"] == "smooth-grad:samples=3"
    assert lines[1]["picture"] == "a/0.png"


def test_nothing_is_made_again_and_all_is_told_as_by_a_whole_run():
    whole = told()
    times = {path: path.stat().st_mtime_ns for path in OUT.iterdir()}
    again = told("--skip-existing", "--batch-size", "2")
    assert again["results"] == whole["results"]
    assert again["errors"] == whole["errors"] == []
    assert (whole["cost"]["forward"], again["cost"]["forward"]) == (4 * 4, 0)
    assert {path: path.stat().st_mtime_ns for path in OUT.iterdir()} == times
    first, second = run().stdout.splitlines(), run("--skip-existing").stdout.splitlines()
    assert first[:-1] == second[:-1]
    assert second[-1] == "8 files, by net: 0 forward and 0 backward passes, 0.0 s, 8 results were there"


def test_a_run_that_was_killed_goes_on_and_loses_only_what_it_was_working_on():
    Path("nets.py").write_text(NET.replace("PAUSE, BIAS = 0.0", "PAUSE, BIAS = 0.05"))
    command = [sys.executable, "-m", "pellucid", *ASK, "--batch-size", "1", "--quiet"]
    child = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not (INDEX.exists() and INDEX.read_bytes().count(b"\n") >= 3) and time.monotonic() < deadline:
        assert child.poll() is None
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    finished = len(INDEX.read_bytes().splitlines())
    made = {path.name for path in OUT.glob("[!.]*.png")}
    assert 3 <= finished < 8
    assert finished <= len(made) <= finished + 1  # a file that is not listed yet
    with INDEX.open("ab") as file:
        file.write(b'{"file": "3.grad-cam", "fil')  # as if it had been killed in the middle of a line
    went_on = told("--skip-existing", "--batch-size", "1")
    assert len(INDEX.read_bytes().splitlines()) == 8 + 1
    assert [row["files"] for row in went_on["results"]] == [
        [f"pellucid-out/{i}.{name}.png"] for i in range(4) for name in ("grad-cam", "smooth-grad.samples=3")
    ]
    # of the picture that was half done only the question that was left is asked
    assert went_on["cost"]["forward"] == 4 * (4 - finished // 2)
    assert went_on["cost"]["backward"] == 4 * (4 - (finished + 1) // 2) + 3 * (finished % 2)
    whole = told("--out", "whole", "--batch-size", "1")
    for row, other in zip(went_on["results"], whole["results"], strict=True):
        assert row["prediction"] == other["prediction"]
        assert row["score"] == other["score"]
        same = [Image.open(path).tobytes() for path in (*row["files"], *other["files"])]
        assert same[0] == same[1]
    assert told("--skip-existing", "--batch-size", "1")["cost"]["forward"] == 0


@pytest.mark.parametrize(
    "option",
    [
        ["--seed", "1"],
        ["--cmap", "gray"],
        ["--save", "npz"],
        ["-t", "dog"],
        ["--output", "probability"],
        ["--size", "20"],
        ["--layer", "net.0"],
        ["--precision", "float32"],
        ["--vmax", "1"],
    ],
    ids=" ".join,
)
def test_another_option_makes_results_anew(option: list[str]):
    ask = ("explain", "a/0.png", "--model", "nets.py:net")
    told(ask=ask)
    assert told("--skip-existing", *option, ask=ask)["cost"]["forward"] == 1
    assert told("--skip-existing", *option, ask=ask)["cost"]["forward"] == 0


def _other_weights():
    Path("nets.py").write_text(NET.replace("BIAS = 0.0, 0.0", "BIAS = 0.0, 1.0"))


def _other_picture():
    Image.effect_noise((24, 20), 90).convert("RGB").save("a/0.png")


def _other_file():
    Image.new("RGB", (9, 9)).save(OUT / "0.grad-cam.png")


def _no_file():
    (OUT / "0.grad-cam.png").unlink()


@pytest.mark.parametrize("change", [_other_weights, _other_picture, _other_file, _no_file])
def test_another_model_picture_or_file_makes_results_anew(change):
    ask = ("explain", "a/0.png", "--model", "nets.py:net")
    told(ask=ask)
    change()
    assert told("--skip-existing", ask=ask)["cost"]["forward"] == 1
    assert told("--skip-existing", ask=ask)["cost"]["forward"] == 0


def test_only_what_is_not_there_is_made():
    told("-t", "tabby", ask=ASK[:-2])
    Path("b").mkdir()
    Image.effect_noise((24, 20), 70).convert("RGB").save("b/4.png")
    more = told("b", "-t", "tabby", "-t", "dog", "--skip-existing")
    assert [row["name"] for row in more["results"]] == [str(i) for i in range(5) for _ in range(4)]
    # four pictures: smooth-grad for tabby, both methods for dog; the fifth: all
    assert len(listed()) == 4 + 4 * 3 + 4


def test_a_picture_that_failed_fails_again_and_the_exit_code_is_of_the_whole_run():
    Path("a/bad.png").write_bytes(b"no picture")
    first, again = run("--json"), run("--json", "--skip-existing")
    assert first.exit_code == again.exit_code == 1
    assert first.stderr == again.stderr
    assert json.loads(again.stdout)["errors"] == json.loads(first.stdout)["errors"]
    assert json.loads(again.stdout)["results"] == json.loads(first.stdout)["results"]


def test_pictures_that_share_a_scale_are_made_together_or_not_at_all():
    ask = ("explain", "a/0.png", "a/1.png", "--model", "nets.py:net", "--scale", "shared")
    whole = told(ask=ask)
    again = told("--skip-existing", ask=ask)
    assert again["cost"]["forward"] == 0
    assert again["results"] == whole["results"]
    assert told("a/2.png", "--skip-existing", ask=ask)["cost"]["forward"] == 3
    (OUT / "1.grad-cam.png").unlink()
    assert told("a/2.png", "--skip-existing", ask=ask)["cost"]["forward"] == 3
    assert told("a/2.png", "--skip-existing", ask=ask)["cost"]["forward"] == 0


def test_an_index_that_is_damaged_is_read_as_far_as_it_goes():
    told()
    lines = INDEX.read_bytes().split(b"\n")
    lines[2], lines[4], lines[6] = b"\xff\xfe", b"[1, 2]", b'{"file": "x"}'
    INDEX.write_bytes(b"\n".join(lines))
    assert told("--skip-existing")["cost"]["forward"] == 1 + 1 + 1


def test_the_model_of_the_index_is_read_by_its_numbers():
    from pellucid.cli.index import model_facts
    from pellucid.cli.own_model import ModelOptions

    model = pellucid.load("nets.py:net")
    facts = model_facts(model, "nets.py:net", ModelOptions())
    assert facts == model_facts(pellucid.load("nets.py:net"), "nets.py:net", ModelOptions())
    model.module.net[0].weight.data[0, 0, 0, 0] += 1e-6
    assert model_facts(model, "nets.py:net", ModelOptions())["weights"] != facts["weights"]
