"""The registry: what a method is, read off its signature; and how one is added."""

import inspect
import re
from typing import Annotated, Literal, get_args, get_origin

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import pellucid
from nets import TinyCNN, unchecked
from pellucid.errors import InvalidType, InvalidValue
from pellucid.methods import METHODS, get_method, parse
from pellucid.methods.registry import WRAPPERS, LayerOption, Option, method
from zoo import seeded

EXPECTED = [
    "ablation-cam", "agi", "attention-rollout", "attn-lrp", "baylime", "blur-ig", "cam", "deconvnet",
    "deep-lift", "deep-shap", "eigen-cam", "eigen-grad-cam", "enhanced-ig", "excitation-backprop",
    "expected-gradients", "extremal-perturbation", "full-grad", "grad-cam", "grad-cam++",
    "grad-cam-elementwise", "gradient-shap", "group-cam", "guided-backprop", "guided-grad-cam",
    "guided-ig", "hirescam", "i-gos", "i-gos++", "input-x-gradient", "integrated-grad-cam",
    "integrated-gradients", "is-cam", "kernel-shap", "layer-cam", "legrad", "lime", "lrp",
    "meaningful-perturbation", "occlusion", "opti-cam", "partition-shap", "random-baseline-ig",
    "random-cam", "relevance-cam", "rise", "saliency", "score-cam", "simple-full-grad",
    "smooth-full-grad", "smooth-grad", "smooth-grad-squared", "ss-cam", "transformer-attribution",
    "var-grad", "xgrad-cam", "xrai",
]  # fmt: skip
every = pytest.mark.parametrize("entry", pellucid.methods(), ids=lambda m: m.name)


def test_every_method_of_this_step_is_there():
    assert sorted(m.name for m in pellucid.methods()) == sorted(EXPECTED)


def test_public_names_are_those_announced():
    public = {name for name, value in vars(pellucid).items()
              if not name.startswith("_") and not inspect.ismodule(value)}  # fmt: skip
    assert public - {"METHODS"} | {"lime"} == set(
        pellucid.__all__
    )  # of its modules the one for text and tables
    assert list(pellucid.__all__) == sorted(pellucid.__all__)
    assert all(getattr(pellucid, name).__doc__ for name in pellucid.__all__)


@every
def test_a_method_says_what_it_is(entry):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*(\+\+)?", entry.name)
    assert entry.paper
    assert entry.family in ("cam", "gradient", "path", "perturb", "mask", "relevance", "attention")
    assert entry.reads in ("layers", "input gradient", "altered copies", "replaced operations")
    assert 20 < len(entry.summary) <= 110
    assert "Cost:" in entry.doc
    assert "Source:" in entry.doc
    assert get_method(entry.name) is entry


@every
def test_every_option_has_a_name_a_type_and_a_default_of_that_type(entry):
    names = [option.name for option in (*entry.options, *WRAPPERS)]
    assert len(names) == len(set(names))
    for option in entry.options:
        assert re.fullmatch(r"[a-z]+\d?(_[a-z]+)*", option.name)
        assert option.default is not inspect.Parameter.empty
        assert option.check(option.default) == option.default
        assert "inspect" not in option.kind
        if get_origin(option.type) is not Annotated:
            allowed = get_args(option.type) if get_origin(option.type) is Literal else None
            assert option.default in allowed if allowed else isinstance(option.default, option.type)


@every
def test_defaults_are_settled_and_options_given_as_text_too(entry):
    settled = entry.settle({})
    assert settled == {option.name: option.default for option in (*entry.options, *WRAPPERS)}
    written = {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in settled.items()
    }
    assert entry.settle(written) == settled


# --- options ------------------------------------------------------------------------------------------------


@given(st.integers(-(10**6), 10**6))
def test_whole_numbers_are_read_as_such(value):
    option = Option("samples", int, 1)
    for form in (value, str(value), float(value), f"{value}.0"):
        found = option.check(form)
        assert found == value
        assert type(found) is int


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_exactly(value):
    option = Option("noise", float, 0.0)
    assert option.check(value) == option.check(repr(value)) == value
    assert type(option.check(3)) is float


@given(st.sampled_from(["true", "True", "yes", "1", True]), st.sampled_from(["false", "NO", "0", False]))
def test_truth_is_read_in_the_usual_words(yes, no):
    option = Option("signed", bool, False)
    assert option.check(yes) is True
    assert option.check(no) is False


@given(
    st.sampled_from([int, float, bool, Literal["a", "b"]]),
    st.none() | st.text("xyz", min_size=1) | st.lists(st.integers()) | st.just(float("nan")) | st.just(b"a"),
)
def test_anything_else_is_refused_with_the_options_name(kind, value):
    with pytest.raises((InvalidValue, InvalidType), match=r"^thing must be "):
        Option("thing", kind, None).check(value)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (int, 1.5, "a whole number; got 1.5"),
        (int, "many", r"a number \(int\); got 'many'"),
        (int, True, "of type int; got True"),
        (float, "inf", "finite; got 'inf'"),
        (float, float("nan"), "finite; got nan"),
        (bool, 2, "true or false; got 2"),
        (bool, "maybe", "true or false; got 'maybe'"),
        (Literal["mean", "max"], "sum", r"one of mean \| max; got 'sum'"),
        (LayerOption, 3, "'auto', a dotted name, a module, or a list of these; got int"),
    ],
)
def test_a_wrong_value_is_told(kind, value, words):
    with pytest.raises((InvalidValue, InvalidType), match=f"^thing must be {words}"):
        Option("thing", kind, None).check(value)


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("grad-cam", ("grad-cam", {})),
        ("smooth-grad:samples=20,noise=0.1", ("smooth-grad", {"samples": "20", "noise": "0.1"})),
        ("layer-cam:layer=a.1,b.2,fusion=max", ("layer-cam", {"layer": "a.1,b.2", "fusion": "max"})),
        (" grad-cam : smooth-noise = 0.2 ", ("grad-cam", {"smooth_noise": "0.2"})),
        ("grad-cam:", ("grad-cam", {})),
    ],
)
def test_methods_are_parsed_as_written(spec, parsed):
    assert parse(spec) == parsed


@pytest.mark.parametrize("spec", ["smooth-grad:samples", "smooth-grad:samples=", "smooth-grad:20"])
def test_an_option_without_a_value_is_refused(spec):
    with pytest.raises(
        InvalidValue, match=r"Options must be written NAME=VALUE, as in .*; got 'samples=?|20'"
    ):
        parse(spec)


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("gradcam", InvalidValue, r"no method 'gradcam'. Did you mean grad-cam"),
        ("Grad_CAM", InvalidValue, r"Did you mean grad-cam"),
        ("zzz", InvalidValue, r"no method 'zzz'. `pellucid methods`"),
        (
            "smooth-grad:sample=3",
            InvalidType,
            r"no option 'sample'. Did you mean 'samples'\? It takes: samples, tolerance, noise",
        ),
        ("saliency:layer=x", InvalidType, "saliency has no option 'layer'"),
        ("eigen-cam:principal=1", InvalidType, "eigen-cam has no option 'principal'"),
        ("smooth-grad:samples=0", InvalidValue, "samples must be 'auto' or at least 1; got 0"),
        ("smooth-grad:noise=-1", InvalidValue, "noise must be at least 0"),
        ("grad-cam:smooth=-1", InvalidValue, "smooth must be a number of copies, 0 for none; got -1"),
        ("grad-cam:smooth=2,smooth-noise=-1", InvalidValue, "noise must be at least 0"),
        ("layer-cam:fusion=sum", InvalidValue, r"fusion must be one of mean \| max \| tanh-max; got 'sum'"),
    ],
)
def test_requests_that_do_not_hold_are_refused(spec, error, words):
    with pytest.raises(error, match=words):
        pellucid.explain(seeded(TinyCNN), torch.rand(1, 3, 9, 9), spec)


@pytest.mark.parametrize(("name", "value"), [("batch_size", 0), ("batch_size", "big"), ("batch_size", True),
                                             ("batch_size", 2.0), ("precision", "int8"), ("seed", 1.5),
                                             ("seed", "7"), ("seed", True)])  # fmt: skip
def test_engine_options_that_do_not_hold_are_refused(name, value):
    with unchecked(), pytest.raises((InvalidValue, InvalidType), match=f"{name} must be .*; got {value!r}"):
        pellucid.explain(seeded(TinyCNN), torch.rand(1, 3, 9, 9), **{name: value})


def test_any_whole_seed_is_taken():
    for seed in (-1, 0, 2**63, 10**30):
        pellucid.explain(seeded(TinyCNN), torch.rand(1, 3, 9, 9), "smooth-grad:samples=2", seed=seed)


# --- adding one ---------------------------------------------------------------------------------------------


def test_a_method_is_one_decorated_function(monkeypatch):
    def brightness(probe, *, power: float = 1.0, negative: bool = False):
        """sum_c x_c ^ power: what a picture shows, whatever the model says."""
        light = (probe.inputs**power).sum(1)
        return -light if negative else light

    brightness.__module__ = "pellucid.methods.gradient.brightness"
    monkeypatch.setitem(METHODS, "brightness", None)  # taken out again after the test
    assert method("brightness", paper="nobody 2026", passes=(1, 0))(brightness) is brightness

    module, x = seeded(TinyCNN), torch.rand(2, 3, 9, 12)
    e = pellucid.explain(module, x, "brightness:power=2,negative=yes")
    torch.testing.assert_close(e.raw, -(x**2).sum(1))
    assert e.attribution.shape == (2, 1, 9, 12)
    assert e.options == {"power": 2.0, "negative": True}
    assert (e.cost.forward, e.cost.backward) == (2, 0)
    assert e.paper == "nobody 2026"
    entry = get_method("brightness")
    assert entry.family == "gradient"
    assert entry.summary.startswith("sum_c x_c ^ power")
    assert entry.cost(entry.settle({"smooth": 5})) == (6, 0, 0, 0)
    smoothed = pellucid.explain(module, x, "brightness:smooth=4,augment=true")  # every wrapper works on it
    assert smoothed.stderr is not None
    assert "brightness" in [m.name for m in pellucid.methods()]


def test_options_take_defaults_from_the_signature_and_nowhere_else():
    for entry in pellucid.methods():
        parameters = inspect.signature(entry.function).parameters
        own = {p.name: p.default for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
        assert {option.name: option.default for option in entry.options} == own


def test_a_method_that_gives_nan_is_refused(monkeypatch):
    def broken(probe, *, scale: float = 1.0):
        """0 / 0, everywhere."""
        return probe.inputs.sum(1) * float("nan")

    broken.__module__ = "pellucid.methods.gradient.broken"
    monkeypatch.setitem(METHODS, "broken", None)
    method("broken", paper="nobody", passes=(1, 0))(broken)
    with pytest.raises(InvalidValue, match="broken gave a value that is not finite for image 0"):
        pellucid.explain(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4), "broken")
