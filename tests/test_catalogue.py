"""`pellucid methods`: what there is, by family, need and cost."""

import json

import pytest
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.methods import METHODS


def names(*filters: str) -> set[str]:
    result = CliRunner().invoke(app, ["methods", *filters, "--json"])
    assert result.exit_code == 0, result.output
    return {row["name"] for row in json.loads(result.stdout)}


def test_a_family_is_its_methods():
    assert names("--family", "attention") == {"attention-rollout", "legrad", "transformer-attribution"}
    assert names("--family", "cam") == {m.name for m in METHODS.values() if m.family == "cam"}


def test_needs_are_what_a_model_must_offer():
    assert names("--needs", "scores") == {
        "baylime", "kernel-shap", "lime", "occlusion", "partition-shap", "rise"
    }  # fmt: skip
    assert names("--needs", "layers") == names("--family", "cam") | {"guided-grad-cam"}
    assert {"saliency", "smooth-grad", "i-gos", "integrated-gradients"} <= names("--needs", "gradients")
    operations = names("--needs", "operations")
    assert {"lrp", "deep-shap", "smooth-full-grad", "legrad"} <= operations
    each = [names("--needs", word) for word in ("layers", "gradients", "operations", "scores")]
    assert sum(map(len, each)) == len(METHODS) == len(set.union(*each))


def test_passes_are_counted_together_and_channels_left_out():
    assert names("--family", "perturb", "--passes", "626") == {"occlusion"}
    assert names("--family", "perturb", "--passes", "625") == set()
    cheap = names("--passes", "2")
    assert {"grad-cam", "cam", "saliency", "lrp"} <= cheap
    assert cheap.isdisjoint({"ablation-cam", "score-cam", "legrad", "deep-lift"})


def test_filters_combine():
    assert names("--family", "gradient", "--needs", "gradients", "--passes", "2") == {
        "input-x-gradient", "saliency"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("--family", "cams"),
            "family must be one of attention, cam, gradient, mask, path, perturb, relevance; got",
        ),
        (("--needs", "love"), "--needs must be one of layers, gradients, operations, scores; got 'love'"),
        (("rise", "--family", "cam"), "leave out 'rise', or the filters"),
    ],
)
def test_what_there_is_not_is_told_with_what_there_is(arguments: tuple[str, ...], told: str):
    result = CliRunner().invoke(app, ["methods", *arguments])
    assert result.exit_code == 2
    assert told in result.stderr


def test_nothing_left_is_said():
    result = CliRunner().invoke(app, ["methods", "--family", "mask", "--passes", "3"])
    assert result.exit_code == 1
    assert "No method is like that" in result.stderr


def test_the_list_has_only_what_was_asked_for():
    text = CliRunner().invoke(app, ["methods", "--family", "perturb"]).stdout
    assert "partition-shap" in text
    assert "grad-cam" not in text
