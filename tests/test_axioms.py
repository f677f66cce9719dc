"""Axioms: what holds by theory holds, and every check can fail."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import pellucid
from nets import Around, TinyCNN, net, pictures, state_of, unchecked
from pellucid.axioms.checks import within_tolerance
from pellucid.axioms.question import Question
from pellucid.axioms.report import AxiomReport, Row
from pellucid.axioms.verify import promising
from pellucid.cli import app
from pellucid.errors import InvalidType, InvalidValue, ModelError
from pellucid.explain import Request
from pellucid.methods import METHODS, get_method
from pellucid.methods.definition import AXIOMS
from pellucid.methods.registry import method
from pellucid.probe import layer_evidence
from zoo import Homogeneous, LinearNet, Quadratic, ResidualNet, images, seeded


@pytest.fixture
def registered(own_methods: None) -> Callable[[Callable[..., Tensor]], str]:
    """Registers a function of a probe for one test, promising everything."""

    def register(formula: Callable[..., Tensor]) -> str:
        def mine(probe) -> Tensor:
            """A method of a test's own."""
            return formula(probe)

        method("mine", family="gradient", paper="nobody", passes=(1, 1), promises=AXIOMS)(mine)
        return "mine"

    return register


def linear(x: Tensor) -> nn.Module:
    return seeded(LinearNet, x[0].numel()).double()


def found(module: object, x: Tensor, *methods: object, **options: object) -> dict[str, Row]:
    """The rows of one method, or of the only axiom asked about, by axiom."""
    report = pellucid.axioms(module, x, list(methods), progress=False, **options)
    return {row.axiom: row for row in report.rows}


def attributed(probe) -> Tensor:
    return probe.inputs * probe.input_gradient()


def ramp(x: Tensor) -> Tensor:
    return torch.linspace(0.5, 1.5, x.shape[-1]).to(x)


BROKEN = {
    "completeness": lambda probe: 1.05 * attributed(probe),
    "sensitivity": lambda probe: (probe.inputs == 0).to(probe.inputs),
    "dummy": lambda probe: attributed(probe) + attributed(probe).abs().mean((1, 2, 3), keepdim=True),
    "implementation invariance": lambda probe: (
        attributed(probe) * len(list(probe.engine.model.network.parameters()))
    ),
    "linearity": lambda probe: attributed(probe).abs(),
    "symmetry": lambda probe: attributed(probe) * ramp(probe.inputs),
}


# --- the checks themselves ----------------------------------------------------------------------------------


def test_on_a_linear_model_input_x_gradient_keeps_every_axiom(registered):
    x = images(1, (9, 13))
    rows = found(linear(x), x, registered(attributed))
    assert list(rows) == list(AXIOMS)
    assert all(row.held and row.promised for row in rows.values()), rows
    assert all(row.error < 1e-6 for axiom, row in rows.items() if axiom != "sensitivity")


@pytest.mark.parametrize("axiom", AXIOMS)
def test_every_check_fails_for_a_method_that_breaks_its_axiom(registered, axiom):
    x = images(1, (9, 13))
    row = found(linear(x), x, registered(BROKEN[axiom]))[axiom]
    assert row.held is False
    assert row.broken


def test_the_error_of_completeness_is_a_share_of_the_difference_of_scores(registered):
    x = images(1, (9, 13))
    row = found(linear(x), x, registered(BROKEN["completeness"]))["completeness"]
    assert row.error == pytest.approx(0.05, rel=1e-4)  # maps are float32


def test_the_error_of_dummy_is_the_ignored_places_share_of_the_norm(registered):
    """A constant map has its norm everywhere alike: sqrt(1/9) of it in one of nine places."""
    x = images(1, (9, 15))
    row = found(linear(x), x, registered(lambda probe: torch.ones_like(probe.inputs)))["dummy"]
    assert row.error == pytest.approx(1 / 3)


def test_input_x_gradient_is_complete_without_biases_and_not_with_them():
    x = images(1)
    assert found(seeded(Homogeneous).double(), x, "input-x-gradient")["completeness"].error < 1e-6
    biased = found(seeded(TinyCNN).double(), x, "input-x-gradient")["completeness"]
    assert biased.held is False
    assert not biased.promised


def test_a_methods_own_completeness_error_is_taken(monkeypatch):
    """sum m - delta is S(x) - S(x'), whatever x' was."""
    x = images(1)
    row = found(seeded(Quadratic, x[0].numel()).double(), x, "integrated-gradients:baseline=0.3")
    one = pellucid.explain(seeded(Quadratic, x[0].numel()).double(), x, "integrated-gradients:baseline=0.3")
    assert row["completeness"].error == pytest.approx(
        abs(float(one.delta / (one.raw.sum() - one.delta))), abs=1e-12
    )
    assert row["completeness"].held


def test_grad_cam_is_neither_complete_nor_blind_to_what_the_model_ignores():
    x = images(1, (48, 64))
    rows = found(seeded(ResidualNet).double(), x, "grad-cam:layer=stage2")
    assert rows["completeness"].held is False
    assert rows["dummy"].held is False
    assert rows["symmetry"].held is None
    assert not any(row.promised for row in rows.values())


def test_shapley_values_keep_every_axiom_where_all_coalitions_are_scored():
    x = pictures("residual")[:1]
    rows = found(net("residual"), x, "kernel-shap:samples=64,segments=grid:2")
    assert all(row.held and row.promised for row in rows.values()), rows
    assert all(row.error < 1e-4 for axiom, row in rows.items() if axiom != "sensitivity")


def test_segments_are_mirrored_also_where_a_middle_column_has_no_counterpart():
    x = images(1, (12, 13))
    row = found(seeded(TinyCNN).double(), x, "kernel-shap:samples=64,segments=grid:2")["symmetry"]
    assert row.held
    assert row.error < 1e-4


def test_gradients_are_the_same_however_the_network_is_written():
    x = pictures("residual")[:1]
    for name in ("input-x-gradient", "smooth-grad:samples=3"):
        row = found(net("residual"), x, name)["implementation invariance"]
        assert row.held
        assert row.promised
        assert row.error < 1e-6
        assert not row.note


def test_what_cannot_be_rewritten_is_told():
    x = images(1)
    row = found(seeded(Homogeneous).double(), x, "saliency")["implementation invariance"]
    assert row.held
    assert row.note == "batch norms folded: Nothing to re-write."


def test_what_rounding_alone_decides_is_told_from_what_the_way_of_writing_does(registered):
    """A map that magnifies the score's last digits differs in float32 and does not in float64."""
    module, x = seeded(LinearNet, 48), images(1, (4, 4)).float()
    exact = float(seeded(LinearNet, 48).double()(x.double()).detach().max())

    def magnified(probe) -> Tensor:
        return attributed(probe) * (1 + 1e7 * (probe.score.double() - exact)[:, None, None, None])

    row = found(module, x, registered(magnified))["implementation invariance"]
    assert row.held
    assert row.note.startswith("In float64; in float32 the maps differ by")
    broken = found(module, x, registered(BROKEN["implementation invariance"]))["implementation invariance"]
    assert broken.held is False


def test_where_a_layers_channels_are_read_one_by_one_the_way_of_writing_counts(registered):
    """The first channel of a layer is no property of the function."""
    x = pictures("in-place")[:1]
    name = registered(
        lambda probe: layer_evidence(probe, "conv1")[0].A[:, 0] + 0 * probe.score[:, None, None]
    )
    row = found(net("in-place"), x, name)["implementation invariance"]
    assert row.held is False


def test_the_place_is_the_one_the_model_looks_at():
    x = images(1, (12, 15))
    corner = Around(
        linear(x), before=lambda x: x * (torch.arange(15) >= 10) * (torch.arange(12) < 4)[:, None]
    )
    place = Question.of(pellucid.Model(corner), x, None, None, 0, "auto").place
    assert place[:4, 10:].all()
    assert place.sum() == 20


def test_a_model_that_sees_nothing_there_is_told_from_one_that_does():
    """The map of the blinded model, not the given one's, is what dummy is about."""
    x = images(1, (9, 15))
    plain = pellucid.explain(linear(x), x, "input-x-gradient").attribution
    place = Question.of(pellucid.Model(linear(x)), x, None, None, 0, "auto").place
    assert plain[..., place].abs().sum() > 0
    assert found(linear(x), x, "input-x-gradient")["dummy"].error == 0


@pytest.mark.parametrize(
    ("error", "sampled", "held"),
    [(0.005, 0.0, True), (0.02, 0.0, False), (0.2, 0.15, True), (0.4, 0.15, False), (0.4, 0.3, None)],
)
def test_a_sampled_map_is_held_to_two_standard_errors_if_these_can_tell(error, sampled, held):
    assert within_tolerance(error, sampled).held is held


def test_few_samples_cannot_tell_and_say_so():
    x = pictures("residual")[:1]
    row = found(net("residual"), x, "smooth-grad:samples=2")["symmetry"]
    assert row.promised
    assert row.held is None
    assert "too large to tell" in row.note


# --- promises -----------------------------------------------------------------------------------------------


def test_options_decide_what_is_promised():
    def promised(spec: str) -> frozenset[str]:
        request = Request.of(spec)
        return request.method.promised(request.options)

    assert "linearity" not in promised("saliency")
    assert "linearity" in promised("saliency:signed=true")
    assert "completeness" in promised("kernel-shap")
    assert not {"completeness", "sensitivity"} & promised("kernel-shap:smooth=5")
    assert "dummy" not in promised("input-x-gradient:augment=true")
    assert "linearity" not in promised("input-x-gradient:smooth=5,smooth_statistic=square")
    assert "linearity" not in promised("kernel-shap:samples=auto")
    assert not promised("grad-cam")


@pytest.mark.parametrize("name", list(METHODS))
def test_promises_are_axioms(name):
    entry = get_method(name)
    assert entry.promised(entry.resolve_options({})) <= set(AXIOMS)


def test_by_default_all_are_asked_that_promise_more_than_what_scores_and_gradients_have():
    asked = dict(promising())
    for name, entry in METHODS.items():
        promised = entry.promised(entry.resolve_options({}))
        assert (name in asked) == bool(promised - {"implementation invariance"})
    assert asked["kernel-shap"] == {"samples": 64, "segments": "grid:3"}
    assert asked["saliency"] == asked["integrated-gradients"] == {}  # "auto" settles soon
    assert "baylime" not in asked
    assert "grad-cam" not in asked


# --- models and questions -----------------------------------------------------------------------------------


def test_layers_are_found_by_name_or_module_behind_every_wrapper():
    module, x = net("residual"), pictures("residual")[:1]
    for layer in ("stage1", module.stage1, ["stage1", "stage2"]):
        rows = found(module, x, ("hirescam", {"layer": layer}))
        assert all(row.held is not None for axiom, row in rows.items() if axiom != "symmetry"), rows


class Gated(nn.Module):
    """Channels of a convolution, weighed by further inputs."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate, self.fc = nn.Conv2d(3, 4, 3, bias=False), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x, meta):
        return self.fc((self.conv(x).relu() * self.gate(meta)[:, :, None, None]).mean((2, 3)))


class GatedBy(nn.Module):
    def __init__(self, net, meta):
        super().__init__()
        self.net, self.meta = net, meta

    def forward(self, x):
        return self.net(x, self.meta.to(x.dtype).expand(len(x), -1))


@pytest.mark.parametrize("form", ["keywords", "tuple", "callable"])
def test_further_inputs_are_those_of_the_one_image(form):
    module, x, meta = seeded(Gated), images(1).float(), torch.rand(1, 5)
    by_hand, layers = GatedBy(module, meta), form != "callable"
    given = (x, meta) if form == "tuple" else x
    keywords = None if form == "tuple" else {"meta": meta.tolist()}
    net, hand = (module, by_hand) if layers else (lambda x, meta: module(x, meta), lambda x: by_hand(x))
    asked = [
        ["input-x-gradient", ("hirescam", {"layer": name})][: 1 + layers] for name in ("conv", "net.conv")
    ]
    rows = pellucid.axioms(net, given, asked[0], target=1, forward_kwargs=keywords, progress=False).rows
    expected = pellucid.axioms(hand, x, asked[1], target=1, progress=False).rows
    for row, other in zip(rows, expected, strict=True):
        assert (row.axiom, row.held, row.promised) == (other.axiom, other.held, other.promised)
        assert row.error == other.error or row.error == pytest.approx(other.error, abs=1e-5), row
    assert [row.held for row in rows if row.axiom == "dummy"] == [True, False][: 1 + layers]


def test_a_model_of_several_inputs_is_told_how_it_is_given_the_others():
    with pytest.raises(ModelError, match=r"missing 1 .*'meta' .*forward_kwargs=.*FILE\.py:function"):
        pellucid.axioms(seeded(Gated), images(1).float(), ["saliency"])


def test_a_plain_callable_is_asked_what_it_can_answer():
    x = images(1)
    module = seeded(TinyCNN).double()
    rows = found(lambda x: module(x), x, "input-x-gradient")
    assert rows["dummy"].held
    assert rows["implementation invariance"].held is None
    assert "plain callable" in rows["implementation invariance"].note
    refused = found(lambda x: module(x), x, "grad-cam")
    assert all(row.held is None and "plain callable" in row.note for row in refused.values())


@pytest.mark.parametrize(
    "name", ["single logit", "tuple", "dict", "normalises in place", "vit", "train mode"]
)
def test_models_of_all_kinds_can_be_asked(name):
    rows = found(net(name), pictures(name)[:1], "saliency:signed=true")
    assert all(row.held for row in rows.values() if row.promised), rows


@pytest.mark.parametrize("target", [1, pellucid.Contrast(1, 2)])
@pytest.mark.parametrize("output", ["logit", "probability"])
def test_any_class_contrast_and_output_can_be_asked_about(target, output):
    x = pictures("residual")[:1]
    rows = found(net("residual"), x, "input-x-gradient", target=target, output=output)
    assert all(row.held for row in rows.values() if row.promised), rows


def test_nothing_of_the_users_is_changed():
    module, x = net("train mode"), pictures("train mode")[:1]
    x.requires_grad_()
    before = state_of(module, x)
    found(module, x, "input-x-gradient")
    found(module, x, ("hirescam", {"layer": "0.bn1"}))
    assert state_of(module, x) == before


def test_bad_requests_are_refused():
    x = images(2)
    module = linear(x)
    with pytest.raises(InvalidValue, match="one image; got 2"):
        pellucid.axioms(module, x)
    with pytest.raises(InvalidValue, match="at least one method"):
        pellucid.axioms(module, x[:1], [])
    with pytest.raises(InvalidType, match="class or a Contrast"), unchecked():
        pellucid.axioms(module, x[:1], ["saliency"], target=lambda raw: raw[:, 0])
    with pytest.raises(InvalidValue, match="no method 'salincy'"):
        pellucid.axioms(module, x[:1], ["salincy"])


# --- the report ---------------------------------------------------------------------------------------------

ROWS = tuple(
    Row(name, axiom, *told.get(axiom, (True, True, 0.0, "")))
    for name, told in {
        "a": {"completeness": (True, True, 0.004, ""), "linearity": (True, False, 0.5, "Because.")},
        "b": {
            "completeness": (False, False, 2.0, "Never told."),
            "linearity": (True, None, None, "Because."),
        },
    }.items()
    for axiom in AXIOMS
)


def test_tables_tell_promises_from_the_rest_and_say_why_they_are_broken():
    report = AxiomReport("net", "cat", "tabby", 0.01, ROWS)
    cells = {title: [row.cell for row in rows] for title, rows in report.methods.items()}
    assert cells == {
        "a": ["✓ 0.4%", "✓ 0%", "✓ 0%", "✓ 0%", "✗ 50%", "✓ 0%"],
        "b": ["(✗ 200%)", "✓ 0%", "✓ 0%", "✓ 0%", "–", "✓ 0%"],
    }
    assert report.broken == [ROWS[4]]
    assert report.remarks == ["a, b, linearity: Because."]
    for shown in (str(report), report._repr_html_()):
        for text in ("cat: tabby, by net", "✗ 50%", "(✗ 200%)", "a, b, linearity: Because."):
            assert text in shown
    escaped = AxiomReport("<b>", "cat", "tabby", 0.01, ROWS)._repr_html_()
    assert "<b>, " not in escaped
    assert "by &lt;b&gt;" in escaped


NET = """
import torch
from torch import nn
import pellucid

def net():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    return pellucid.Model(module, preprocess=pellucid.Preprocess((16, 16), scale_to=16), name="net")
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    Path("nets.py").write_text(NET)
    return lambda *words: CliRunner().invoke(app, ["axioms", "--model", "nets.py:net", *words])


@pytest.mark.usefixtures("terminal")
def test_the_command_prints_a_table_of_80_columns(asked):
    result = asked("sample:cat", "-m", "saliency", "-m", "integrated-gradients", "-m", "grad-cam")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "cat: class" in lines[0]
    heads = lines[1].split()
    assert heads == ["method", "complete", "sensitive", "dummy", "invariant", "linear", "symmetric"]
    assert any(line.startswith("integrated-gradients ") for line in lines)
    assert "in brackets: not promised" in " ".join(result.stdout.split())


def test_the_command_gives_json(asked):
    result = asked("sample:cat", "-m", "hirescam", "--layer", "0", "-t", "1^2", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["label"] == "class 1 - class 2"
    assert document["tolerance"] == 0.01
    assert [row["axiom"] for row in document["rows"]] == list(AXIOMS)
    assert {row["method"] for row in document["rows"]} == {"hirescam:layer=0"}


@pytest.mark.parametrize(
    "words",
    [
        ("sample:cat", "-m", "salincy"),
        ("nowhere.png",),
        ("sample:cat", "-t", "9"),
        ("sample:cat", "-m", "rise", "--layer", "0"),
    ],
)
def test_the_command_refuses_what_does_not_hold(asked, words):
    result = asked(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith("pellucid: ")
    assert "Traceback" not in result.stderr
