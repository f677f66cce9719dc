"""The documentation site: it builds without a warning, opens from the disk alone, and is found through."""

import html
import inspect
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pellucid
from pellucid.formula import formula_of

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SEARCHED = {
    "vanishing": "methods/saliency.html",
    "negative evidence": "methods/grad-cam.html",
    "husky": "notebooks/wolf_or_husky.html",
}
"""What is looked for, and a page that is among what is found."""
SEARCH = """
<script>
const WORDS = %s;
const asked = performance.getEntriesByType.bind(performance, "resource");
addEventListener("load", async () => {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  await wait(500);
  document.querySelector("[for=__search]").click();
  await wait(500);
  const shadows = [...document.querySelectorAll("*")].map((one) => one.shadowRoot);
  const root = shadows.find((one) => one?.querySelector("input"));
  const input = root.querySelector("input[role=combobox]");
  const found = {};
  for (const word of WORDS) {
    input.value = word;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    await wait(1500);
    found[word] = [...root.querySelectorAll("[role=listbox] a")].map((a) => a.href);
  }
  const far = asked().map((one) => one.name).filter((name) => !name.startsWith("file:"));
  const formulas = document.querySelectorAll(".katex").length;
  document.body.textContent = "FOUND" + JSON.stringify({ found, far, formulas }) + "END";
});
</script>
"""


TYPESET = """
<!doctype html><script src="%s"></script><body><script>
const bad = [];
for (const [name, formulas] of Object.entries(%s))
  for (const latex of formulas)
    try { katex.renderToString(latex, { displayMode: true, throwOnError: true, strict: "error" }); }
    catch { bad.push(name); }
document.body.textContent = "FOUND" + JSON.stringify(bad) + "END";
</script></body>
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    found = subprocess.run(
        [sys.executable, str(ROOT / "docs/build.py"), str(folder)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    return folder


def test_it_is_small_and_holds_a_page_for_everything(site: Path):
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 30e6
    for page in [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/*/*.md")]:
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).exists(), page


def test_nothing_is_loaded_from_elsewhere(site: Path):
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        loaded = re.findall(r'<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)="?([^" >]+)', text)
        far = [a for a in loaded if re.match(r"(https?:)?//", a)]
        assert not far, (page, far)
        for address in loaded:
            if not address.startswith(("data:", "#")):
                assert (page.parent / address.partition("#")[0].partition("?")[0]).exists(), (page, address)


def test_every_public_name_is_in_the_reference(site: Path):
    pages = {path.stem: path.read_text("utf-8") for path in (site / "api").glob("*.html")}
    build = runpy.run_path(str(ROOT / "docs/build.py"))
    named = " ".join(build["REFERENCE"].values()).split()
    assert sorted(named) == sorted(pellucid.__all__)
    for title, names in build["REFERENCE"].items():
        for name in names.split():
            assert f'id="pellucid.{build["home"](name)}"' in pages[title.lower()], name
    assert inspect.getdoc(pellucid.explain).splitlines()[0] in pages["verbs"]  # type: ignore[union-attr]


def test_every_page_has_its_place_in_the_navigation():
    build = runpy.run_path(str(ROOT / "docs/build.py"))
    named = re.findall(r'"([\w/-]+\.md)"', build["toml"](build["navigation"]()))
    assert len(named) == len(set(named))
    reference = {f"api/{name.lower()}.md" for name in build["REFERENCE"]}
    assert set(named) == set(build["pages"]().values()) | reference


def test_a_script_in_the_percent_format_is_a_page():
    notebook = runpy.run_path(str(ROOT / "docs/build.py"))["notebook"]
    script = "# ---\n# jupyter:\n# ---\n\n# %% [markdown]\n# # One\n#\n# Two.\n\n# %%\nx = 1  # not text\n"
    assert notebook(script) == "# One\n\nTwo.\n\n```python\nx = 1  # not text\n```\n"


def test_flowcharts_are_drawn_without_a_library():
    drawn = runpy.run_path(str(ROOT / "docs/diagrams.py"))["drawn"]
    tree = 'flowchart TD\n  a["What?"] -->|"this"| b["One"]\n  a -->|that| c\n  b --> d["End"]\n  c --> d\n'
    assert drawn(f"x\n```mermaid\n{tree}```\ny\n") == (
        'x\n<div class="tree"><ul>\n<li>What?<ul>\n<li><em>this</em> One<ul>\n<li>End</li>\n</ul></li>\n'
        "<li><em>that</em> c<ul>\n<li>End</li>\n</ul></li>\n</ul></li>\n</ul></div>\ny\n"
    )
    house = 'flowchart TB\n  f1["cli"]\n  f0["errors<br/>files"]\n  f1 --> f0\n'
    boxes = "<div>cli</div>\n<div>errors files</div>"
    assert drawn(f"```mermaid\n{house}```\n") == f'<div class="floors">\n{boxes}\n</div>\n'


def test_links_are_turned_to_where_pages_lie_there():
    build = runpy.run_path(str(ROOT / "docs/build.py"))
    page = ROOT / "docs/gallery.md"
    assert "[x](relevance.md#z)" in build["outside_code"]("[x](relevance.md#z)", lambda text: text)
    turned = build["turned"](page, "gallery.md")
    assert "](images/paths.png)" in turned
    moved = build["turned"](ROOT / "README.md", "index.md")
    assert "](results/accuracy.md)" in moved
    assert "](docs/" not in moved
    assert "`examples/own_resnet.py`" in moved
    assert "mermaid" not in build["turned"](ROOT / "docs/architecture.md", "architecture.md")


def told_by_browser(page: Path) -> Any:
    """What a page says of itself, as JSON between FOUND and END."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    shown = subprocess.run(
        [str(CHROMIUM), *flags, page.as_uri()], capture_output=True, text=True, timeout=120
    ).stdout
    found = re.search(r"FOUND(.*?)END", shown, re.DOTALL)
    assert found, shown[-2000:]
    return json.loads(html.unescape(found[1]))


@pytest.mark.skipif(not CHROMIUM, reason="no browser")
def test_every_formula_and_symbol_is_typeset(tmp_path: Path):
    written = {"not typeset": [r"\nonsense"]}
    for one in [*pellucid.methods(), *pellucid.metrics()]:
        formula = formula_of(one.doc)
        inline = [part for _, meaning in formula.symbols for part in re.findall(r"\$(.+?)\$", meaning)]
        written[one.name] = [*formula.lines, *(symbol for symbol, _ in formula.symbols), *inline]
    page = tmp_path / "formulas.html"
    page.write_text(
        TYPESET % ((ROOT / "docs/assets/katex/katex.min.js").as_uri(), json.dumps(written)), "utf-8"
    )
    assert told_by_browser(page) == ["not typeset"]


@pytest.mark.skipif(not CHROMIUM, reason="no browser")
def test_in_a_browser_it_typesets_and_finds_with_no_network(site: Path):
    page = site / "methods/tried.html"
    words = json.dumps(list(SEARCHED))
    page.write_text((site / "methods/grad-cam.html").read_text("utf-8") + SEARCH % words, "utf-8")
    told = told_by_browser(page)
    page.unlink()
    assert told["far"] == []
    assert told["formulas"] > 5
    for word, aim in SEARCHED.items():
        assert any(aim in address for address in told["found"][word]), (word, told["found"][word][:5])
