"""Writes docs/choosing.md from the registry and from what was measured: `python docs/choosing.py`."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from pellucid.methods import METHODS
from pellucid.methods.definition import Method

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/choosing.md"
MEASURED = ROOT / "benchmarks/results/truth.md"

INTRO = """\
# Choosing a method

What follows is measured where the truth is known: on scenes of which every element can be rendered away, so
that it is known which one a network decides by ([which map to trust](verdict.md) says how). A map is right
if its strongest cells hold at least half of what they could hold of that element. This page is written by
`docs/choosing.py` from the registry of methods and from
[benchmarks/results/truth.md](../benchmarks/results/truth.md); no number on it is typed by hand.

## The decision

```mermaid
flowchart TD
    start["What does the model give you?"] -->|"scores"| scores["occlusion, rise,<br/>lime, kernel-shap"]
    start -->|"a PyTorch module"| time["How long may a map take?"]
    time -->|"up to three passes"| cheap["Is it a transformer?"]
    cheap -->|"no"| conv["lrp or deep-lift for pixels,<br/>layer-cam or grad-cam for a coarse place"]
    cheap -->|"yes"| vit["legrad or attn-lrp"]
    time -->|"hundreds of passes"| long["occlusion, rise, lime"]
    conv --> sum["Must the map add up to the score?"]
    sum -->|"yes"| complete["integrated-gradients, deep-lift, kernel-shap"]
    conv --> check["compare(...).verdict, whatever was chosen"]
    vit --> check
    long --> check
    scores --> check
    complete --> check
```

The same in words:

- **Scores alone** (ONNX, a service, a forest): `occlusion` first, since its map is a list of measurements;
  `rise` for finer places; `lime` or `kernel-shap` where regions of the picture are what you want to talk
  about.
- **Up to three passes**: {few} were right most often; `layer-cam` or `grad-cam` where a coarse
  place is enough. For a transformer `legrad` or `attn-lrp`, which planted truth has not tried yet.
- **Hundreds of passes**: of these {many} were right most often.
- **A map that adds up to the score**: `integrated-gradients`, `deep-lift`, `kernel-shap`, `partition-shap`.
- **Why this class and not that one**: a method that knows classes, with a [contrast](guides/contrast.md).
- **The smallest part that is enough, or that must go**: the masks, `extremal-perturbation` and `i-gos++`.
- **In any case** let [the verdict](verdict.md) judge the map on your model and picture. For a model
  `pellucid.choose(model, "photos/")` finds on a handful of pictures which method suits it.

"""
RATES = """\
## How often a map was right

Measured on {decisions}. The tasks of the first column had no part in setting any threshold. *Right if
supported* is the rate among maps that the verdict supports; *evidence inside* the share of a map's positive
evidence that lies on the element that decides. In brackets the 95 % interval over pictures.

"""
AGAINST = """\
Small networks on small scenes, and EfficientNet-Lite0 on pasted objects: on your network the order may be
another one. It is not the order of the papers, either. What carries a decision there is one element of the
picture; of decisions that are spread all over it no map of places can be right.

"""
FACTS = """\
## What each reads, needs, costs and promises

*Reads*: evidence from the model. *Needs*: what the model must offer, from `scores` (any function) over
`gradients` (differentiable) and `layers` (an `nn.Module` with feature maps) to `operations` (backward rules
for each operation). *Passes*: forward + backward samples per picture with the defaults; "per channel" once
more for each channel of the layer. *Explains*: the number by default. *Promises*: axioms that its theory
proves, which `pellucid axioms` checks on your model.

"""
LIMITS = """\
## What each cannot show, and when it misleads

"""

KINDS = tomllib.loads(PAGE.with_suffix(".toml").read_text("utf-8"))["kind"]
"""What methods of a kind cannot show, and when they mislead: in words, no numbers."""


def built_in() -> list[Method]:
    """The methods that come with the package."""
    return [m for m in METHODS.values() if m.built_in]


def measured(half: str) -> dict[str, list[str]]:
    """The rows of the scoreboard's table of methods of one half of the tasks, by method with options."""
    text = MEASURED.read_text("utf-8")
    part = text[text.index(f"## {half} tasks") :]
    part = part[part.index("### Methods") :]
    part = part[: part.index("\n### ", 5)]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if "|" in line
    ]
    return {row[0]: row[1:] for row in rows[2:]}


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    columns = tuple(head)
    lines = [columns, ("---",) * len(columns), *(tuple(str(cell) for cell in row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def rates() -> Iterator[tuple[str, ...]]:
    """Each method with how often it was right: on held-out tasks, on the others, and if supported."""
    held, developed = measured("Held-out"), measured("Development")
    for name, (share, _, right, _, supported, passes) in held.items():
        yield f"`{name}`", right, developed[name][2] if name in developed else "–", supported, share, passes


def ordered() -> list[tuple[str, ...]]:
    """The rates, the method that was right most often first."""
    return sorted(rates(), key=lambda row: -float(row[1].split()[0]))


def facts() -> Iterator[tuple[str, ...]]:
    """What the registry says of each method."""
    for family, members in groupby(built_in(), key=lambda method: method.family):
        for m in members:
            options = m.resolve_options({})
            promised = ", ".join(sorted(m.promised(options))) or "–"
            yield f"`{m.name}`", family, m.reads, m.needs, str(m.cost(options)), m.output, promised


def limits() -> Iterator[tuple[str, ...]]:
    """What methods of a kind cannot show, and when they mislead."""
    for kind in KINDS:
        names = ", ".join(f"`{name}`" for name in kind["methods"].split())
        yield f"**{kind['name']}**: {names}", oneline(kind["hidden"]), oneline(kind["misleads"])


def oneline(text: str) -> str:
    """A text without line breaks."""
    return " ".join(text.split())


def best(passes: range) -> str:
    """The methods of so many passes that were right most often, on all tasks together."""
    rows = [row for row in rates() if int(row[5]) in passes and row[2] != "–"]
    found = sorted(rows, key=lambda row: -sum(float(row[i].split()[0]) for i in (1, 2)))
    return " and ".join(row[0] for row in found[:2])


def decisions() -> str:
    """What was tried, out of the heading of the measurements."""
    found = re.search(r"with (\d+ decisions of each task)", MEASURED.read_text("utf-8"))
    return found[1] if found else "planted scenes"


def render() -> str:
    """The whole page."""
    head = (
        "method",
        "right, held-out",
        "right, development",
        "right if supported",
        "evidence inside",
        "passes",
    )
    columns = ("method", "family", "reads", "needs", "passes", "explains", "promises")
    parts = [
        INTRO.format(few=best(range(4)), many=best(range(50, 1000))),
        RATES.format(decisions=decisions()),
        table(head, ordered()),
        AGAINST,
        FACTS,
        table(columns, facts()),
        LIMITS,
        table(("methods", "cannot show", "misleads"), limits()),
    ]
    return "".join(parts).rstrip("\n") + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
