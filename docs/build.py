"""Builds the documentation site into site/, with warnings fatal: `python docs/build.py [FOLDER]`.

Pages are put together in a folder that is removed again: those of docs/, README.md and the other pages of the
repository, the results of benchmarks, and the reference of the public API, with their links turned to where
the pages lie there.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from diagrams import drawn
from pages import BUILT_IN, DOCS, KNOWN, slug

import pellucid

ROOT = DOCS.parent
NOTEBOOKS = ROOT / "examples/notebooks"
MOVED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
         "SECURITY.md": "security.md"}  # fmt: skip
"""Pages of the repository, and what they are called here."""
REFERENCE = {
    "Verbs": (
        "load explain compare evaluate choose axioms run open_run audit diff monitor "
        "cite lime open_picture quantus_explain keep_memory"
    ),
    "Records": (
        "Model Preprocess Contrast Explanation Comparison Verdict Evaluation Choice AxiomReport Run Audit "
        "Diff Watch"
    ),
    "Extensions": "Method Metric Rule method metric rule methods metrics",
}
"""The public API, page by page."""
GUIDES = [
    "choosing",
    "own-model",
    "vits",
    "black-boxes",
    "contrast",
    "outputs",
    "segmentation-detection",
    "channels",
    "embeddings",
    "report",
    "verdict",
    "shortcut",
    "audit",
    "figures",
    "servers",
    "data-sets",
    "runs",
    "sources",
    "cluster",
    "comparing-runs",
    "training",
    "gpu",
    "reproducing",
    "migrating",
    "relevance",
    "digits",
]
"""The order of guides; those that are not named here come last."""
PLACED = [
    "start",
    "comparison",
    "gallery",
    "errors",
    "methods",
    "metrics",
    "architecture",
    "numerics",
    "performance",
]
"""Pages of docs/ that are no guides."""
LINK = re.compile(r"(?<!`)(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")

Nav = list["str | dict[str, Any]"]


def main(site: Path) -> None:
    """Puts the pages together and has Zensical build them."""
    with tempfile.TemporaryDirectory(prefix="pellucid-docs-") as folder:
        gather(Path(folder))
        zensical = Path(sys.executable).with_name("zensical")
        subprocess.run([zensical, "build", "--strict", "--clean"], cwd=folder, check=True)
        for served in ("404.html", "search.json", "sitemap.xml"):  # what a server would need
            (Path(folder) / "site" / served).unlink()
        shutil.rmtree(site, ignore_errors=True)
        shutil.move(Path(folder) / "site", site)
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    print(f"{size / 1e6:.1f} MB; open {os.path.relpath(site / 'index.html')}")


def gather(folder: Path) -> None:
    """Writes all pages and the settings for Zensical."""
    stage = folder / "docs"
    for source, page in sorted(pages().items()):
        write(stage / page, turned(source, page))
    for name, names in REFERENCE.items():
        write(stage / f"api/{name.lower()}.md", reference(name, names.split()))
    for part in ("images", "assets"):
        shutil.copytree(DOCS / part, stage / part, ignore=shutil.ignore_patterns("*.json"))
    settings = (DOCS / "zensical.toml").read_text("utf-8").replace("ROOT/", f"{ROOT}/")
    settings = settings.replace("[project]\n", f"[project]\nnav = {toml(navigation())}\n", 1)
    write(folder / "zensical.toml", settings)


def write(path: Path, text: str) -> None:
    """A file, and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def pages() -> dict[Path, str]:
    """Every page of the repository that the site has, and its place there."""
    found = {ROOT / name: page for name, page in MOVED.items()}
    found |= {path: str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    found |= {path: f"results/{path.name}" for path in (ROOT / "benchmarks/results").glob("*.md")}
    found |= {path: f"notebooks/{path.stem}.md" for path in NOTEBOOKS.glob("*.py")}
    return found | dict.fromkeys(NOTEBOOKS.glob("README.md"), "notebooks/index.md")


def turned(source: Path, page: str) -> str:
    """A page whose links lead to where pages lie here; what lies only in the repository is named alone."""
    places = pages()

    def link(found: re.Match[str]) -> str:
        picture, text, address = found.groups()
        path, hash, anchor = address.partition("#")
        if not path or re.match(r"[a-z]+:", address):
            return found[0]
        aim = (source.parent / path).resolve()
        if aim in places:
            return f"[{text}]({os.path.relpath(places[aim], Path(page).parent)}{hash}{anchor})"
        if aim.is_relative_to(DOCS) and aim.exists():
            return f"{picture}[{text}]({os.path.relpath(aim.relative_to(DOCS), Path(page).parent)})"
        if not aim.exists():
            sys.exit(f"{source.relative_to(ROOT)} links to {address}, which is not there.")
        return f"{text} (`{aim.relative_to(ROOT)}`)"

    text = source.read_text("utf-8")
    text = notebook(text) if source.suffix == ".py" else text
    return drawn(outside_code(text, lambda part: LINK.sub(link, part)))


def notebook(script: str) -> str:
    """A notebook that is kept as a script in the percent format, as a page."""
    _, *cells = re.split(r"^# %%(.*)\n", script, flags=re.MULTILINE)
    shown = []
    for kind, body in zip(cells[::2], cells[1::2], strict=True):
        words = re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE)
        shown.append(words if "markdown" in kind else f"```python\n{body.strip()}\n```")
    return "\n\n".join(shown) + "\n"


def outside_code(text: str, change: Any) -> str:
    """A page whose text is changed and whose blocks of code are not."""
    parts = re.split(r"(^ *```.*?^ *```$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if n % 2 else change(part) for n, part in enumerate(parts))


def reference(title: str, names: Iterable[str]) -> str:
    """A page of the reference: each name from where it is defined."""
    return "\n\n".join([f"# {title}", *(f"::: pellucid.{home(name)}" for name in names)]) + "\n"


def home(name: str) -> str:
    """Where a public name is defined, below the package."""
    return f"{pellucid._HOMES[name]}.{name}" if name in pellucid._HOMES else name


def navigation() -> Nav:
    """What there is, in order; a new guide appears by being there."""
    found = [*DOCS.glob("*.md"), *(DOCS / "guides").glob("*.md")]
    rank = {name: place for place, name in enumerate(GUIDES)}
    ranked = sorted(found, key=lambda path: (rank.get(path.stem, len(rank)), path.stem))
    guides = [str(path.relative_to(DOCS)) for path in ranked if path.stem not in PLACED]
    notebooks = sorted(page for page in pages().values() if page.startswith("notebooks/"))
    results = [f"results/{path.name}" for path in sorted((ROOT / "benchmarks/results").glob("*.md"))]
    return [
        {"Home": ["index.md", *there("start.md"), *there("comparison.md"), "gallery.md"]},
        {"Guides": [*guides, *there("errors.md")]},
        *([{"Examples": notebooks}] if notebooks else []),
        {"Methods": ["methods.md", *families("methods", BUILT_IN.values())]},
        {"Metrics": ["metrics.md", *families("metrics", KNOWN.values())]},
        {"Reference": [f"api/{name.lower()}.md" for name in REFERENCE]},
        {"Under the hood": ["architecture.md", *there("numerics.md"), *there("performance.md"), *results]},
        {"Project": ["contributing.md", "changelog.md", "security.md"]},
    ]


def there(name: str) -> Iterator[str]:
    """A page of docs/, if it is there."""
    if (DOCS / name).exists():
        yield name


def families(folder: str, entries: Iterable[Any]) -> Nav:
    """Pages by family."""
    found: dict[str, list[str]] = {}
    for one in entries:
        found.setdefault(one.family, []).append(f"{folder}/{slug(one.name)}.md")
    return [{family: paths} for family, paths in found.items()]


def toml(value: Any) -> str:
    """Strings, lists and tables in one line of TOML.

    >>> toml([{"Home": ["index.md"]}])
    '[{"Home" = ["index.md"]}]'
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(inner)}" for name, inner in value.items()) + "}"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site")
