"""The registry: what a method is, read off its signature; and how one is added."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import pellucid
from nets import TinyCNN, net, pictures, unchecked
from pellucid.docstrings import SECTIONS, read
from pellucid.errors import InvalidType, InvalidValue
from pellucid.formula import formula_of, tokens
from pellucid.methods import FAMILIES, METHODS, get_method
from pellucid.methods.cam.form import cam
from pellucid.methods.definition import WRAPPERS
from pellucid.metrics import METRICS
from pellucid.options.resolve import parse
from pellucid.options.types import LayerOption, Option
from pellucid.probe import Probe
from zoo import seeded

SOURCE = Path(pellucid.__file__).parent

BUILT_IN = [m for m in pellucid.methods() if m.built_in]
every = pytest.mark.parametrize("entry", BUILT_IN, ids=lambda m: m.name)


def test_every_module_of_every_family_is_imported_and_the_folders_are_the_families():
    folder = SOURCE / "methods"
    modules = {path.relative_to(folder).with_suffix("") for path in folder.glob("*/*.py")}
    names = {".".join(m.parts) for m in modules if m.name != "__init__"}
    assert {f"pellucid.methods.{name}" for name in names} <= set(sys.modules)
    assert set(FAMILIES) == {m.parts[0] for m in modules} == {m.family for m in BUILT_IN}
    assert len(BUILT_IN) >= 56
    assert list(METHODS) == sorted(METHODS, key=lambda name: (METHODS[name].family, name))


def test_a_module_that_cannot_be_imported_is_not_passed_over(tmp_path, monkeypatch):
    shutil.copytree(SOURCE, tmp_path / "pellucid", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pellucid/methods/gradient/faulty.py").write_text("import no_such_library\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", "import pellucid; pellucid.methods"]
    found = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 1
    assert "No module named 'no_such_library'" in found.stderr


def test_public_names_are_those_announced():
    # METHODS is there for docs and tests; of its modules the one for text and tables is public.
    assert set(pellucid._HOMES) - {"METHODS"} | {"lime"} == set(pellucid.__all__)
    assert set(pellucid.__all__) <= set(dir(pellucid))
    assert list(pellucid.__all__) == sorted(pellucid.__all__)
    assert all(getattr(pellucid, name).__doc__ for name in pellucid.__all__)


@every
def test_a_method_says_what_it_is(entry):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*(\+\+)?", entry.name)
    assert entry.paper
    assert entry.reads in ("layers", "input gradient", "perturbed inputs", "replaced operations")
    assert 20 < len(entry.summary) <= 110
    assert get_method(entry.name) is entry


@every
def test_a_docstring_gives_formula_shape_cost_source_and_example(entry):
    doc = read(entry.doc)
    sections = doc.sections
    assert list(sections) == [name for name in SECTIONS if name in sections]  # each once
    assert re.search(r"[=*^]|\w\(|d\w+/d|\b(mean|times|sums?)\b", doc.summary), "no formula"
    assert re.match(r"\(N, [^)]+\)", sections["Returns"])
    assert re.search(r"\bforward\b|\b1 of each\b", sections["Cost"])
    assert sections["Source"]
    assert re.search(r"\b(19|20)\d\d\b", entry.paper)
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d{4,}/\S+|github\.com/\S+", entry.paper)
    assert f'"{entry.name}"' in sections["Example"]
    assert sections["Example"].startswith(">>> import ")
    assert "pellucid.explain(" in sections["Example"]


@pytest.mark.parametrize("entry", [*BUILT_IN, *pellucid.metrics()], ids=lambda one: one.name)
def test_every_symbol_of_a_formula_is_defined_and_used(entry):
    found = formula_of(entry.doc)
    assert found.undefined == set()
    used = tokens(found.latex)
    assert [s for s, _ in found.symbols if tokens(s) and not tokens(s) & used] == []
    assert all(meaning.strip() for _, meaning in found.symbols)


@pytest.mark.parametrize("entry", [*BUILT_IN, *pellucid.metrics()], ids=lambda one: one.name)
def test_a_docstring_says_what_it_is_good_for_what_not_and_what_is_near(entry):
    doc = read(entry.doc)
    assert len(doc.text) >= 1  # the principle, in plain words
    assert all(point[-1] in ".?" for name in ("Strengths", "Weaknesses") for point in doc.items(name))
    assert min(len(doc.items(name)) for name in ("Strengths", "Weaknesses")) >= 1
    near = doc.names("See Also")
    assert near
    assert entry.name not in near
    assert set(near) <= {*METHODS, *METRICS}


@every
def test_all_of_its_own_options_are_explained(entry):
    shared = {"layer", "layout", "fusion", "signed", "principal"}  # of CAMs: see the page of methods
    names = {option.name for option in entry.options} - shared
    assert names <= set(re.findall(r"^    (\w+): ", entry.doc, re.MULTILINE))


@every
def test_what_a_type_says_of_its_options_stands_in_the_docstring(entry):
    words = " ".join(entry.doc.split())
    assert not re.search(r": see `\w+`\.", words)
    for option in entry.options:
        assert not option.about or f"{option.name}: {option.about}" in words


def test_the_tolerance_of_samples_is_explained_once_for_all():
    entry = get_method("rise")
    assert "tolerance: see `Tolerance`." in entry.function.__doc__
    assert 'tolerance: of samples="auto": the relative standard error of the top decile' in entry.doc


@every
def test_what_makes_it_quick_are_options_that_it_has(entry):
    assert set(entry.quick) <= {option.name for option in entry.options}
    assert entry.resolve_options(entry.quick)
    cost = entry.cost(entry.resolve_options(entry.quick))
    assert cost.forward + cost.backward <= 150
    assert cost.per_channel <= 2


NOISY = [(m, {"baseline": "noise"}) for m in BUILT_IN for o in m.options if o.name == "baseline"]


@pytest.mark.parametrize(
    ("entry", "changed"), [(m, {}) for m in BUILT_IN] + NOISY, ids=lambda v: getattr(v, "name", str(v))
)
def test_methods_that_draw_random_numbers_say_so(entry, changed, monkeypatch):
    made, generator = [], Probe.generator

    def watched(probe, draw=0):
        numbers = generator(probe, draw)
        made.append((numbers, numbers.get_state()))
        return numbers

    monkeypatch.setattr(Probe, "generator", watched)
    name = "vit" if entry.family == "attention" else "in-place"
    options = {**entry.quick, **changed}
    with unchecked():
        pellucid.explain(net(name), pictures(name, 1), entry.name, **options)
    drawn = any(not torch.equal(numbers.get_state(), state) for numbers, state in made)
    assert drawn == entry.is_random(entry.resolve_options(options))


def test_copies_and_baselines_that_are_noise_are_random():
    entry = get_method("integrated-gradients")
    assert not entry.is_random(entry.resolve_options({}))
    assert entry.is_random(entry.resolve_options({"smooth": 2}))
    assert entry.is_random(entry.resolve_options({"baseline": "noise"}))
    deep = get_method("deep-shap")
    assert not deep.is_random(deep.resolve_options({"references": "zero,mean"}))
    assert deep.is_random(deep.resolve_options({"references": "zero,noise"}))


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
    resolved = entry.resolve_options({})
    assert resolved == {option.name: option.default for option in (*entry.options, *WRAPPERS)}
    written = {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in resolved.items()
    }
    assert entry.resolve_options(written) == resolved


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
        ("gradcam", InvalidValue, r"no method 'gradcam'. It is 'grad-cam' here"),
        ("Grad_CAM", InvalidValue, r"It is 'grad-cam' here"),
        ("grad-camm", InvalidValue, r"Did you mean grad-cam or"),
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


def test_a_method_is_one_decorated_function(own_methods):
    @pellucid.method(
        "brightness", family="gradient", paper="nobody 2026", passes=(1, 0), random=True, quick={"power": 3.0}
    )
    def brightness(probe, *, power: float = 1.0, negative: bool = False):
        """sum_c x_c ^ power: what a picture shows, whatever the model says."""
        light = (probe.inputs**power).sum(1)
        return -light if negative else light

    assert inspect.isfunction(brightness)
    assert list(inspect.signature(brightness).parameters) == ["probe", "power", "negative"]
    module, x = seeded(TinyCNN), torch.rand(2, 3, 9, 12)
    e = pellucid.explain(module, x, "brightness:power=2,negative=yes")
    torch.testing.assert_close(e.raw, -(x**2).sum(1))
    assert e.attribution.shape == (2, 1, 9, 12)
    assert e.options == {"power": 2.0, "negative": True}
    assert (e.cost.forward, e.cost.backward) == (2, 0)
    assert e.paper == "nobody 2026"
    entry = get_method("brightness")
    assert (entry.family, entry.built_in, entry.quick) == ("gradient", False, {"power": 3.0})
    assert entry.is_random(entry.resolve_options({}))
    assert entry.function is brightness
    assert entry.summary.startswith("sum_c x_c ^ power")
    assert entry.cost(entry.resolve_options({"smooth": 5})) == (6, 0, 0, 0)
    smoothed = pellucid.explain(module, x, "brightness:smooth=4,augment=true")  # every wrapper works on it
    assert smoothed.stderr is not None
    assert "brightness" in [m.name for m in pellucid.methods()]


def test_options_take_defaults_from_the_signature_and_nowhere_else():
    for entry in pellucid.methods():
        parameters = inspect.signature(entry.function).parameters
        own = {p.name: p.default for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
        assert {option.name: option.default for option in entry.options} == own


def undocumented(probe):
    return probe.inputs.sum(1)


def test_a_method_may_have_no_docstring_and_a_cam_comes_from_outside(own_methods):
    pellucid.method("undocumented", family="gradient", paper="nobody", passes=(1, 0))(undocumented)
    assert (get_method("undocumented").summary, get_method("undocumented").doc) == ("", "")

    @cam("top-cam", family="cam", paper="nobody", quick={"power": 2.0})
    def top(at, *, power: float = 1.0):
        return at.G.amax((2, 3)) ** power

    entry = get_method("top-cam")
    assert (entry.family, entry.reads, entry.quick) == ("cam", "layers", {"power": 2.0})
    assert pellucid.explain(seeded(TinyCNN), torch.rand(1, 3, 9, 12), "top-cam").raw.shape == (1, 5, 6)


def test_a_cell_that_is_run_again_replaces_its_method(own_methods):
    def cell(value):
        @pellucid.method("constant", family="gradient", paper="nobody", passes=(1, 0))
        def constant(probe):
            return torch.full_like(probe.inputs.sum(1), value)

        return constant

    for value in (1.0, 2.0):
        function = cell(value)
        assert get_method("constant").function is function
        e = pellucid.explain(seeded(TinyCNN), torch.rand(1, 3, 9, 12), "constant")
        assert (e.raw == value).all()


@pytest.mark.parametrize("name", ["constant", "saliency", "grad-cam"])
def test_a_name_that_another_function_has_is_refused(own_methods, name):
    def first(probe):
        return probe.inputs.sum(1)

    def second(probe):
        return probe.inputs.sum(1)

    facts = {"family": "gradient", "paper": "nobody", "passes": (1, 0)}
    if name == "constant":
        pellucid.method(name, **facts)(first)
    before = get_method(name)
    with pytest.raises(InvalidValue, match=f"'{name}' is registered twice: by ") as told:
        pellucid.method(name, **facts)(second)
    for function in (before.function, second):
        assert f"{function.__module__}.{function.__qualname__}" in str(told.value)
    assert get_method(name) is before


def no_options(probe): ...
def untyped(probe, *, power=1.0): ...
def without_default(probe, *, power: float): ...
def a_list(probe, *, power: list = ()): ...
def a_place(probe, power: float = 1.0): ...
def any_options(probe, **options): ...
def no_evidence(*, power: float = 1.0): ...
def unknown_type(probe, *, power: "Nowhere" = 1.0): ...


@pytest.mark.parametrize(
    ("function", "changed", "words"),
    [
        (no_options, {"family": "cams"}, r"family must be one of attention, cam, .*; got 'cams'"),
        (no_options, {"family": None}, r"no_options: family must be one of attention, cam, .*; got None"),
        (no_options, {"name": "My_CAM"}, r"kebab-case, such as my-method; got 'My_CAM'"),
        (no_options, {"name": "my--cam"}, r"kebab-case"),
        (no_options, {"name": ""}, r"kebab-case"),
        (no_options, {"reads": "tea leaves"}, r"reads must be one of layers, input grad.*; got 'tea leaves'"),
        (untyped, {}, r"untyped: the option power must have a type and a default; it lacks a type"),
        (without_default, {}, r"the option power must have a type and a default; it lacks a default"),
        (a_list, {}, r"a_list: the option power must be a bool, int, float, .*; got <class 'list'>"),
        (a_place, {}, r"a_place must take power by keyword only"),
        (any_options, {}, r"any_options must take options by keyword only"),
        (no_evidence, {}, r"no_evidence must take its evidence first"),
        (unknown_type, {}, r"the type of the option power is not known: name 'Nowhere' is not defined"),
    ],
)
def test_what_is_no_method_is_refused(own_methods, function, changed, words):
    facts = {"name": "new-one", "family": "gradient", "paper": "nobody", "passes": (1, 0), **changed}
    with unchecked(), pytest.raises(InvalidValue, match=words):
        pellucid.method(facts.pop("name"), **facts)(function)
    assert "new-one" not in METHODS
    assert "My_CAM" not in METHODS


def test_a_cam_whose_option_is_not_by_keyword_is_refused(own_methods):
    def weights(at, power: float = 1.0): ...

    with pytest.raises(InvalidValue, match="weights must take power by keyword only"):
        cam("new-cam", family="cam", paper="nobody")(weights)


def postponed(probe, *, power: "float" = 1.0, how: "Literal['a', 'b']" = "a"): ...


def test_types_may_be_text(own_methods):
    pellucid.method("postponed", family="gradient", paper="nobody", passes=(1, 0))(postponed)
    assert get_method("postponed").resolve_options({"power": "2", "how": "b"})["power"] == 2.0
    with pytest.raises(InvalidValue, match=r"how must be one of a \| b"):
        get_method("postponed").resolve_options({"how": "c"})


@pytest.mark.parametrize(
    ("quick", "words"), [({"steps": 2}, "no option 'steps'"), ({"power": "x"}, "power must be a number")]
)
def test_what_should_make_a_method_quick_is_checked_when_it_is_used(own_methods, quick, words):
    def slow(probe, *, power: float = 1.0): ...

    pellucid.method("slow", family="gradient", paper="nobody", passes=(1, 0), quick=quick)(slow)
    with pytest.raises((InvalidValue, InvalidType), match=words):
        _ = get_method("slow").quick


def test_a_method_that_gives_nan_is_refused(own_methods):
    def broken(probe, *, scale: float = 1.0):
        """0 / 0, everywhere."""
        return probe.inputs.sum(1) * float("nan")

    pellucid.method("broken", family="gradient", paper="nobody", passes=(1, 0))(broken)
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
    said = "broken gave a value that is not finite (nan) for image 0."
    with pytest.raises(InvalidValue, match=f"^{re.escape(said)}$"):
        pellucid.explain(net, x, "broken")
    with pytest.raises(InvalidValue, match=f"^{re.escape(said)} Half precision.*float32"):
        pellucid.explain(net.bfloat16(), x.bfloat16(), "broken")
