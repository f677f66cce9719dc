"""The audit from a run to its page: planted watermarks, a natural bias, every kind of data, the command."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

import pellucid
from pellucid.audit.core import Settings, audit_evidence
from pellucid.audit.evidence import Evidence
from pellucid.audit.record import Audit
from pellucid.cli import app
from pellucid.errors import InvalidValue
from pellucid.truth.watermarks import MARKED, SHAPES, Scenes, scenes, taught

BENCH = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "audit.py"))
LESSONS, TESTS, EPOCHS = 110, 70, 9


def small_audit(net: nn.Module, pictures: Scenes, **settings: Any) -> Audit:
    found: Audit = BENCH["audit_of"](net, pictures, "lrp", 0, **{"proofs": 4, **settings})
    return found


def test_a_watermark_that_a_trained_network_uses_is_named():
    channels = 4
    net = taught(scenes(LESSONS, 0.2, 0, channels=channels, faint=0.3), 0, epochs=EPOCHS)
    plain = scenes(TESTS, 0.0, 9, channels=channels)
    others = plain.inputs[plain.labels != MARKED]
    marked = BENCH["with_watermark"](others)
    # That it uses the mark is seen without any map.
    without, with_it = (
        (BENCH["predicted"](net, x) == MARKED).float().mean().item() for x in (others, marked)
    )
    assert without < 0.1
    assert with_it > 0.6
    found = small_audit(net, scenes(TESTS, 0.2, 5, channels=channels, faint=0.3))
    assert BENCH["named"](found) == [True]
    shortcut = found.shortcuts[0]
    assert shortcut.name == SHAPES[MARKED]
    cluster = next(one for one in found.clusters if one.kind == "shortcut")
    proof = cluster.proof
    assert proof is not None
    assert proof.hidden.low > 0
    assert proof.put.low > 0
    assert proof.content.fixed.low is not None
    assert proof.content.fixed.low > 0.5
    assert cluster.region is not None
    assert cluster.region.place == "at the bottom right"
    assert f"The model uses it: hidden there, its score falls by {proof.hidden}" in shortcut.sentence
    assert found.findings[0] == shortcut


def test_a_network_that_does_not_use_it_is_cleared():
    net = taught(scenes(LESSONS, 0.5, 0, everywhere=True, channels=1), 0, epochs=EPOCHS)
    found = small_audit(net, scenes(TESTS, 0.2, 5, channels=1))
    assert found.findings
    assert found.shortcuts == []


def test_a_class_that_always_lies_at_the_left_is_no_shortcut_but_a_bias():
    net = taught(scenes(LESSONS, 0.0, 0, place="left", channels=1), 0, epochs=EPOCHS)
    found = small_audit(net, scenes(TESTS, 0.0, 5, place="left", channels=1))
    assert found.shortcuts == []
    biased = [one for one in found.findings if one.kind == "position"]
    assert [(one.name, one.cluster) for one in biased] == [(SHAPES[MARKED], 0)]
    assert "lies at the left" in biased[0].sentence or "left (" in biased[0].sentence
    assert "If the picture is moved sideways by half its side, the evidence" in biased[0].sentence


@pytest.mark.full
def test_watermarks_are_found_and_cleared_in_19_of_20_seeds():
    lines = [line for seed in range(20) for line in BENCH["one_seed"](seed, ["lrp"])]
    for what, share in {(line["what"], line["share"]) for line in lines}:
        some = [line for line in lines if (line["what"], line["share"]) == (what, share)]
        right = [
            not line["others"] and line["marked"] == (what == "uses") and (what != "left" or line["position"])
            for line in some
        ]
        assert sum(right) >= 19, (what, share)


# --- every kind of data


def grids_at(places: Tensor, side: int = 8) -> Tensor:
    """Maps with a spot of evidence each, at these cells (N, 2)."""
    at = torch.arange(side).float()
    down, across = ((at[None] - places[:, axis, None]) ** 2 for axis in (0, 1))
    grids = torch.exp(-(down[:, :, None] + across[:, None]) / 1.5)
    return grids / grids.sum((1, 2), keepdim=True)


def random_evidence(counts: list[int], seed: int = 0) -> Evidence:
    """Evidence anywhere, so many pictures of each class."""
    random = torch.Generator().manual_seed(seed)
    classes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return Evidence.of_maps(grids_at(torch.rand(len(classes), 2, generator=random) * 8), classes, grid=8)


def test_ten_thousand_classes_and_one_of_a_single_picture():
    evidence = random_evidence([1] * 9_990 + [30] * 10)
    found = audit_evidence(evidence, None, None)
    assert len(found.classes) == 10_000
    assert [len(one.clusters) > 0 for one in found.classes].count(True) == 10
    single = next(one for one in found.classes if one.index == 0)
    assert single.note == "Only 1 picture has evidence: too few to compare (at least 4)."
    assert single.clusters == []
    assert found.findings == []


def test_many_classes_without_a_shortcut_give_none():
    """Each class's evidence lies at a place of its own; a model that reads nothing there is not accused."""
    random = torch.Generator().manual_seed(0)
    classes = torch.arange(24).repeat_interleave(8)
    places = torch.stack([classes // 5 * 1.7, classes % 5 * 1.7], 1)
    grids = grids_at(places + torch.rand(len(classes), 2, generator=random) / 2)
    evidence = Evidence.of_maps(grids, classes, grid=8)
    x = torch.rand(len(classes), 1, 16, 16, generator=random)
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 24))
    settings = Settings(per_class=100, proofs=24, pictures=5)
    found = audit_evidence(evidence, net, lambda rows: x[list(rows)], settings=settings)
    assert found.shortcuts == []
    proven = [one for one in found.clusters if one.proof is not None]
    assert len(proven) == 24
    raw = sorted(max(one.proof.hidden.p, one.proof.put.p) for one in proven if one.proof)
    assert min(one.p for one in proven if one.p is not None) == pytest.approx(min(1.0, 24 * raw[0]))


def test_a_single_class_is_compared_with_its_own_other_clusters():
    places = torch.tensor([[1.5, 1.5]] * 20 + [[6.5, 6.5]] * 12)
    evidence = Evidence.of_maps(grids_at(places), torch.zeros(32, dtype=torch.long), grid=8)
    found = audit_evidence(evidence, None, None)
    assert [len(one.members) for one in found.classes[0].clusters] == [20, 12]


def test_pictures_that_are_gone_are_told():
    evidence = random_evidence([10, 10])
    evidence.grids[:10] = grids_at(torch.tensor([[7.0, 7.0]] * 10))

    def gone(rows: Any) -> Tensor:
        raise InvalidValue("no such file")

    found = audit_evidence(evidence, nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), gone)
    assert "It could not be proven: none of its pictures can be read again." in [
        one.sentence for one in found.clusters
    ]
    assert found.findings == []


def test_boxes_say_what_is_on_the_object():
    """The mark lies in the boxes: who drew them says that it is the object."""
    evidence, net, x = marked_corner()
    inside = torch.ones(len(evidence), 8, 8)
    outside = torch.zeros(len(evidence), 8, 8)
    kinds = []
    for objects in (None, inside, outside):
        asked = Evidence(**{**vars(evidence), "objects": objects})
        found = audit_evidence(asked, net, lambda rows: x[list(rows)])
        kinds.append([one.kind for one in found.findings if one.name == "class 1"])
    assert kinds == [["shortcut"], ["position", "object"], ["shortcut"]]


def marked_corner() -> tuple[Evidence, nn.Module, Tensor]:
    """A linear model whose second class is a sign in a corner."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 2, bias=False))
    weight = torch.zeros(2, 16, 16)
    weight[0] = 0.1
    weight[1, 12:, 12:] = torch.eye(4)
    net[1].weight.data = weight.flatten(1)
    x = torch.rand(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    x[::2, :, 12:, 12:] = 4 * torch.eye(4)
    labels = 1 - torch.arange(64) % 2
    maps = weight[labels] * x[:, 0]
    return Evidence.of_maps(maps, labels, grid=8), net, x


# --- from a run to files, and the command


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over pictures of two classes, one of them with a sign in a corner, and its model's file."""
    folder = tmp_path_factory.mktemp("audit")
    rng = np.random.default_rng(0)
    for i in range(40):
        pixels = rng.integers(0, 150, (16, 16, 3), dtype=np.uint8)
        if i % 2:
            pixels[12:, 12:] = np.eye(4, dtype=np.uint8)[..., None] * 255
        (folder / "pictures" / ("plain", "sign")[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "pictures" / ("plain", "sign")[i % 2] / f"{i:02d}.png")
    (folder / "pictures" / "plain" / "broken.png").write_bytes(b"no picture")
    (folder / "model.py").write_text(
        "import torch\nfrom torch import nn\nimport pellucid\n\n"
        "def model():\n"
        "    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 2, bias=False))\n"
        "    weight = torch.zeros(2, 3, 16, 16)\n"
        "    weight[0] = 0.05\n"
        "    weight[1, :, 12:, 12:] = 4 * torch.eye(4)\n"
        "    net[1].weight.data = weight.flatten(1)\n"
        "    preprocess = pellucid.Preprocess((16, 16), None, mean=(0.0,) * 3, std=(1.0,) * 3)\n"
        "    return pellucid.Model(net, preprocess=preprocess, labels=['plain', 'sign'])\n"
    )
    pellucid.run(
        f"{folder / 'model.py'}:model", str(folder / "pictures"), "input-x-gradient",
        store=folder / "run", progress=False,
    )  # fmt: skip
    return folder


def test_a_stored_run_is_audited_with_its_own_model(stored: Path, tmp_path: Path):
    found = pellucid.audit(str(stored / "run"), progress=False)
    assert found.counts["failed"] == 1
    assert found.counts["in the run"] == 41
    assert [one.name for one in found.shortcuts] == ["sign"]
    assert "sign" in repr(found)
    again = pellucid.audit(pellucid.open_run(stored / "run"), progress=False)
    assert [one.sentence for one in again.findings] == [one.sentence for one in found.findings]

    written = json.loads(found.save(tmp_path / "audit.json").read_text())
    assert written["format"] == "pellucid.audit"
    assert written["findings"][0]["kind"] == "shortcut"
    cluster = next(c for one in written["classes"] for c in one["clusters"] if c["kind"] == "shortcut")
    assert cluster["region"]["place"] == "at the bottom right"
    assert cluster["proof"]["put"]["low"] > 0

    from pyarrow import parquet

    table = parquet.read_table(found.save(tmp_path / "audit.parquet"))
    assert table.num_rows == len(found.clusters)
    assert {row["class"] for row in table.to_pylist() if row["kind"] == "shortcut"} == {"sign"}

    page = found.save(tmp_path / "audit.html").read_text()
    assert found.shortcuts[0].sentence in page.replace("&gt;", ">")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "script-src 'sha256-" in page
    assert json.loads(re.search(r'id="data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])["classes"]  # type: ignore[index]
    with pytest.raises(InvalidValue, match="path must end in"):
        found.save(tmp_path / "audit.txt")


def test_what_cannot_be_audited_is_refused_in_a_sentence(stored: Path, tmp_path: Path):
    run = pellucid.open_run(stored / "run")
    with pytest.raises(InvalidValue, match="method must be one of the run's, input-x-gradient; got 'lime'"):
        pellucid.audit(run, method="lime")
    with pytest.raises(InvalidValue, match="classes must be among the run's"):
        pellucid.audit(run, classes=["zebra"], proofs=0)
    with pytest.raises(InvalidValue, match="has other weights"):
        pellucid.audit(run, nn.Sequential(nn.Flatten(), nn.Linear(768, 2)))
    with pytest.raises(InvalidValue, match=r"There must be a run\.json"):
        pellucid.audit(str(tmp_path))
    with pytest.raises(InvalidValue, match="per_class must be at least 1"):
        pellucid.audit(run, per_class=0)


def test_some_classes_alone(stored: Path):
    found = pellucid.audit(pellucid.open_run(stored / "run"), classes=["plain"], proofs=0, progress=False)
    assert [one.name for one in found.classes] == ["plain"]


def test_the_command_audits_a_store_and_refuses_a_shortcut(stored: Path, tmp_path: Path):
    asked = ["audit", str(stored / "run"), "--out", str(tmp_path), "--save", "html,json,parquet"]
    plain = CliRunner().invoke(app, asked)
    assert plain.exit_code == 0, plain.output
    assert "shortcut" in plain.stdout
    assert "1 left out: failed" in plain.stdout
    assert {path.name for path in tmp_path.glob("audit.*")} == {"audit.html", "audit.json", "audit.parquet"}
    refused = CliRunner().invoke(app, [*asked, "--fail-on", "shortcut", "--quiet"])
    assert refused.exit_code == 1
    assert refused.stdout == ""
    told = CliRunner().invoke(app, [*asked, "--json", "--proofs", "0"])
    assert json.loads(told.stdout)["findings"] == []


def test_the_command_explains_pictures_first(stored: Path, tmp_path: Path):
    done = CliRunner().invoke(
        app,
        ["audit", str(stored / "pictures"), "--model", f"{stored / 'model.py'}:model",
         "-m", "input-x-gradient", "--store", str(tmp_path / "run"), "--out", str(tmp_path),
         "--save", "json", "--quiet", "--fail-on", "shortcut"],
    )  # fmt: skip
    assert done.exit_code == 1, done.output
    assert (tmp_path / "run" / "run.json").is_file()


def test_the_command_says_what_is_wrong(tmp_path: Path):
    done = CliRunner().invoke(app, ["audit", str(tmp_path / "none"), "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "Traceback" not in done.output
