"""Grey pictures of one channel go through every method, metric, verdict and report."""

from functools import cache
from pathlib import Path

import pytest
import torch
from digit_sets import few, learned
from PIL import Image

import pellucid
from nets import CHEAP, unchecked
from pellucid import Model
from pellucid.errors import ModelError
from pellucid.measure import measure

REFERENCES = {"expected-gradients", "gradient-shap", "deep-shap"}
ATTENTION = [name for name in CHEAP if pellucid.METHODS[name].family == "attention"]


@cache
def model(architecture: str = "cnn") -> Model:
    return learned(architecture, epochs=1).model()


def digits() -> list[Image.Image]:
    return [few().test.picture(i) for i in (6, 2)]


def options(name: str) -> dict[str, object]:
    references = [few().train.picture(i) for i in range(3)]
    return {**CHEAP[name], **({"references": references} if name in REFERENCES else {})}


@pytest.mark.parametrize("name", CHEAP)
def test_every_method_explains_a_digit(name: str):
    network = model("vit" if name in ATTENTION else "residual" if name == "cam" else "cnn")
    with unchecked():  # legrad has the head read every token, which its annotation does not foresee
        e = pellucid.explain(network, digits(), name, target=[7, 3], progress=False, **options(name))
    assert e.attribution.shape == (2, 1, 28, 28)
    assert e.attribution.isfinite().all()
    assert e.labels == ["7", "3"]
    assert e.pictures[0].rgb.size == (28, 28)
    assert min(e.overlay(0).size) >= 28
    assert e.to_dict()["target"] == [7, 3]


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_methods_say_that_a_cnn_has_none(name: str):
    with pytest.raises(ModelError, match="Attention methods need a transformer"):
        pellucid.explain(model(), digits(), name)


@pytest.mark.parametrize("judged", [pytest.param(m, id=m.name) for m in pellucid.metrics()])
def test_every_metric_judges_maps_of_digits(judged: pellucid.Metric):
    x = model().prepare(digits())
    e = pellucid.explain(model(), x, "input-x-gradient", target=[7, 3])
    truth = torch.zeros(2, 28, 28, dtype=torch.bool)
    truth[:, 8:20, 8:20] = True
    found = measure(
        model(), x, e.attribution, judged.name, method="input-x-gradient", target=[7, 3], truth=truth,
        **judged.quick,
    )  # fmt: skip
    low, high = judged.range
    assert found.value.shape == (2,)
    assert ((found.value >= low - 1e-6) & (found.value <= high + 1e-6)).all()


@pytest.mark.parametrize("architecture", ["cnn", "vit"])
def test_verdict_curves_and_report_take_them(architecture: str, tmp_path: Path):
    with unchecked():
        network, methods = model(architecture), ["grad-cam", "saliency"]
        c = pellucid.compare(network, digits(), methods, target=[7, 3], curves=True, progress=False)
        report = c.save(tmp_path / "report.html").read_text("utf-8")
    assert len(c.verdicts) == 2
    assert len(c.curves) == 4
    assert not c.unjudged
    assert report.count("<article") == 4
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
    assert c.save(tmp_path / "grid.png").stat().st_size > 0
