"""The documentation: generated pages are up to date, and links lead somewhere."""

import re
import runpy
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from pellucid.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")), *ROOT.glob("docs/**/*.md")]
)
README = (ROOT / "README.md").read_text("utf-8")
FENCES = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """What GitHub lets one link to: headings in lower case without punctuation, repeated ones numbered."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.+?) *#*$", FENCES.sub("", page.read_text("utf-8")), re.MULTILINE):
        kept = (c for c in heading.lower() if c.isalnum() or c in " -_")
        found.append("".join(kept).replace(" ", "-"))
    return {name if not (n := found[:i].count(name)) else f"{name}-{n}" for i, name in enumerate(found)}


def broken(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere; code is not read."""
    text = re.sub(r"`[^`\n]*`", "", FENCES.sub("", page.read_text("utf-8")))
    bad = []
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        aim = page.parent / path if path else page
        if not aim.exists() or (anchor and anchor not in anchors(aim)):
            bad.append(link)
    return bad


@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
def test_the_readmes_python_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_methods: None
):
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "readme"}
    exec(block, space)
    for saved in re.findall(r'save\("([^"]+)"\)', block):
        assert (tmp_path / saved).stat().st_size > 0
    if "blocks.11.norm1" in block:
        assert space["e"].layer == ["blocks.11.norm1"]


def test_what_is_generated_is_what_the_registry_says():
    generate = runpy.run_path(str(ROOT / "docs/generate.py"))
    written = (ROOT / "docs/methods.md").read_text("utf-8")
    assert written == generate["render"](), "docs/methods.md is out of date: run `python docs/generate.py`"
    metrics = (ROOT / "docs/metrics.md").read_text("utf-8")
    assert metrics == generate["render_metrics"](), (
        "docs/metrics.md is out of date: run `python docs/generate.py`"
    )
    assert generate["overview"](README) == README, "README.md is out of date: run `python docs/generate.py`"
    assert generate["overview"](README.replace(" hirescam,", "")) == README


def test_each_method_is_linked_to_the_section_of_its_name():
    page = ROOT / "docs/methods.md"
    text = page.read_text("utf-8")
    links = dict(re.findall(r"^\| \[(\S+)\]\(#(\S+)\)", text, re.MULTILINE))
    assert (
        list(links)
        == [m.name for m in METHODS.values() if m.built_in]
        == re.findall(r"^## (.+)", text, re.MULTILINE)
    )
    assert len(set(links.values())) == len(links)  # grad-cam and grad-cam++ have the same letters
    assert set(links.values()) <= anchors(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path):
    assert not broken(page)


def test_links_that_lead_nowhere_are_found(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A title: `x`++\n## Twice\n## Twice\n[a](#a-title-x) [b](#twice-1) [c](page.md#twice) [d](https://x.y/z)\n"
        "`[code](no)`\n```sh\n# no heading\n[code](no)\n```\n"
        "[e](#no-heading) [f](#twice-2) ![g](gone.png) [h](page.md#x)\n"
    )
    assert broken(page) == ["#no-heading", "#twice-2", "gone.png", "page.md#x"]


def test_the_formulas_of_contributing_are_those_of_the_source():
    """Every line of code that it shows side by side stands in one of the files that it names."""
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    part = page[page.index("Side by side") : page.index("A method of your own")]
    named = [ROOT / "src/pellucid" / name for name in re.findall(r"\| `([\w/]+\.py)` \|", part)]
    source = {line.strip() for path in named for line in path.read_text("utf-8").splitlines()}
    (block,) = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    lines = [line.strip() for line in block.splitlines() if line.strip() and not line.startswith("#")]
    assert len(named) == 4
    assert [line for line in lines if line not in source] == []


def test_the_house_is_drawn_as_its_imports_are():
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    assert page == runpy.run_path(str(ROOT / "docs/rooms.py"))["rendered"](page), (
        "docs/architecture.md is out of date: run `python docs/rooms.py`"
    )
