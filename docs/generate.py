"""Writes docs/methods.md, docs/metrics.md and the README's table of methods: `python docs/generate.py`."""

import re
import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from pellucid.methods import METHODS
from pellucid.methods.definition import WRAPPERS, Method, Passes
from pellucid.metrics import METRICS, Metric

PAGE = Path(__file__).with_name("methods.md")
METRICS_PAGE = Path(__file__).with_name("metrics.md")
README = PAGE.parents[1] / "README.md"

INTRO = """\
# Methods

Every method also takes
{wrappers}:
`smooth` is a number of noisy copies over which its maps are averaged (or their squares, or their variance
is taken), with noise as a share of each image's range, and `augment` averages over copies scaled and
mirrored. `output` says what is explained, a `logit`, `probability` or `loss`, and `target` of which class:
an index, a name, a contrast of two, or in Python a function of the output; without it, the class that is
predicted. Passes are samples run per picture with the defaults, forward once more for each channel of the
layer where the table says so, or only the head, the part of the model behind the layer; methods compared
together share them.

CAMs also share `layer`, `auto` for the last feature maps before the pooling (of a ViT: those that go into
the last attention), a dotted name, or several, with commas on the command line; `fusion`, how the maps of
several layers become one, each divided by its largest magnitude first: their `mean`, their `max`, or
LayerCAM's `tanh-max`; `signed`, which keeps evidence against the class instead of rectifying it; and
`principal`, which takes the first principal component of the weighted maps instead of their sum (called
eigen smoothing elsewhere).
"""

METRICS_INTRO = """\
# Metrics

A metric judges maps from wherever they come: `pellucid.measure.measure(model, inputs, maps, "deletion")`.
Over many pictures and methods `pellucid.evaluate` and `pellucid evaluate` give a table with intervals. Which
maps of one picture to trust is what `pellucid.compare(...).verdict` says.

Numbers of a metric can be compared only under the same protocol: the options, the output that is read
(`output=`, by default that of its paper), the size of the input. `evaluate` prints all of it with every
table. Passes are samples run per picture and map of 224 x 224 with the defaults; an explanation made again
costs what the method does. A map without a value, such as one that is constant where the formula divides by
its spread, is given a reason and no number.
"""

PARTS = re.compile(r"^(Args|Returns|Raises|Cost|Source|Example):\n", re.MULTILINE)
LINKS = {r"arXiv:(\d{4}\.\d{4,5})": "https://arxiv.org/abs/", r"doi:(10\.[^\s;]+)": "https://doi.org/",
         r"(github\.com/\S+)": "https://"}  # fmt: skip


BUILT_IN = {name: method for name, method in METHODS.items() if method.built_in}
"""What is documented: not what installed packages add."""


def render() -> str:
    """The whole page."""
    anchors = dict(zip(BUILT_IN, slugs(BUILT_IN), strict=True))
    wrappers = ", ".join(f"`{option.name}={option.default}`" for option in WRAPPERS)
    overview = table(
        ("method", "family", "forward", "backward", "per channel", "head per channel", "reads", "paper"),
        (
            (f"[{m.name}](#{anchors[m.name]})", m.family, *costs(m), m.reads, linked(m.paper))
            for m in BUILT_IN.values()
        ),
    )
    return "\n".join([INTRO.format(wrappers=wrappers), overview, *map(section, BUILT_IN.values())])


def overview(readme: str) -> str:
    """The README with its table of families and their methods as the registry has them."""
    families = groupby(BUILT_IN.values(), lambda method: method.family)
    rows = ((f"`{family}`", ", ".join(m.name for m in members)) for family, members in families)
    shown = table(("family", "methods"), rows)
    return re.sub(
        r"^\| family \| methods \|\n(\|.*\n)+", lambda _: shown, readme, count=1, flags=re.MULTILINE
    )


def render_metrics() -> str:
    """The page of all metrics."""
    known = {
        name: metric for name, metric in METRICS.items() if metric.function.__module__.startswith("pellucid.")
    }
    anchors = dict(zip(known, slugs(known, "metrics"), strict=True))
    better = {True: "higher", False: "lower", None: "neither"}
    rows = (
        (
            f"[{m.name}](#{anchors[m.name]})",
            m.family,
            better[m.higher_is_better],
            " to ".join(f"{end:g}".replace("inf", "∞") for end in m.range),
            m.passes(m.resolve_options({}), (224, 224)),
            ", ".join(sorted(m.needs)) or "–",
            linked(m.paper),
        )
        for m in known.values()
    )
    head = ("metric", "family", "better", "range", "passes", "needs", "paper")
    return "\n".join([METRICS_INTRO, table(head, rows), *map(metric_section, known.values())])


def metric_section(metric: Metric) -> str:
    """One metric: what its docstring says, and its options."""
    command = f"pellucid evaluate sample:cat sample:coffee -m grad-cam --metric {metric.name}"
    return section(metric, "" if metric.needs & {"truth"} else command)


def costs(method: Method) -> Passes:
    """The passes of a method with its defaults."""
    return method.cost(method.resolve_options({}))


def section(method: Method | Metric, run: str | None = None) -> str:
    """One method or metric: what its docstring says, its options, and how to run it."""
    text, *parts = PARTS.split(method.doc)
    blocks = [f"## {method.name}", *map(prose, text.strip().split("\n\n"))]
    options = {option.name for option in method.options}
    for label, part in zip(parts[::2], parts[1::2], strict=True):
        if label == "Example":
            blocks.append(f"**Example:**\n\n```pycon\n{textwrap.dedent(part).strip()}\n```")
            continue
        if label not in ("Args", "Raises"):
            blocks.append(f"**{label}:** {prose(part)}")
            continue
        entries = [entry.partition(": ") for entry in re.split(r"\n(?=\S)", textwrap.dedent(part).strip())]
        # A method's first argument is its evidence, which the user does not give.
        items = [
            f"- `{name}`: {prose(meaning)}"
            for name, _, meaning in entries
            if label == "Raises" or name in options
        ]
        if items:
            blocks.append("\n".join([f"**{label}:**", "", *items]))
    blocks.append(f"**Paper:** {linked(method.paper)}")
    if method.options:
        rows = ((f"`{o.name}`", f"`{o.kind}`", f"`{o.default}`") for o in method.options)
        blocks.append(table(("option", "type", "default"), rows).rstrip())
    line = command(method) if run is None and isinstance(method, Method) else run
    if line:
        blocks.append(f"```sh\n{line}\n```")
    return "\n\n".join(blocks) + "\n"


def command(method: Method) -> str:
    """How to run it on the command line: with references where it asks for them, on a model that it can read.

    Example:
        >>> from pellucid.methods import get_method
        >>> command(get_method("gradient-shap"))
        'pellucid explain sample:cat -m gradient-shap:references=black,white,blur'
    """
    defaults = {option.name: option.default for option in method.options}
    alone = "baselines" in defaults  # enhanced-ig takes a baseline in their place
    references = "references" in defaults and defaults["references"] is None and not alone
    given = ":references=black,white,blur" if references else ""
    attention = " --model timm:vit_tiny_patch16_224 --random-weights"
    return f"pellucid explain sample:cat -m {method.name}{given}{attention * (method.family == 'attention')}"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    columns = tuple(head)
    cells = [columns, ("---",) * len(columns), *([str(c).replace("|", r"\|") for c in row] for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def prose(text: str) -> str:
    """A paragraph on one line; what Markdown would take for markup outside of `code` is escaped."""
    spans = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(span if span.startswith("`") else re.sub(r"([*<\[])", r"\\\1", span) for span in spans)


def linked(paper: str) -> str:
    """The paper with its arXiv number or DOI made a link."""
    for pattern, address in LINKS.items():
        paper = re.sub(pattern, rf"[\g<0>]({address}\1)", paper)
    return paper


def slugs(headings: Iterable[str], title: str = "methods") -> Iterator[str]:
    """The anchors GitHub gives to headings: without punctuation, and numbered where that makes two equal."""
    seen: dict[str, int] = {title: 1}  # the page's own title
    for heading in headings:
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        yield f"{slug}-{count}" if count else slug


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    METRICS_PAGE.write_text(render_metrics(), encoding="utf-8")
    README.write_text(overview(README.read_text("utf-8")), encoding="utf-8")
