"""The command line: what it writes, prints and returns, with small models of the user's own."""

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner, Result

import pellucid
from pellucid.cli import app
from pellucid.cli.names import LONGEST, file_names, picture_names
from pellucid.methods import METHODS
from pellucid.methods.finding import Finding
from pellucid.render import metadata

NET = textwrap.dedent("""
    import time, torch
    from torch import nn
    import pellucid

    PREPROCESS = pellucid.Preprocess((16, 16), scale_to=16)
    LABELS = ["tabby, tabby cat", "tiger cat", "dog"]

    def module():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        )

    def net():
        return pellucid.Model(module(), preprocess=PREPROCESS, labels=LABELS, name="net")

    def other():
        larger = pellucid.Preprocess((20, 20), scale_to=20)
        return pellucid.Model(module(), preprocess=larger, labels=LABELS, name="other")

    def against():
        net = module()
        nn.init.constant_(net[-1].weight, -1.0)
        return pellucid.Model(net, preprocess=PREPROCESS, labels=LABELS, name="against")

    class Mean(nn.Module):
        def forward(self, x):
            return torch.stack([x.mean((1, 2, 3)), -x.mean((1, 2, 3))], 1)

    def mean():
        centred = pellucid.Preprocess((16, 16), scale_to=16, mean=(0.5,) * 3, std=(0.5,) * 3)
        return pellucid.Model(Mean(), preprocess=centred, name="mean")

    def bare():
        return module()

    def crashes():
        return {}["no such key"]

    class Slow(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = module()

        def forward(self, x):
            time.sleep(0.2)
            return self.net(x)

    def slow():
        return pellucid.Model(Slow(), preprocess=PREPROCESS, labels=LABELS, name="slow")

    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = module()

        def forward(self, x):
            return self.net(x) / (x[:, 0, 0, 0] > -2)[:, None]  # 0 / 0 or 1 / 0 for black pictures

    def picky():
        return pellucid.Model(Picky(), preprocess=PREPROCESS, labels=LABELS, name="picky")
""")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with models and three pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    Path("nets.py").write_text(NET)
    for i, name in enumerate(("a/cat.png", "b/cat.png", "b/dog.jpg")):
        Path(name).parent.mkdir(exist_ok=True)
        Image.effect_noise((24, 20), 60 + i).convert("RGB").save(name)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def explain(*arguments: str, model: str = "net") -> Result:
    return run("explain", *arguments, "--model", f"nets.py:{model}")


def written(folder: str = "pellucid-out") -> list[str]:
    """The files of a folder, but for those that list them."""
    return sorted(path.name for path in Path(folder).glob("[!.]*") if path.name != "index.jsonl")


# --- explain -----------------------------------------------------------------------------------------------


def test_every_picture_method_and_target_gets_its_own_file():
    result = explain(
        "a", "b", "-m", "grad-cam++", "-m", "saliency", "-t", "tabby", "-t", "tiger cat^dog", "-t", "2"
    )
    assert result.exit_code == 0, result.output
    expected = {
        f"{picture}.{method}.{target}.png"
        for picture in ("a-cat", "b-cat", "dog")
        for method in ("grad-cam++", "saliency")
        for target in ("tabby", "tiger-cat-dog", "2")
    }
    assert set(written()) == expected
    assert Image.open("pellucid-out/dog.saliency.2.png").size == (
        16 * 24,
        16 * 20,
    )  # enlarged, pixel by pixel


def test_files_hold_what_the_library_gives():
    assert (
        explain(
            "a", "b", "-m", "smooth-grad:samples=3", "--save", "npz", "--seed", "5", "-t", "dog"
        ).exit_code
        == 0
    )
    model = pellucid.load("nets.py:net")
    for source, name in (("a/cat.png", "a-cat"), ("b/dog.jpg", "dog")):
        saved = pellucid.Explanation.load(f"pellucid-out/{name}.smooth-grad.samples=3.dog.npz")
        alone = pellucid.explain(model, source, "smooth-grad", samples=3, seed=5, target="dog")
        torch.testing.assert_close(saved.attribution, alone.attribution)
        assert (saved.cost.forward, saved.cost.backward) == (alone.cost.forward, alone.cost.backward)


def test_all_formats_are_written_and_a_colour_map_changes_the_png():
    assert explain("b/dog.jpg", "--save", "png,npz,safetensors,html").exit_code == 0
    assert written() == [f"dog.grad-cam.{kind}" for kind in ("html", "npz", "png", "safetensors")]
    assert explain("b/dog.jpg", "--cmap", "gray", "--out", "grey").exit_code == 0
    model = pellucid.load("nets.py:net")
    expected = pellucid.explain(model, "b/dog.jpg").overlay(cmap="gray")
    assert Image.open("grey/dog.grad-cam.png").tobytes() == expected.tobytes()


def test_pictures_share_a_scale_and_are_drawn_for_print():
    drawn = ("--scale", "shared", "--interpolation", "nearest", "--width", "column", "--caption")
    assert explain("b", "--save", "png,svg", *drawn).exit_code == 0
    assert written() == [f"{name}.grad-cam.{kind}" for name in ("cat", "dog") for kind in ("png", "svg")]
    told = [metadata.read(Path(f"pellucid-out/{name}.grad-cam.png")) for name in ("cat", "dog")]
    assert told[0]["drawing"] == told[1]["drawing"]
    model = pellucid.load("nets.py:net")
    largest = max(pellucid.explain(model, f"b/{name}").limit() for name in ("cat.png", "dog.jpg"))
    assert told[0]["drawing"]["vmax"] == pytest.approx(largest, rel=1e-5)
    width = Image.open("pellucid-out/dog.grad-cam.png").width
    assert width == pytest.approx(8.8 / 2.54 * 300, abs=1)


@pytest.mark.parametrize("ends", [[], ["--vmax", "0.0005"], ["--vmax", "0.0005", "--vmin", "-0.0002"]])
def test_under_a_shared_scale_all_maps_have_two_sides_if_one_has(ends: list[str]):
    Image.new("L", (16, 16), 200).save("a/bright.png")  # no evidence against, unlike the others
    asked = ["a", "b", "-m", "input-x-gradient", "-t", "0", "--scale", "shared", *ends]
    assert explain(*asked, model="mean").exit_code == 0
    e = pellucid.explain(pellucid.load("nets.py:mean"), ["a", "b"], "input-x-gradient", target=0)
    assert [e.has_negative(i) for i in range(len(e))] == [False, True, True, True]
    limits = {name[2:]: float(value) for name, value in zip(ends[::2], ends[1::2], strict=True)}
    for i, name in enumerate(["bright", "a-cat", "b-cat", "dog"]):
        drawn = e.view(i, scale="shared", **limits)
        with Image.open(f"pellucid-out/{name}.input-x-gradient.0.png") as image:
            assert image.tobytes() == drawn.tobytes(), name
    red, green, blue = e.view(0, scale="shared", **limits).getpixel((0, 0))
    assert red > max(green, blue)  # evidence for, in the colours of signed maps


def test_methods_and_targets_share_passes():
    document = json.loads(
        explain("a", "b", "-m", "grad-cam", "-m", "hirescam", "-t", "0", "-t", "1", "--json").stdout
    )
    assert (document["cost"]["forward"], document["cost"]["backward"]) == (3, 6)
    assert {r["cost"]["forward"] for r in document["results"]} == {1}


def test_json_is_one_document_with_everything_and_nothing_else():
    Path("b/bad.png").write_bytes(b"no picture")
    result = explain("b", "-m", "grad-cam:signed=true", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert [r["picture"] for r in document["results"]] == ["b/cat.png", "b/dog.jpg"]
    first = document["results"][0]
    alone = pellucid.explain(pellucid.load("nets.py:net"), "b/cat.png", "grad-cam", signed=True)
    assert first["score"] == pytest.approx(alone.score.tolist(), rel=1e-5)
    assert first["target"] == [first["prediction"][0][0]["index"]] == [alone.prediction[0][0].index]
    assert set(alone.to_dict()) == set(first) - {"picture", "name", "title", "files"}
    assert first["options"]["signed"] is True
    assert first["files"] == ["pellucid-out/cat.grad-cam.signed=true.png"]
    assert [e["picture"] for e in document["errors"]] == ["b/bad.png"]


def test_a_broken_picture_costs_one_line_and_the_others_finish():
    Path("b/bad.png").write_bytes(b"no picture")
    result = explain("a", "b", "missing.jpg")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 2
    assert "b/bad.png" in result.stderr
    assert "missing.jpg" in result.stderr
    assert written() == ["a-cat.grad-cam.png", "b-cat.grad-cam.png", "dog.grad-cam.png"]


def test_a_picture_on_which_the_model_fails_costs_only_itself():
    Image.new("RGB", (24, 20)).save("a/black.png")
    result = explain("a", "b", model="picky")
    assert result.exit_code == 1
    assert "a/black.png" in result.stderr
    assert "finite" in result.stderr
    assert len(written()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "grad-kam"], "Did you mean grad-cam"),
        (["-m", "grad-cam:stesp=3"], "has no option 'stesp'"),
        (["-m", "smooth-grad:samples=many"], "samples must be a number"),
        (["-t", "tabbi"], "the closest are tabby"),
        (["-t", "3"], "from 0 to 2"),
        (["-t", "dog^"], "A^B"),
        (["--layer", "conv9"], "no layer 'conv9'"),
        (["--layer", "4"], "feature maps"),
        (["-m", "saliency", "--layer", "0"], "--layer needs a method that reads a layer"),
        (["--device", "abacus"], "device must be one that torch can use"),
        (["--save", "gif"], "--save must name any of"),
        (["--cmap", "jett"], "cmap must be a matplotlib colour map"),
        (["--vmax", "-1"], "vmax must be above 0"),
        (["--percentile", "101"], "percentile must be above 0 and at most 100"),
        (["--width", "wide"], 'width must be "column"'),
        (["--dpi", "1"], "dpi must be from 30 to 2400"),
        (["nowhere/"], "no file or folder 'nowhere/'"),
        (["empty*"], "no picture matches"),
        (["--out", "nets.py"], "--out must be a folder"),
        (["--model", "nets.py:missing"], "no function 'missing'"),
        (["--model", "nets.py:crashes"], "KeyError"),
        (["--model", "nets.py:bare"], "preprocess"),
        (["--model", "resnet"], "names no model"),
        (["--weights", "none.pt"], "no weights file"),
    ],
)
def test_a_bad_request_is_refused_in_one_line_before_anything_is_written(arguments: list[str], message: str):
    chosen = [] if "--model" in arguments else ["--model", "nets.py:net"]
    result = run("explain", "a", "b", *chosen, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert not Path("pellucid-out").exists()


def test_debug_shows_the_line_of_the_users_model_that_failed():
    result = explain("a", "--debug", model="crashes")
    assert result.exit_code == 2
    assert 'return {}["no such key"]' in result.stderr


def test_quiet_prints_nothing_but_errors():
    Path("b/bad.png").write_bytes(b"")
    result = explain("b", "--quiet")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == ["pellucid: b/bad.png is empty (0 bytes)"]


@pytest.mark.usefixtures("terminal")
def test_the_table_tells_prediction_class_score_and_file_within_80_columns():
    result = explain("b/dog.jpg", "-m", "grad-cam", "-t", "tabby")
    model = pellucid.load("nets.py:net")
    e = pellucid.explain(model, "b/dog.jpg", target="tabby")
    best = e.prediction[0][0]
    for text in (
        best.label,
        f"{100 * best.probability:.0f}\N{NO-BREAK SPACE}%",
        f"{float(e.score[0]):.3g}".lstrip("-"),
    ):
        assert text in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "\x1b" not in result.stdout


def test_warnings_are_printed_beneath_the_table():
    result = explain("b/dog.jpg", "-t", "dog", model="against")
    (warning,) = pellucid.explain(pellucid.load("nets.py:against"), "b/dog.jpg", target="dog").warnings
    assert "negative" in warning
    assert warning in " ".join(result.stdout.split())


def test_groups_are_written_as_they_finish_and_do_not_change_results():
    assert explain("a", "b", "--save", "npz", "--batch-size", "1", "--out", "one").exit_code == 0
    assert explain("a", "b", "--save", "npz", "--out", "all").exit_code == 0
    assert written("one") == written("all")
    for name in written("one"):
        a, b = (pellucid.Explanation.load(f"{folder}/{name}") for folder in ("one", "all"))
        torch.testing.assert_close(a.attribution, b.attribution)


def test_ctrl_c_leaves_finished_results_and_no_partial_file(here: Path):
    for i in range(20):
        Image.effect_noise((24, 20), 50 + i).convert("RGB").save(f"a/{i:02}.png")
    command = [
        sys.executable,
        "-m",
        "pellucid",
        "explain",
        "a",
        "--model",
        "nets.py:slow",
        "--batch-size",
        "1",
    ]
    child = subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here
    )
    out = here / "pellucid-out"
    deadline = time.monotonic() + 60
    while not (out.is_dir() and any(out.glob("[!.]*.png"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == 130
    document = json.loads(stdout)
    assert document["stopped"] is True
    files = sorted(file for r in document["results"] for file in r["files"])
    assert 1 <= len(files) < 21
    assert files == sorted(str(path.relative_to(here)) for path in out.glob("[!.]*.png"))
    assert len((out / "index.jsonl").read_text().splitlines()) == len(files)
    assert stderr == f"pellucid: Stopped after {len(files)} of 21 results.\n"
    for file in files:
        Image.open(here / file).load()


# --- films and completeness --------------------------------------------------------------------------------


@pytest.fixture
def masking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that optimises a mask, or says so: it has a course, and a completeness error of a fifth."""

    def function(probe):
        """A constant."""
        n, mask = len(probe.inputs), torch.rand(len(probe.inputs), 4, 8, 8)
        scores = torch.rand(n, 4)
        found = torch.full((n, 8, 8), 1.2 / 64)
        delta = torch.full((n,), 0.2)
        return Finding(found, delta=delta, trace={"mask": mask, "deletion": scores})

    kin = replace(METHODS["saliency"], name="masking", family="mask", function=function, options=())
    monkeypatch.setitem(METHODS, "masking", kin)


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_film_of_one_result_has_the_name_it_was_given(masking: None, suffix: str):
    result = explain("b/dog.jpg", "-m", "masking", "-m", "grad-cam", "--video", f"film.{suffix}", "--json")
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)["results"]
    assert first["files"] == ["pellucid-out/dog.masking.png", f"film.{suffix}"]
    assert second["files"] == ["pellucid-out/dog.grad-cam.png"]
    assert Path(f"film.{suffix}").stat().st_size > 1000
    assert sorted(path.name for path in Path().glob("film*")) == [f"film.{suffix}"]


def test_films_of_several_results_have_their_names_in_them(masking: None):
    result = explain("a", "b", "-m", "masking", "-t", "dog", "--video", "films/it.gif")
    assert result.exit_code == 0, result.output
    names = ["it.a-cat.masking.dog.gif", "it.b-cat.masking.dog.gif", "it.dog.masking.dog.gif"]
    assert written("films") == names
    assert all(f"films/{name}" in result.stdout for name in names)
    assert "6 files, by net" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "masking", "--video", "film.avi"], "must end in .mp4 or .gif; got 'film.avi'"),
        (["-m", "grad-cam", "--video", "film.gif"], "optimises a mask"),
        (
            ["-m", "masking:smooth=2", "--video", "film.gif"],
            "without smooth or augment; got masking:smooth=2",
        ),
    ],
)
def test_a_film_that_cannot_be_is_refused_before_anything_runs(
    masking: None, arguments: list[str], message: str
):
    result = explain("b/dog.jpg", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("pellucid-out").exists()
    assert not list(Path().glob("film*"))


def test_without_the_extra_an_mp4_is_refused_before_anything_runs(
    masking: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    result = explain("b/dog.jpg", "-m", "masking", "--video", "film.mp4")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "pip install pellucid[video]" in result.stderr
    assert not Path("pellucid-out").exists()


def test_completeness_errors_are_told_as_a_share_and_in_full(masking: None):
    told = explain("b/dog.jpg", "-m", "masking", "-m", "grad-cam")
    assert "delta" in told.stdout
    assert "20%" in told.stdout
    document = json.loads(explain("b/dog.jpg", "-m", "masking", "-m", "grad-cam", "--json").stdout)
    (first,), (second,) = (row["certainty"] for row in document["results"])
    assert first["delta"] == pytest.approx(0.2)
    assert first["relative_delta"] == pytest.approx(0.2, rel=1e-4)
    assert (second["delta"], second["relative_delta"]) == (None, None)
    assert "delta" not in explain("b/dog.jpg", "-m", "grad-cam").stdout
    compared = compare("b", "--model", "nets.py:net", "-m", "masking", "-m", "cam")
    assert "20%" in compared.stdout


def test_the_default_model_explains_a_sample():
    result = run("explain", "sample:cat", "-m", "grad-cam", "--json")
    (row,) = json.loads(result.stdout)["results"]
    assert row["labels"] == ["tiger cat"]
    assert row["files"] == ["pellucid-out/cat.grad-cam.png"]


# --- compare -----------------------------------------------------------------------------------------------


def compare(*arguments: str) -> Result:
    return run("compare", *arguments)


@pytest.mark.usefixtures("terminal")
def test_compare_writes_a_grid_and_a_page_and_tells_costs_and_agreement():
    result = compare("b", "--model", "nets.py:net", "-m", "grad-cam", "-m", "cam", "--out", "both")
    assert result.exit_code == 0, result.output
    assert written("both") == ["compare.png", "report.html"]
    assert "2 forward and 2 backward passes" in result.stdout
    assert "both/report.html" in result.stdout
    c = pellucid.compare(pellucid.load("nets.py:net"), ["b/cat.png", "b/dog.jpg"], ["grad-cam", "cam"])
    signed = float((c.agreement(0)[0, 1] + c.agreement(1)[0, 1]) / 2)
    unsigned = float(sum(c.agreement(i, magnitudes=True)[0, 1] for i in (0, 1)) / 2)
    told = f"{signed:.2f}" if f"{signed:.2f}" == f"{unsigned:.2f}" else f"{signed:.2f} ({unsigned:.2f})"
    assert f"cam {told}" in " ".join(result.stdout.split())
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_compare_all_asks_every_method_of_every_model(monkeypatch):
    for name, method in list(METHODS.items()):  # all that is known here are those that take few passes
        if method.cost(method.resolve_options({})).forward > 100:
            monkeypatch.delitem(METHODS, name)
    assert len({method.family for method in METHODS.values()}) >= 5
    models = ["--model", "nets.py:net", "--model", "nets.py:other"]
    document = json.loads(compare("b/dog.jpg", *models, "--all", "--json").stdout)
    assert [c["model"] for c in document["comparisons"]] == ["net", "other"]
    refused = {refusal["title"] for refusal in document["refusals"]}
    # References are the user's; no attention is there.
    attending = {"attention-rollout", "transformer-attribution", "legrad"}
    assert attending <= refused
    assert refused - attending <= {"expected-gradients", "gradient-shap", "deep-shap"}
    for c in document["comparisons"]:
        answered = [m["method"] for m in c["methods"]]
        assert [name for name in METHODS if name not in refused] == answered
        assert len(c["agreement"]) == len(c["agreement"][0]) == len(answered)


def test_compare_goes_on_without_broken_pictures_and_refused_methods():
    Path("b/bad.png").write_bytes(b"no picture")
    flat = "\n\ndef flat():\n    head = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))\n"
    Path("nets.py").write_text(
        NET + flat + '    return pellucid.Model(head, preprocess=PREPROCESS, name="flat")\n'
    )
    result = compare("b", "--model", "nets.py:flat", "-m", "saliency", "-m", "grad-cam")
    assert result.exit_code == 1
    assert "b/bad.png" in result.stderr
    assert "grad-cam cannot explain flat" in result.stdout
    assert written() == ["compare.png", "report.html"]


def test_compare_refuses_a_bad_request_and_writes_nothing():
    result = compare("b", "--model", "nets.py:net", "-t", "lion")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "has no class 'lion'" in result.stderr
    assert not Path("pellucid-out").exists()


# --- methods, models, help ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("terminal")
def test_methods_lists_the_whole_registry():
    text = run("methods").stdout
    assert all(name in text for name in METHODS)
    assert max(map(len, text.splitlines())) <= 80
    rows = json.loads(run("methods", "--json").stdout)
    assert {row["name"] for row in rows} == set(METHODS)
    smooth = next(row for row in rows if row["name"] == "smooth-grad")
    assert smooth["passes"] == {"forward": 51, "backward": 50, "per_channel": 0, "behind_per_channel": 0}
    assert {"name": "samples", "type": "int | auto", "default": 50} in smooth["options"]


def test_methods_with_a_name_tells_its_docstring():
    text = run("methods", "grad-cam").stdout
    assert all(line.strip() in text for line in METHODS["grad-cam"].doc.splitlines()[:3])
    unknown = run("methods", "grad-kam")
    assert unknown.exit_code == 2
    assert "Did you mean" in unknown.stderr


def test_models_lists_sources_and_finds_names():
    text = run("models").stdout
    assert all(source in text for source in ("efficientnet-lite0", "timm:NAME", "FILE.py:function"))
    specs = [row["spec"] for row in json.loads(run("models", "resnet18", "--json").stdout)]
    assert {"timm:resnet18", "torchvision:resnet18"} <= set(specs)
    assert run("models", "no-such-model").exit_code == 1


@pytest.mark.parametrize("command", [[], ["explain"], ["compare"], ["methods"], ["models"], ["doctor"]])
def test_help_fits_80_columns(command: list[str]):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_version_is_the_packages():
    assert run("--version").stdout == f"pellucid {importlib.metadata.version('pellucid')}\n"


def test_importing_the_command_line_leaves_heavy_libraries_alone():
    heavy = ("timm", "torchvision", "matplotlib", "skimage", "transformers", "jinja2")
    code = f"import sys, pellucid.cli; print([m for m in {heavy} if m in sys.modules])"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


def test_python_m_pellucid_separates_output_from_errors(here: Path):
    Path("b/bad.png").write_bytes(b"")
    command = [sys.executable, "-m", "pellucid", "explain", "b", "--model", "nets.py:net"]
    child = subprocess.run(
        command, capture_output=True, text=True, cwd=here, env={**os.environ, "COLUMNS": "80"}
    )
    assert child.returncode == 1
    assert child.stderr == "pellucid: b/bad.png is empty (0 bytes)\n"
    assert "2 files, by" in child.stdout


# --- names -------------------------------------------------------------------------------------------------

paths = st.lists(st.text("aA./ üé*:", min_size=1, max_size=12), min_size=1, max_size=8, unique=True)


@given(paths)
@settings(deadline=None)
def test_names_never_meet_and_are_safe(sources: list[str]):
    names = file_names([(name, "cam") for name in picture_names(sources)])
    assert len({name.casefold() for name in names}) == len(sources)
    assert not any(set(name) & set('/\\:*?"<>| ') or name.startswith(".") for name in names)


def test_names_that_differ_only_in_case_are_told_apart_by_their_folders():
    assert picture_names(["a/Cat.jpg", "b/cat.jpg"]) == ["a-Cat", "b-cat"]


def test_names_are_short_enough_for_every_file_system():
    (one, other) = file_names([("é" * 300, "cam"), ("é" * 300, "grad-cam")])
    assert max(len(name.encode()) for name in (one, other)) <= LONGEST + 3
    assert one != other


# --- how sure --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("terminal")
def test_samples_and_errors_are_told_of_sampled_methods_alone():
    arguments = ["b/dog.jpg", "-m", "rise:samples=64", "-m", "grad-cam"]
    rows = json.loads(explain(*arguments, "--json").stdout)["results"]
    (rise,), (cam,) = (row["certainty"] for row in rows)
    e = pellucid.explain(pellucid.load("nets.py:net"), "b/dog.jpg", "rise", samples=64)
    assert rise["samples"] == 64
    assert rise["relative_error"] == pytest.approx(e.relative_error(), rel=1e-4)
    assert rise["stderr"]["max"] == pytest.approx(float(e.stderr.max()), rel=1e-4)
    assert [cam[name] for name in ("samples", "relative_error", "stderr", "r2")] == [None] * 4
    shown = explain(*arguments)
    assert "samples" in shown.stdout.splitlines()[0] or "samples" in shown.stdout.splitlines()[1]
    assert f"±{100 * e.relative_error():.0f}%" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "±" not in explain("b/dog.jpg", "-m", "grad-cam").stdout


def test_error_maps_are_written_where_there_are_any():
    explain("b/dog.jpg", "-m", "rise:samples=8", "-m", "grad-cam", "--save", "png,error")
    assert written() == ["dog.grad-cam.png", "dog.rise.samples=8.error.png", "dog.rise.samples=8.png"]
    e = pellucid.explain(pellucid.load("nets.py:net"), "b/dog.jpg", "rise", samples=8)
    with Image.open("pellucid-out/dog.rise.samples=8.error.png") as image:
        assert image.size == e.uncertainty().size


def test_error_maps_of_methods_that_draw_nothing_are_refused():
    result = explain("b/dog.jpg", "-m", "grad-cam", "--save", "png,error")
    assert result.exit_code == 2
    assert "--save error needs a method that draws samples, such as rise; got grad-cam." in result.stderr
    assert not Path("pellucid-out").exists()
    assert explain("b/dog.jpg", "-m", "grad-cam:smooth=3", "--save", "error").exit_code == 0


def test_compare_tells_samples_and_errors_of_every_picture():
    arguments = [
        "b/dog.jpg",
        "b/cat.png",
        "-m",
        "rise:samples=64",
        "-m",
        "grad-cam",
        "--model",
        "nets.py:net",
    ]
    told = json.loads(run("compare", *arguments, "--json").stdout)["comparisons"][0]["methods"]
    assert [one["samples"] for one in told[0]["certainty"]] == [64, 64]
    assert all(one["relative_error"] > 0 for one in told[0]["certainty"])
    assert told[1]["certainty"][0]["samples"] is None
    table = run("compare", *arguments).stdout
    median = min(one["relative_error"] for one in told[0]["certainty"])
    assert f"±{100 * median:.0f}%" in table
