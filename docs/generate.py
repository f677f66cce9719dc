"""Writes docs/methods/, docs/metrics/, tables of README and docs/numerics.md: `python docs/generate.py`."""

import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from pages import BETTER, BUILT_IN, DOCS, KNOWN, PARITY, SIZE, linked, page, slug, table

from pellucid.methods.definition import WRAPPERS

README = DOCS.parent / "README.md"

INTRO = """\
# Methods

Every method also takes
{wrappers}:
`smooth` is a number of noisy copies over which its maps are averaged (or their squares, or their variance
is taken), with noise as a share of each image's range, and `augment` averages over copies scaled and
mirrored. `output` says what is explained, a `logit`, `probability` or `loss`, and `target` of which class:
an index, a name, a contrast of two, or in Python a function of the output; without it, the class that is
predicted. Passes are samples run per picture with the defaults, forward + backward, and forward once more for
each channel of the layer where the table says so, or only the head, the part of the model behind the layer;
methods compared together share them.

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


def pages() -> dict[str, str]:
    """What each generated page holds, by its path in docs/."""
    found = {"methods.md": methods(), "metrics.md": metrics()}
    found |= {f"methods/{slug(name)}.md": page(one) for name, one in BUILT_IN.items()}
    found |= {f"metrics/{slug(name)}.md": page(one) for name, one in KNOWN.items()}
    return found | {"numerics.md": compared((DOCS / "numerics.md").read_text("utf-8"))}


def compared(text: str) -> str:
    """The page of numerics with all comparisons as they stand in docs/parity.py."""
    begin, end = "<!-- parity: made by docs/generate.py -->\n", "<!-- end of parity -->\n"
    before, rest = text.split(begin)

    def rows() -> Iterator[tuple[str, ...]]:
        for folder, entries in (("methods", BUILT_IN), ("metrics", KNOWN)):
            for name in entries:
                for against, tolerance, test in PARITY[name]:
                    yield (
                        f"[{name}]({folder}/{slug(name)}.md)",
                        against,
                        tolerance or "see there",
                        f"`{test}`",
                    )

    shown = table(("what", "against", "agrees to", "test"), rows())
    return f"{before}{begin}\n{shown}\n{end}{rest.partition(end)[2]}"


def methods() -> str:
    """All methods in a table."""
    wrappers = ", ".join(f"`{option.name}={option.default}`" for option in WRAPPERS)
    head = ("method", "family", "passes", "reads", "paper")
    rows = (
        (
            f"[{m.name}](methods/{slug(m.name)}.md)",
            m.family,
            m.cost(m.resolve_options({})),
            m.reads,
            linked(m.paper),
        )
        for m in BUILT_IN.values()
    )
    return "\n".join([INTRO.format(wrappers=wrappers), table(head, rows)])


def metrics() -> str:
    """All metrics in a table."""
    rows = (
        (
            f"[{m.name}](metrics/{slug(m.name)}.md)",
            m.family,
            BETTER[m.higher_is_better],
            " to ".join(f"{end:g}".replace("inf", "∞") for end in m.range),
            m.passes(m.resolve_options({}), SIZE),
            ", ".join(sorted(m.needs)) or "–",
            linked(m.paper),
        )
        for m in KNOWN.values()
    )
    head = ("metric", "family", "better", "range", "passes", "needs", "paper")
    return "\n".join([METRICS_INTRO, table(head, rows)])


def overview(readme: str) -> str:
    """The README with its table of families and their methods as the registry has them."""
    families = groupby(BUILT_IN.values(), lambda method: method.family)
    rows = ((f"`{family}`", ", ".join(m.name for m in members)) for family, members in families)
    shown = table(("family", "methods"), rows)
    return re.sub(
        r"^\| family \| methods \|\n(\|.*\n)+", lambda _: shown, readme, count=1, flags=re.MULTILINE
    )


def main() -> None:
    """All pages; those of what is no longer there are removed."""
    found = pages()
    for folder in ("methods", "metrics"):
        (DOCS / folder).mkdir(exist_ok=True)
        for old in (DOCS / folder).glob("*.md"):
            if f"{folder}/{old.name}" not in found:
                old.unlink()
    for name, text in found.items():
        (DOCS / name).write_text(text, encoding="utf-8")
    README.write_text(overview(README.read_text("utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
