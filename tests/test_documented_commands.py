"""Every block of the documentation runs as it is written: the Python of a page in one namespace."""

import io
import re
import runpy
import shlex
import shutil
import subprocess
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pellucid.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
FRAGMENTS = {"CONTRIBUTING.md"}
"""Pages whose Python shows lines of the source: `tests/test_docs.py` looks them up there."""
LONG = {"README.md", "migrating.md", "report.md", "shortcut.md", "audit.md"}
"""Pages whose Python takes long, or trains: the sweeps run it."""
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


PRINTING = re.compile(r"^```python\n(.*?)^```$(?:\n+```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
"""A block of Python, and what it prints where a block of text says so."""
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def said(text: str) -> tuple[str, list[float]]:
    """What is printed without its numbers and spaces, and its numbers."""
    words = " ".join(NUMBER.sub("#", text).split())
    return words, [float(number) for number in NUMBER.findall(text)]


def run(page: Path, space: dict[str, Any]) -> None:
    """Runs the Python of a page, and compares what it prints: words to the letter, numbers to 2 %."""
    for block, shown in PRINTING.findall(page.read_text("utf-8")):
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(block, space)
        if shown:
            (words, numbers), (real, found) = said(shown), said(printed.getvalue())
            assert real == words
            assert found == pytest.approx(numbers, rel=0.02, abs=0.011)


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
    for one in command.split(" && "):
        result = CliRunner().invoke(app, shlex.split(re.sub(r"^(\.venv/bin/)?pellucid ", "", one)))
        assert result.exit_code == 0, result.output


def test_the_commands_of_the_quick_suite_are_documented():
    assert set(commands()) >= QUICK
    assert len(commands()) > 60


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.full] if page.name in LONG else [], id=page.name)
        for page in PAGES
        if blocks(page, "python") and page.name not in FRAGMENTS
    ],
)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_methods: None
):
    monkeypatch.chdir(tmp_path)
    run(page, {"__name__": "page"})


def test_what_a_page_does_not_print_is_found(tmp_path: Path):
    page = tmp_path / "page.md"
    for said_so in ("a 1.0\n", "b 1.1\n", "a  1.02 \n"):
        page.write_text(f"```python\nprint('a', 1.01)\n```\n\n```text\n{said_so}```\n")
        if "a" in said_so:
            run(page, {})
        else:
            with pytest.raises(AssertionError):
                run(page, {})
    page.write_text("```python\nprint('a', 1.01)\n```\n\n```text\na 1.2\n```\n")
    with pytest.raises(AssertionError):
        run(page, {})


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
