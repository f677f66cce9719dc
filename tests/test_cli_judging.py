"""What the command line says of judging: verdicts, evaluate, choose, metrics."""

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner, Result

from pellucid.cli import app
from pellucid.metrics import METRICS

NET = """
import torch
from torch import nn
import pellucid

class Window(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.conv.weight, 1 / 3)
        self.head = nn.Linear(24 * 24, 2, bias=False)
        weight = torch.zeros(2, 24, 24)
        weight[0, 4:10, 13:21] = 1.0
        self.head.weight.data = weight.flatten(1)

    def forward(self, x):
        return self.head(self.conv(x).relu().flatten(1))

def net():
    return pellucid.Model(
        Window(), preprocess=pellucid.Preprocess((24, 24), scale_to=24), labels=["lamp", "dark"], name="net"
    )
"""
MODEL = ("--model", "nets.py:net")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NET)
    Path("lamps").mkdir()
    for i in range(3):
        picture = Image.effect_noise((24, 24), 20 + i).convert("RGB").point(lambda value: value // 3)
        ImageDraw.Draw(picture).rectangle((14, 5, 19, 8), fill=(250, 250, 240))
        picture.save(f"lamps/{i}.png")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_compare_says_which_map_to_trust_and_hands_it_on():
    asked = ("compare", "lamps/0.png", *MODEL, "-m", "input-x-gradient", "-m", "saliency", "--save", "npz")
    result = run(*asked)
    assert result.exit_code == 0, result.output
    assert "supported by" in result.stdout
    assert "interventions (q " in result.stdout
    told = json.loads(run(*asked, "--json").stdout)
    (verdict,) = told["verdicts"]
    assert verdict["picture"] == "0"
    assert verdict["label"] == "lamp"
    assert "input-x-gradient" in verdict["supported"]
    assert all(sentence in " ".join(result.stdout.split()) for sentence in verdict["sentences"])
    without = run(*asked, "--no-verdict", "--json")
    assert json.loads(without.stdout)["verdicts"] == []


def test_several_pictures_have_a_verdict_each_under_their_names():
    result = run("compare", "lamps", *MODEL, "-m", "input-x-gradient", "--save", "npz")
    assert result.exit_code == 0
    assert result.stdout.count("supported by") == 3


def test_a_budget_is_kept_and_a_wrong_one_refused():
    asked = ("compare", "lamps/0.png", *MODEL, "-m", "saliency")
    told = json.loads(run(*asked, "--budget", "70", "--json").stdout)
    assert len(told["verdicts"][0]["interventions"]["drop"]) == 60
    wrong = run(*asked, "--budget", "soon")
    assert wrong.exit_code == 2
    assert "budget must be" in wrong.stderr


def test_evaluate_writes_its_table_and_goes_on_where_it_stopped():
    asked = (
        "evaluate", "lamps", *MODEL, "-m", "saliency", "-m", "input-x-gradient",
        "--metric", "deletion:steps=4", "--metric", "sparseness", "--save", "md,csv,json",
    )  # fmt: skip
    first = run(*asked)
    assert first.exit_code == 0, first.output
    for name in ("md", "csv", "json"):
        assert Path(f"pellucid-out/evaluation.{name}").is_file()
    assert "deletion:steps=4: of the probability, lower is better" in first.stdout
    rows = Path("pellucid-out/evaluation.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * 2 * 2
    lines = Path("pellucid-out/evaluation.jsonl").read_text().splitlines()
    assert len(lines) == 4
    Path("pellucid-out/evaluation.jsonl").write_text("\n".join(lines[:2]) + "\n")
    again = run(*asked, "--json")
    assert again.exit_code == 0
    assert (
        json.loads(again.stdout)["values"]
        == json.loads(Path("pellucid-out/evaluation.json").read_text())["values"]
    )
    other = run(*asked, "--seed", "1")
    assert other.exit_code == 2
    assert "another request: seed differ" in other.stderr


def test_evaluate_reads_masks_and_says_what_has_no_value():
    Path("masks").mkdir()
    mask = Image.new("L", (24, 24))
    ImageDraw.Draw(mask).rectangle((14, 5, 19, 8), fill=255)
    mask.save("masks/0.png")
    result = run(
        "evaluate", "lamps/0.png", *MODEL, "-m", "input-x-gradient", "--metric", "relevance-mass",
        "--boxes", "masks", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (value,) = json.loads(result.stdout)["values"]
    assert value["value"] > 0.5
    lacking = run("evaluate", "lamps/0.png", *MODEL, "--metric", "pointing-game")
    assert lacking.exit_code == 2
    assert "boxes must say where the objects are" in lacking.stderr


def test_choose_keeps_a_file_that_explain_reads():
    chosen = run(
        "choose", "lamps", *MODEL, "-m", "input-x-gradient", "-m", "saliency", "--out", "choice.json"
    )
    assert chosen.exit_code == 0, chosen.output
    assert "suits net" in chosen.stdout
    explained = run("explain", "lamps/0.png", *MODEL, "--choice", "choice.json", "--json")
    assert explained.exit_code == 0, explained.output
    stored = json.loads(Path("choice.json").read_text())
    assert stored["chosen"] in explained.stdout
    both = run("explain", "lamps/0.png", *MODEL, "-m", "rise", "--choice", "choice.json")
    assert both.exit_code == 2
    assert "leave out --method rise" in both.stderr


def test_metrics_are_listed_filtered_and_told_all_about():
    listed = run("metrics")
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in METRICS)
    rows = json.loads(run("metrics", "--family", "complexity", "--json").stdout)
    assert {row["family"] for row in rows} == {"complexity"}
    one = run("metrics", "deletion")
    assert "cannot tell" in one.stdout
    assert "steps" in one.stdout
    assert json.loads(run("metrics", "infidelity", "--json").stdout)["range"] == [0, None]
    assert run("metrics", "--family", "nothing").exit_code == 2
    unknown = run("metrics", "delection")
    assert unknown.exit_code == 2
    assert "Did you mean deletion" in unknown.stderr
