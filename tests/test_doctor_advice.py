"""What the doctor advises: seconds as they were, and a method that suits the model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import pellucid
from pellucid import doctor
from pellucid.cli import app
from pellucid.doctor import Verdict, examine, recommend
from pellucid.engine.cost import Cost
from pellucid.methods import METHODS

WORKING = ("grad-cam", "random-cam", "cam", "hirescam", "score-cam", "saliency", "smooth-grad",
           "integrated-gradients", "lrp", "partition-shap", "rise", "legrad")  # fmt: skip


@pytest.fixture(autouse=True)
def few_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(METHODS) - set(WORKING):
        monkeypatch.delitem(METHODS, name)


def pooled(size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, size, stride), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )  # fmt: skip


def billed(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]) -> None:
    """Runs whose bills say what is given, and passes of 0.1 and 0.2 seconds."""
    whole = doctor.explain_all

    def told(*args: Any, **settings: Any) -> Any:
        outcomes, cost = whole(*args, **settings)
        for outcome in outcomes:
            if isinstance(outcome.answer, pellucid.Explanation):
                own = outcome.answer.cost
                name = outcome.request.method.name
                outcome.answer.cost = Cost(own.forward, own.backward, seconds.get(name, 0.5))
        return outcomes, cost

    monkeypatch.setattr(doctor, "explain_all", told)
    monkeypatch.setattr(doctor, "_seconds", lambda *_: (0.1, 0.2))


def test_what_ran_as_by_default_is_told_as_measured(monkeypatch: pytest.MonkeyPatch):
    billed(monkeypatch, {"lrp": 7.25, "saliency": 0.75})
    verdicts = {v.method: v for v in examine(pooled(), torch.rand(1, 3, 12, 12)).methods}
    assert (verdicts["lrp"].seconds, verdicts["lrp"].measured) == (7.25, True)  # not 0.1 + 0.2
    assert (verdicts["saliency"].seconds, verdicts["saliency"].measured) == (0.75, True)


def test_what_ran_with_few_samples_is_lengthened_by_its_missing_passes(monkeypatch: pytest.MonkeyPatch):
    billed(monkeypatch, {"smooth-grad": 1.25, "rise": 2.5})
    verdicts = {v.method: v for v in examine(pooled(), torch.rand(1, 3, 12, 12)).methods}
    # 3 + 2 of 51 + 50 passes ran; 0.75 s beyond the first pass, where plain ones take 0.6 s.
    assert verdicts["smooth-grad"].seconds == pytest.approx(1.25 + 48 * 0.1 + 48 * 0.2)
    # 3 of 4001 passes; 2 s beyond the first pass, ten times as long as 2 plain ones.
    assert verdicts["rise"].seconds == pytest.approx(2.5 + 3998 * 0.1 * 10)
    assert not verdicts["smooth-grad"].measured
    assert not verdicts["rise"].measured


def test_what_runs_once_per_channel_is_not_run(monkeypatch: pytest.MonkeyPatch):
    billed(monkeypatch, {})
    score_cam = next(
        v for v in examine(pooled(), torch.rand(1, 3, 12, 12)).methods if v.method == "score-cam"
    )
    assert (score_cam.forward, score_cam.seconds, score_cam.measured) == (5, pytest.approx(0.5), False)


def test_a_shortened_run_takes_few_passes():
    runs = {m.name: m.cost(m.resolve_options(doctor._cheap(m, 224))) for m in METHODS.values()}
    assert max(run.forward + run.backward for run in runs.values()) <= 20


@pytest.mark.full
def test_no_method_runs_long(monkeypatch: pytest.MonkeyPatch, lite0: pellucid.Model):
    """What makes the doctor quick: all that it tries takes 250 passes, by default 13,000."""
    monkeypatch.undo()
    tried = [m for m in METHODS.values() if not m.cost(m.resolve_options({})).per_channel]
    requests = [doctor.Request.of(m.name, doctor._cheap(m, 224)) for m in tried]
    _, cost = doctor.explain_all(lite0, lite0.read("sample:cat"), requests, [None], progress=False)
    assert cost.forward + cost.backward < 300


def test_maps_that_are_pooled_into_the_classifier_are_for_grad_cam():
    found = examine(pooled(), torch.rand(1, 3, 12, 12)).recommended
    assert found is not None
    assert found.method == "grad-cam"
    assert found.because == (
        "The last feature maps (1, 10×10) are pooled straight into the classifier: Grad-CAM there tells how "
        "much each cell adds to the score, in one forward and one backward pass."
    )


def test_maps_that_are_not_are_for_a_method_that_weighs_each_cell():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 9), nn.ReLU(), nn.Linear(9, 2)
    )
    found = examine(net, torch.rand(1, 3, 12, 12)).recommended
    assert found is not None
    assert found.method == "hirescam"
    assert "not pooled straight into the classifier" in found.because


def test_maps_of_few_cells_are_passed_over():
    found = examine(pooled(5, 5), torch.rand(1, 3, 12, 12)).recommended  # 2 x 2
    assert found is not None
    assert found.method == "integrated-gradients"
    assert "complete" in found.because


def test_a_network_of_gradients_alone_is_for_integrated_gradients():
    found = examine(nn.Sequential(nn.Flatten(), nn.Linear(432, 2)), torch.rand(1, 3, 12, 12)).recommended
    assert found is not None
    assert found.method == "integrated-gradients"


def test_a_black_box_is_for_altered_pictures():
    net = pooled()
    found = examine(lambda x: net(x).detach(), torch.rand(1, 3, 12, 12)).recommended
    assert found is not None
    assert found.method == "partition-shap"
    assert found.because.endswith("so it can only be asked about altered pictures, 1001 of them.")


def test_a_transformer_is_for_its_attention():
    import timm

    size = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    net = timm.create_model("vit_tiny_patch16_224", num_classes=2, **size)
    found = examine(net, torch.rand(1, 3, 32, 32)).recommended
    assert found is not None
    assert found.method == "legrad"
    assert "attention" in found.because


def verdict(method: str, *warnings: str) -> Verdict:
    return Verdict(method, True, "", warnings, 1, 1, 0.1, True)


def test_a_method_that_warned_gives_way_to_one_that_did_not():
    found = recommend([verdict("legrad", "All is zero."), verdict("saliency")], [], None)
    assert found is not None
    assert found.method == "saliency"
    assert (
        found.because
        == "This needs nothing but the gradients that the model gives. legrad warned: All is zero."
    )


def test_where_all_warn_the_best_is_told_with_its_warning():
    found = recommend([verdict("legrad", "All is zero."), verdict("saliency", "Flat.")], [], None)
    assert found is not None
    assert found.method == "legrad"
    assert found.because.endswith(" It warned: All is zero.")


def test_where_nothing_works_nothing_is_recommended():
    assert recommend([replace(verdict("grad-cam"), works=False)], [], None) is None


@pytest.mark.usefixtures("terminal")
def test_the_command_prints_what_is_estimated_and_what_it_recommends(monkeypatch: pytest.MonkeyPatch):
    billed(monkeypatch, {"saliency": 2.0, "smooth-grad": 2.0})
    text = CliRunner().invoke(app, ["doctor"]).stdout.replace("\N{NO-BREAK SPACE}", " ")
    saliency, smooth = (
        next(x for x in text.splitlines() if x.startswith(f"{m} ")) for m in ("saliency", "smooth-grad")
    )
    assert " 2.0 s" in saliency
    assert " ~" in smooth
    assert " ~" not in saliency
    assert "Recommended: grad-cam\nThe last feature maps (bn2, 7×7) are pooled straight" in text


def test_json_has_what_is_recommended(tmp_path: Path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef net():\n    maps = nn.Conv2d(3, 4, 9, 9), nn.ReLU()\n"
        "    return nn.Sequential(*maps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))\n"
    )
    result = CliRunner().invoke(app, ["doctor", "--model", f"{tmp_path / 'net.py'}:net", "--json"])
    document = json.loads(result.stdout)
    assert document["recommended"]["method"] == "grad-cam"
    assert document["recommended"]["because"].startswith("The last feature maps")
    assert {m["method"]: m["measured"] for m in document["methods"]}["rise"] is False
