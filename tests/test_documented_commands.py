"""Every block of the documentation runs as it is written: the Python of a page in one namespace."""

import re
import runpy
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pellucid.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
FRAGMENTS = {"CONTRIBUTING.md"}
"""Pages whose Python shows lines of the source: `tests/test_docs.py` looks them up there."""
QUICK = {
    "explain sample:cat -m legrad --model timm:vit_tiny_patch16_224 --random-weights",
    "explain sample:cat -m gradient-shap:references=black,white,blur",
    "explain sample:cat -m grad-cam",
    "explain sample:coffee -m layer-cam -t espresso",
    "methods grad-cam",
    "methods --needs scores --passes 1001",
    "methods --family cam",
}
"""Commands that the quick suite runs; all others are run by the sweeps."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """What comes after `pellucid` in the pages and at the end of `make demo`, each once."""
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in joined(block)]
    lines += re.findall(r'@echo "  (.*)"', (ROOT / "Makefile").read_text("utf-8"))
    found = [re.fullmatch(r"(?:\.venv/bin/)?pellucid (.*)", line) for line in lines]
    return list(dict.fromkeys(match[1] for match in found if match))


def joined(block: str) -> list[str]:
    """Lines of a shell without continuations and remarks."""
    whole = re.sub(r"\\\n *", "", block).splitlines()
    return [line for line in (re.sub(r"\s+#.*", "", line).strip() for line in whole) if line]


MARKED = [c if c in QUICK else pytest.param(c, marks=pytest.mark.full) for c in commands()]


@pytest.mark.parametrize("command", MARKED)
def test_a_command_runs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    if "examples/my_model.py" in command:  # after the line above it, which trains it
        shutil.copytree(ROOT / "examples", "examples")
        monkeypatch.setattr("sys.argv", ["my_model.py", "shapes"])
        runpy.run_path("examples/my_model.py", run_name="__main__")
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == 0, result.output


def test_the_commands_of_the_quick_suite_are_documented():
    assert set(commands()) >= QUICK
    assert len(commands()) > 60


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.full] if page.name == "README.md" else [], id=page.name)
        for page in PAGES
        if blocks(page, "python") and page.name not in FRAGMENTS
    ],
)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_methods: None
):
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(block, space)


def test_what_other_lines_call_is_there():
    """Targets of make and files of Python; neither is run here."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for page in PAGES:
        for line in (line for block in blocks(page, "sh") for line in joined(block)):
            if target := re.match(r"make ([\w-]+)", line):
                assert re.search(rf"^{target[1]}:", makefile, re.MULTILINE), line
            if file := re.match(r"(?:\.venv/bin/)?python (\S+\.py)", line):
                assert (ROOT / file[1]).is_file(), line


def dry(*arguments: str) -> str:
    made = ["make", "--dry-run", "--always-make", *arguments]
    return subprocess.run(made, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_setup_tells_its_size_and_can_leave_out_cuda():
    usual, cpu = dry("setup"), dry("setup", "TORCH=cpu")
    assert usual.index("6.6 GB") < usual.index("pip install")
    assert "whl/cpu" not in usual
    assert "--index-url https://download.pytorch.org/whl/cpu torch torchvision" in cpu
    assert "6.6 GB" not in cpu
