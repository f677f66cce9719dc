"""The page of one method or metric, from the registry, its docstring and what was measured."""

import json
import re
import runpy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pellucid.docstrings import read
from pellucid.formula import formula_of
from pellucid.methods import METHODS
from pellucid.methods.definition import AXIOMS, Method
from pellucid.metrics import METRICS, Metric
from pellucid.references import cited

DOCS = Path(__file__).parent
PARITY = runpy.run_path(str(DOCS / "parity.py"))["PARITY"]
PICTURES = runpy.run_path(str(DOCS / "pictures.py"))
MEASURED: dict[str, Any] = json.loads((DOCS / "promises.json").read_text("utf-8"))
JUDGED: dict[str, Any] = json.loads((DOCS / "judged.json").read_text("utf-8"))
MADE: dict[str, str] = json.loads((DOCS / "images/methods/made.json").read_text("utf-8"))
LINKS = {r"arXiv:(\d{4}\.\d{4,5})": "https://arxiv.org/abs/", r"doi:(10\.[^\s;]+)": "https://doi.org/",
         r"(github\.com/\S+)": "https://"}  # fmt: skip
BETTER = {True: "higher", False: "lower", None: "neither"}
SIZE = (224, 224)

BUILT_IN = {name: method for name, method in METHODS.items() if method.built_in}
"""What is documented: not what installed packages add."""
KNOWN = {
    name: metric for name, metric in METRICS.items() if metric.function.__module__.startswith("pellucid.")
}


def slug(name: str) -> str:
    """A name in files and addresses: the page of grad-cam++ is grad-cam-plus-plus.md."""
    return str(PICTURES["slug"](name))


def page(one: Method | Metric) -> str:
    """All about a method or metric."""
    parts = [
        *opening(one),
        *formula(one),
        *facts(one),
        *shown(one),
        *promises(one),
        *judgement(one),
        *use(one),
        *sources(one),
    ]
    return "\n\n".join(parts) + "\n"


def opening(one: Method | Metric) -> Iterator[str]:
    """What it is in plain words, and what it shows of five photographs."""
    doc = read(one.doc)
    yield f"# {one.name}"
    yield from map(prose, doc.text)
    if isinstance(one, Method) and one.name in MADE:  # until docs/pictures.py has drawn a new one
        told = "drawn by `{}`".format(PICTURES["asked"](one.name))
        if one.family == "attention":
            told += ", of a transformer with random weights: how fine such a map is, and nothing else"
        names = ", ".join(PICTURES["PICTURES"])
        originals = "[the photographs](../images/methods/photographs.webp)"
        yield f"![{one.name} on five photographs](../images/methods/{slug(one.name)}.webp)"
        yield f"*The classes predicted of {names} ({originals}), {told}.*"


def shown(one: Method | Metric) -> Iterator[str]:
    """How a metric judges maps of the five photographs, where that was measured."""
    if one.name not in JUDGED:
        return
    names = [name for name in JUDGED[one.name] if JUDGED[one.name][name]]
    yield "## On five photographs"
    for name in names:
        yield f"![{name} on five photographs](../images/methods/{slug(name)}.webp)"

    def row(name: str) -> list[str]:
        values = ["–" if value is None else f"{value:g}" for value in JUDGED[one.name][name]]
        return [f"[{name}](../methods/{slug(name)}.md)", *values]

    yield table(("map", *PICTURES["PICTURES"]), map(row, names)).rstrip()
    yield "Grad-CAM knows the class, random-cam does not; `docs/judged.py` measured it, with the defaults."


def formula(one: Method | Metric) -> Iterator[str]:
    """The formula and its symbols."""
    found = formula_of(one.doc)
    yield "## Formula"
    lines = " \\\\[.8em]\n".join(found.lines)
    yield f"$$\n\\begin{{gathered}}\n{lines}\n\\end{{gathered}}\n$$"
    meanings: dict[str, list[str]] = {}
    for symbol, meaning in found.symbols:
        meanings.setdefault(meaning, []).append(f"${symbol}$")
    yield "\n".join(f"- {', '.join(symbols)}: {prose(meaning)}" for meaning, symbols in meanings.items())


def facts(one: Method | Metric) -> Iterator[str]:
    """What it gives, reads and costs."""
    doc = read(one.doc)
    yield "## What it gives, and what it costs"
    rows = [("Gives", prose(doc.sections["Returns"])), ("Cost", prose(doc.sections["Cost"]))]
    if isinstance(one, Method):
        cost = one.cost(one.resolve_options({}))
        rows += [
            ("Passes", f"{cost}, forward and backward, with the defaults"),
            ("Family", f"`{one.family}`, reads the {one.reads}"),
            ("Explains", f"the {one.output}, unless asked otherwise"),
        ]
    else:
        low, high = (f"{end:g}".replace("inf", "∞") for end in one.range)
        rows += [
            ("Better", f"{BETTER[one.higher_is_better]}, from {low} to {high}"),
            ("Passes", f"{one.passes(one.resolve_options({}), SIZE)} for each picture and map"),
            ("Family", f"`{one.family}`, reads the {one.output}"),
            ("Needs", ", ".join(sorted(one.needs)) or "the map alone"),
        ]
    yield table(("", ""), ((f"**{name}**", value) for name, value in rows)).rstrip()


def promises(one: Method | Metric) -> Iterator[str]:
    """Which axioms its theory promises, and which held where they were measured."""
    if not isinstance(one, Method):
        return
    promised = one.promised(one.resolve_options({}))
    yield "## What it promises"
    if one.name not in MEASURED:
        told = [axiom for axiom in AXIOMS if axiom in promised]
        *first, last = told or ["none of the axioms"]
        yield (
            f"Its theory promises {', '.join(first)} and {last}." if first else f"Its theory promises {last}."
        )
        return
    found = MEASURED[one.name]
    marks = {True: "holds", False: "does not hold", None: "cannot be told"}

    def row(axiom: str) -> tuple[str, str, str]:
        _, held, error = found["axioms"][axiom]
        share = "over 999" if error and error > 9.99 else f"{100 * (error or 0):.2g}"
        told = f" ({share} % off)" if error is not None and held is not None else ""
        return axiom, "yes" if axiom in promised else "no", marks[held] + told

    head = ("axiom", "its theory promises it", "on EfficientNet-Lite0 and the cat")
    yield table(head, map(row, AXIOMS)).rstrip()
    given = ",".join(f"{name}={value}" for name, value in found["options"].items())
    spec = f"{one.name}:{given}" if given else one.name
    yield f"Measured by `pellucid axioms sample:cat -m {spec}`; an axiom holds up to 1 %."


def judgement(one: Method | Metric) -> Iterator[str]:
    """Strengths, weaknesses, pitfalls, and the others that it is close to."""
    doc = read(one.doc)
    titles = {"Pitfalls": "Pitfalls, and what others do"}
    for section in ("Strengths", "Weaknesses", "Pitfalls"):
        if points := doc.items(section):
            yield f"## {titles.get(section, section)}"
            yield "\n".join(f"- {prose(point)}" for point in points)


def use(one: Method | Metric) -> Iterator[str]:
    """How it is called: options, errors, an example."""
    doc = read(one.doc)
    meanings = dict(point.split(": ", 1) for point in doc.items("Args"))
    if one.options:
        yield "## Options"
        rows = (
            (
                f"`{o.name}`",
                f"`{o.kind}`",
                f"`{o.default}`",
                prose(meanings.get(o.name, SHARED.get(o.name, ""))),
            )
            for o in one.options
        )
        yield table(("option", "type", "default", "meaning"), rows).rstrip()
    if errors := doc.items("Raises"):
        told = (point.split(": ", 1) for point in errors)
        yield "\n".join(
            ["Refused, with a sentence:", "", *(f"- `{name}`: {prose(why)}" for name, why in told)]
        )
    yield "## Example"
    yield f"```pycon\n{doc.sections['Example']}\n```"
    if line := command(one):
        yield f"```sh\n{line}\n```"


def sources(one: Method | Metric) -> Iterator[str]:
    """Parity, paper, and what to read next."""
    yield "## Compared with"
    rows = [
        (against, f"{tolerance} of the largest value" if tolerance else "as the test says", f"`{test}`")
        for against, tolerance, test in PARITY[one.name]
    ]
    yield table(("against", "agrees to", "test"), rows).rstrip()
    yield "## Paper"
    yield f"{linked(one.paper)}: {prose(read(one.doc).sections['Source'])}"
    entries = cited(one.paper)
    if entries:
        yield "```bibtex\n{}\n```".format("\n\n".join(entry.bibtex for entry in entries))
    yield "## See also"
    yield ", ".join(link(name, one) for name in read(one.doc).names("See Also"))


SHARED = {
    "layer": "the layer that is read: `auto` for the last feature maps, a dotted name, or several",
    "layout": "how the layer's output holds a grid, where nothing proves it",
    "fusion": "how the maps of several layers become one",
    "signed": "keeps evidence against the class instead of rectifying it",
    "principal": "the first principal component of the weighted maps instead of their sum",
}
"""What the options mean that all CAMs share."""


def link(name: str, here: Method | Metric) -> str:
    """A link from one page to another."""
    folder = "methods" if name in BUILT_IN else "metrics"
    same = isinstance(here, Method) == (name in BUILT_IN)
    return f"[{name}]({'' if same else f'../{folder}/'}{slug(name)}.md)"


def command(one: Method | Metric) -> str:
    """How to run it on the command line: with references where it asks for them, on a model that it can read.

    Example:
        >>> from pellucid.methods import get_method
        >>> command(get_method("gradient-shap"))
        'pellucid explain sample:cat -m gradient-shap:references=black,white,blur'
    """
    if isinstance(one, Metric):
        run = f"pellucid evaluate sample:cat sample:coffee -m grad-cam --metric {one.name}"
        return "" if one.needs & {"truth"} else run
    defaults = {option.name: option.default for option in one.options}
    alone = "baselines" in defaults  # enhanced-ig takes a baseline in their place
    references = "references" in defaults and defaults["references"] is None and not alone
    given = ":references=black,white,blur" if references else ""
    attention = " --model timm:vit_tiny_patch16_224 --random-weights"
    return f"pellucid explain sample:cat -m {one.name}{given}{attention * (one.family == 'attention')}"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    columns = tuple(head)
    cells = [columns, ("---",) * len(columns), *([str(c).replace("|", r"\|") for c in row] for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def prose(text: str) -> str:
    """A paragraph on one line; what Markdown would take for markup outside of code and maths is escaped."""
    spans = re.split(r"(`[^`]*`|\$[^$]*\$)", " ".join(text.split()))
    told = "".join(span if span[:1] in ("`", "$") else re.sub(r"([*<\[])", r"\\\1", span) for span in spans)
    return re.sub(r"\(benchmarks/results/(\w+)\.md\)", r"([measured](../../benchmarks/results/\1.md))", told)


def linked(paper: str) -> str:
    """The paper with its arXiv number or DOI made a link."""
    for pattern, address in LINKS.items():
        paper = re.sub(pattern, rf"[\g<0>]({address}\1)", paper)
    return paper
