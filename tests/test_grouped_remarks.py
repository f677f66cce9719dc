"""What is said of pictures: each text once, with the names of all that it is about, and in whole lines."""

import textwrap
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner, Result

import pellucid
from pellucid.cli import app

NETS = textwrap.dedent("""
    import torch
    from torch import nn
    import pellucid

    LABELS = ["tabby", "tiger cat", "dog"]
    PREPROCESS = pellucid.Preprocess((16, 16), scale_to=16)

    def module():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        )

    def against():  # no evidence for any class: every map of a CAM is empty, and says so
        net = module()
        nn.init.constant_(net[-1].weight, -1.0)
        return pellucid.Model(net, preprocess=PREPROCESS, labels=LABELS, name="against")

    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = module()

        def forward(self, x):
            return self.net(x) / (x[:, 0, 0, 0] > -2)[:, None]  # 0 / 0 or 1 / 0 for black pictures

    def picky():
        return pellucid.Model(Picky(), preprocess=PREPROCESS, labels=LABELS, name="picky")
""")
CAMS = ("-m", "grad-cam", "-m", "xgrad-cam")
EMPTY = "All evidence for this class"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models and two pictures, one with a space in its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    Path("nets.py").write_text(NETS)
    for i, name in enumerate(("my cat.png", "dog.png")):
        Image.effect_noise((24, 20), 60 + i).convert("RGB").save(name)
    return tmp_path


def run(verb: str, *arguments: str, model: str = "against") -> Result:
    return CliRunner().invoke(app, [verb, *arguments, "--model", f"nets.py:{model}"])


def lines(result: Result, words: str) -> list[str]:
    return [line for line in result.stdout.splitlines() if words in line]


@pytest.mark.parametrize("verb", ["explain", "compare"])
def test_a_warning_is_printed_once_with_pictures_and_methods_and_in_a_pipe_in_one_line(verb: str):
    result = run(verb, "my cat.png", "dog.png", *CAMS, "-t", "dog")
    assert result.exit_code == 0, result.output
    (line,) = lines(result, EMPTY)
    assert line.startswith(f"my cat, dog · grad-cam, xgrad-cam: {EMPTY}")
    assert len(line) > 80
    (whole,) = pellucid.explain(pellucid.load("nets.py:against"), "dog.png", target="dog").warnings
    assert line.endswith(whole)


@pytest.mark.parametrize("verb", ["explain", "compare"])
def test_of_several_targets_a_warning_says_which(verb: str):
    result = run(verb, "dog.png", "-m", "grad-cam", "-t", "dog", "-t", "tabby")
    (line,) = lines(result, EMPTY)
    assert line.startswith(f"dog · grad-cam for dog, grad-cam for tabby: {EMPTY}")


@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_warnings_are_wrapped_to_its_width():
    shown = run("explain", "my cat.png", "dog.png", *CAMS, "-t", "dog").stdout.splitlines()
    assert max(map(len, shown)) <= 80
    assert EMPTY in " ".join(shown)


def test_a_picture_that_several_methods_cannot_explain_is_told_of_once():
    Image.new("RGB", (24, 20)).save("black.png")
    result = run("explain", "black.png", "dog.png", *CAMS, model="picky")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("pellucid: grad-cam, xgrad-cam: black.png: ")
    compared = run("compare", "black.png", "dog.png", *CAMS, model="picky")
    (line,) = lines(compared, "cannot explain")
    assert line.startswith("grad-cam, xgrad-cam cannot explain picky: black: ")


def test_tables_have_the_pictures_real_names_and_files_safe_ones():
    for name in ("a/my cat.png", "b/my cat.png"):
        Path(name).parent.mkdir()
        Image.effect_noise((24, 20), 60).convert("RGB").save(name)
    result = run("explain", "a", "b", "dog.png", "-q", "--json")
    assert result.exit_code == 0, result.output
    shown = run("explain", "a", "b", "dog.png").stdout
    for name in ("a/my cat", "b/my cat", "dog"):
        assert any(line.startswith(f"{name} ") for line in shown.splitlines()), shown
    assert {path.name for path in Path("pellucid-out").glob("*.png")} == {
        "a-my-cat.grad-cam.png",
        "b-my-cat.grad-cam.png",
        "dog.grad-cam.png",
    }
    assert pellucid.load("nets.py:against").read(["a", "b"]).pictures[0].name == "a/my cat"


def test_python_names_pictures_too():
    model = pellucid.load("nets.py:picky")
    Image.new("RGB", (24, 20)).save("black.png")
    with pytest.raises(pellucid.errors.SomeFailed, match=r"could not be explained\. black: "):
        pellucid.explain(model, ["black.png", "my cat.png"])
    compared = pellucid.compare(model, ["black.png", "my cat.png"], ["grad-cam", "xgrad-cam"])
    assert [one.reason.split(":")[0] for one in compared.refusals] == ["black", "black"]
    assert compared._repr_html_().count("cannot explain") == 1
    assert "grad-cam, xgrad-cam cannot explain picky: black: " in compared._repr_html_()


def test_a_comparison_warns_once_by_name():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    nn.init.constant_(net[-1].weight, -1.0)
    compared = pellucid.compare(net, torch.rand(2, 3, 9, 9), ["grad-cam", "xgrad-cam"], target=1)
    about = [text.split(":")[0] for text in compared.warnings if EMPTY in text]
    assert about == ["image 0, image 1 · grad-cam, xgrad-cam"]
    assert compared._repr_html_().count(EMPTY) == 1
