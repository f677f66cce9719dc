"""The documentation: generated pages are up to date, and links lead somewhere."""

import json
import re
import runpy
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from pellucid.methods import METHODS
from pellucid.metrics import METRICS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")), *ROOT.glob("docs/**/*.md")]
)
README = (ROOT / "README.md").read_text("utf-8")
FENCES = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def generate() -> dict[str, Any]:
    """The module that writes the pages."""
    return runpy.run_path(str(ROOT / "docs/generate.py"))


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


def test_what_is_generated_is_what_the_registry_says(generate: dict[str, Any]):
    pages = generate["pages"]()
    assert len(pages) == 3 + len(generate["BUILT_IN"]) + len(generate["KNOWN"]) == 106
    old = [name for name, text in pages.items() if (ROOT / "docs" / name).read_text("utf-8") != text]
    assert not old, "out of date: run `python docs/generate.py`"
    there = {f"{f}/{p.name}" for f in ("methods", "metrics") for p in ROOT.glob(f"docs/{f}/*.md")}
    assert there | {"methods.md", "metrics.md", "numerics.md"} == set(pages)
    assert generate["overview"](README) == README, "README.md is out of date: run `python docs/generate.py`"
    assert generate["overview"](README.replace(" hirescam,", "")) == README


def test_each_method_is_linked_to_the_page_of_its_name():
    text = (ROOT / "docs/methods.md").read_text("utf-8")
    links = dict(re.findall(r"^\| \[(\S+)\]\((\S+)\)", text, re.MULTILINE))
    assert list(links) == [m.name for m in METHODS.values() if m.built_in]
    for name, page in links.items():
        assert (ROOT / "docs" / page).read_text("utf-8").startswith(f"# {name}\n")


def test_a_page_tells_all_that_a_reader_needs():
    headings = [
        "Formula", "What it gives, and what it costs", "Strengths", "Weaknesses", "Example", "Compared with",
        "Paper", "See also",
    ]  # fmt: skip
    for page in [*ROOT.glob("docs/methods/*.md"), *ROOT.glob("docs/metrics/*.md")]:
        text = page.read_text("utf-8")
        found = re.findall(r"^## (.+)", text, re.MULTILINE)
        assert [heading for heading in headings if heading not in found] == [], page.name
        assert "```bibtex\n@" in text
        if page.parent.name == "methods":
            assert "What it promises" in found
            assert "Pitfalls, and what others do" in found
            assert f"../images/methods/{page.stem}.webp" in text


def test_what_is_compared_with_whom_is_a_test_that_is_there():
    parity = runpy.run_path(str(ROOT / "docs/parity.py"))["PARITY"]
    assert set(parity) == {m.name for m in METHODS.values() if m.built_in} | set(METRICS)
    for name, rows in parity.items():
        assert rows, name
        for against, tolerance, test in rows:
            path, _, function = test.partition("::")
            source = (ROOT / path).read_text("utf-8")
            assert f"\ndef {function}(" in source, test
            assert not tolerance or float(tolerance) in numbers(source), (name, against, tolerance)


def numbers(source: str) -> set[float]:
    """The numbers of a file, and five times each, as one test writes its tolerance."""
    found = {float(text) for text in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?(?!\w)", source)}
    return found | {5 * number for number in found}


def test_every_picture_is_made_by_a_script_that_is_here():
    drawn = runpy.run_path(str(ROOT / "docs/pictures.py"))
    made = json.loads((ROOT / "docs/images/methods/made.json").read_text("utf-8"))
    assert {name: drawn["asked"](name) for name in made} == made, "run `python docs/pictures.py`"
    strips = {f"{drawn['slug'](name)}.webp" for name in made} | {"photographs.webp"}
    assert {path.name for path in (ROOT / "docs/images/methods").glob("*.*")} == strips | {"made.json"}
    for path in (ROOT / "docs/images/methods").glob("*.webp"):
        assert path.stat().st_size <= drawn["LARGEST"]
    scripts = [*ROOT.glob("docs/*.py"), *ROOT.glob("benchmarks/*.py"), *ROOT.glob("examples/*.py")]
    told = "".join(path.read_text("utf-8") for path in scripts)
    built = tuple(re.findall(r'f"([\w-]+)\{', told))  # names such as f"models-{picture}"
    for path in ROOT.glob("docs/images/*.*"):
        written = re.search(rf"docs/images/{path.name}|\"{path.stem}(\.png)?\"", told)
        assert written or path.name.startswith(built), path.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
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
