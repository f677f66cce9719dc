"""Shell completion: what is offered, that it comes without PyTorch, and that bash understands it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import colormaps

import pellucid
from pellucid.cli import completing, options
from pellucid.images import SAMPLES
from pellucid.models import available

ASKED = {
    "pellucid ex": ["explain"],
    "pellucid explain -m grad-": ["grad-cam", "grad-cam++", "grad-cam-elementwise"],
    "pellucid compare cat.png -m lrp": ["lrp"],
    "pellucid methods ris": ["rise"],
    "pellucid axioms sample:ro": ["sample:rocket"],
    "pellucid explain --save png,sa": ["png,safetensors"],
    "pellucid compare --save s": ["svg", "safetensors"],
    "pellucid explain --cmap infer": ["inferno", "inferno_r"],
    "pellucid doctor --model tim": ["timm:"],
    "pellucid compare --model own.py:": ["own.py:build", "own.py:other"],
    "pellucid explain --scale s": ["shared"],
}
CODE = """
import contextlib, io, json, os, sys
from pellucid.cli import main
sys.argv = ["pellucid"]
os.environ["_PELLUCID_COMPLETE"] = "complete_zsh"
found = {}
for asked in ASKED:
    os.environ["_TYPER_COMPLETE_ARGS"] = asked
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main()
    found[asked] = out.getvalue()
print(json.dumps([found, "torch" in sys.modules]))
"""


def test_all_that_can_be_completed_is_offered_without_pytorch(tmp_path: Path):
    (tmp_path / "own.py").write_text("def build():\n    def inner(): ...\n\ndef other(): ...\n")
    done = subprocess.run(
        [sys.executable, "-c", CODE.replace("ASKED", repr(list(ASKED)))],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found, torch_too = json.loads(done.stdout)
    offered = {
        asked: [part.partition('"')[0].replace("\\\\:", ":") for part in text.split('\n"')]
        for asked, text in ((asked, text.replace('(("', '((\n"', 1)) for asked, text in found.items())
    }
    assert {asked: names[1:] for asked, names in offered.items()} == ASKED
    assert not torch_too


def test_what_is_offered_is_what_there_is():
    own = {m.name for m in pellucid.methods() if m.function.__module__.startswith("pellucid.")}
    assert completing.method_names("") == sorted(own)
    sources = [source.spec.replace("NAME", "").replace("REPO-OR-FOLDER", "") for source in available()]
    assert list(completing.MODELS) == [spec for spec in sources if not spec.startswith("FILE")]
    assert completing.pictures("sample:") == [f"sample:{name}" for name in SAMPLES]
    assert completing.colour_maps("") == sorted(colormaps)
    assert completing.kinds(options.FORMATS)("") == list(options.FORMATS)


def test_files_that_can_be_meant_are_offered_beside_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("sunset.JPG", "sunset.txt", "saved.py", "s[1].png"):
        Path(name).touch()
    Path("sets").mkdir()
    samples = [f"sample:{name}" for name in SAMPLES]
    assert completing.pictures("s") == [*samples, "s[1].png", "sets/", "sunset.JPG"]
    assert completing.pictures("s[") == ["s[1].png"]
    assert completing.pictures("") == []  # the shell's own files
    assert completing.models("s") == ["saved.py:", "sets/"]
    assert completing.models("none.py:") == []


PELLUCID = Path(sys.executable).with_name("pellucid")


@pytest.mark.skipif(
    shutil.which("bash") is None or not PELLUCID.exists(), reason="needs bash and the installed command"
)
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["explain", "-m", "smooth-grad-"], ["smooth-grad-squared"]),
        (["explain", "sample", ":", "co"], ["coffee", "coins"]),
        (["doctor", "--model", "torchv"], ["torchvision:"]),
        (["explain", "sample", ":", "cat", "-m", "occ"], ["occlusion"]),
    ],
)
def test_bash_completes_words_with_colons_in_them(words, offered, tmp_path):
    script = subprocess.run(
        [PELLUCID], env={**os.environ, "_PELLUCID_COMPLETE": "source_bash"}, capture_output=True, text=True
    ).stdout
    assert "complete -o default -F _pellucid_completion pellucid" in script
    quoted = " ".join(f"'{word}'" for word in ["pellucid", *words])
    asked = (
        f"COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _pellucid_completion '{PELLUCID}'; "
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{asked}"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.stdout.split(), done.stderr) == (offered, "")
