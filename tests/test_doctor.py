"""The doctor: what it says of a model is what the model is."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import pellucid
from pellucid.cli import app
from pellucid.cli.examining import remarks
from pellucid.doctor import Verdict, examine
from pellucid.errors import ModelError
from pellucid.methods import METHODS


@pytest.fixture
def few_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """All methods that there are, as far as the doctor knows: one of each kind."""
    kinds = {"grad-cam", "random-cam", "ablation-cam", "saliency", "smooth-grad", "integrated-gradients",
             "rise", "lrp", "legrad", "i-gos"}  # fmt: skip
    for name in set(METHODS) - kinds:
        monkeypatch.delitem(METHODS, name)


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(5, 2),
    ).eval()  # fmt: skip


def test_counts_and_sizes_are_the_models_own(few_methods: None):
    net = small()
    net[0].weight.requires_grad_(False)
    net[1].train()
    d = examine(net, torch.rand(2, 3, 12, 16))
    assert d.parameters == 4 * 27 + 4 + 5 * 36 + 5 + 12
    assert d.frozen == 4 * 27
    assert d.parameter_bytes == 4 * d.parameters
    assert d.training == 1
    assert (d.device, d.dtype, d.input_shape, d.classes, d.named) == ("cpu", "float32", (3, 12, 16), 2, False)
    assert net[1].training
    assert not net[0].training


def test_prediction_is_the_models(few_methods: None):
    net, x = small(), torch.rand(1, 3, 12, 12)
    odds = net(x).softmax(1)[0]
    d = examine(net, x)
    assert d.prediction.index == int(odds.argmax())
    assert d.prediction.probability == pytest.approx(odds.max().item(), rel=1e-5)


def test_layers_are_those_with_a_grid_and_auto_is_one_that_methods_read(few_methods: None):
    net, x = small(), torch.rand(1, 3, 12, 12)
    d = examine(net, x)
    assert [(layer.name, layer.shape) for layer in d.layers] == [
        ("0", (1, 4, 10, 10)), ("1", (1, 4, 10, 10)), ("2", (1, 4, 5, 5)), ("3", (1, 5, 3, 3)),
    ]  # fmt: skip
    assert d.auto == pellucid.explain(net, x).layer[0]


def test_every_method_gets_a_verdict_with_its_reason():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    d = examine(flat, torch.rand(1, 3, 8, 8))
    assert [v.method for v in d.methods] == list(METHODS)
    assert d.auto is None
    assert d.layers == ()
    verdicts = {v.method: v for v in d.methods}
    assert verdicts["saliency"].works
    assert not verdicts["grad-cam"].works
    assert verdicts["grad-cam"].seconds is None
    with pytest.raises(ModelError) as refused:
        pellucid.explain(flat, torch.rand(1, 3, 8, 8), "grad-cam")
    assert verdicts["grad-cam"].reason == str(refused.value)


def test_graph_bytes_count_each_piece_of_memory_once(few_methods: None):
    x = torch.rand(1, 3, 8, 8)
    d = examine(nn.Sequential(nn.Sigmoid(), nn.Tanh(), nn.Flatten(), nn.Linear(192, 2)), x)
    # Both sigmoid and tanh keep their output; the linear layer's own weights are no graph memory. The Linear
    # keeps the flattened tanh output only if its weight needs a gradient: the same memory, counted once.
    assert d.graph_bytes is not None
    assert 2 * 192 * 4 <= d.graph_bytes < 2 * 192 * 4 + 64  # and the index of the explained class


def test_a_model_without_gradients_is_told_to_have_none():
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x).detach()

    d = examine(Detached(), torch.rand(1, 3, 12, 12))
    assert d.backward_seconds is None
    assert d.graph_bytes is None
    verdicts = {v.method: v for v in d.methods}
    assert verdicts["eigen-cam"].works
    assert not verdicts["saliency"].works


def test_a_callable_and_a_model_of_one_channel_are_examined_with_noise(few_methods: None):
    assert examine(lambda x: x.flatten(1)[:, :2]).parameters == 0
    assert examine(nn.Sequential(nn.Conv2d(1, 2, 224), nn.Flatten())).input_shape == (1, 224, 224)


def test_hooks_and_gradients_are_left_as_they_were():
    net, x = small(), torch.rand(1, 3, 12, 12)
    before = {name: p.clone() for name, p in net.named_parameters()}
    examine(net, x)
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(before[name], p) for name, p in net.named_parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.usefixtures("terminal")
def test_the_command_tells_the_default_models_layer_and_methods(
    few_methods: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    assert "bn2 (auto)" in result.stdout
    without = sum(method.family == "attention" for method in METHODS.values())  # which it has none of
    assert f"Methods: {len(METHODS) - without} of {len(METHODS)} work" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_reason_of_several_methods_is_given_once():
    said = [
        Verdict("grad-cam", True, "", ("A warning.",), 1, 1, 0.1),
        Verdict("legrad", False, "No attention.", (), 1, 1, None),
        Verdict("lrp", False, "An unknown operation.", (), 1, 1, None),
        Verdict("attention-rollout", False, "No attention.", (), 1, 1, None),
    ]
    assert remarks(said) == [
        "A warning.",
        "does not work: No attention.",
        "does not work: An unknown operation.",
        "does not work, for the reason given for legrad.",
    ]


def test_the_command_gives_json(few_methods: None, tmp_path: Path):
    file = tmp_path / "nets.py"
    file.write_text(
        "from torch import nn\n\ndef flat():\n    return nn.Sequential(nn.Flatten(), nn.Linear(150528, 2))\n"
    )
    result = CliRunner().invoke(app, ["doctor", "--model", f"{file}:flat", "--json"])
    document = json.loads(result.stdout)
    assert document["auto"] is None
    assert {m["method"] for m in document["methods"] if m["works"]} >= {"saliency", "smooth-grad"}
