"""The lesson as one page of HTML that needs nothing else."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pellucid.digits.lesson import Lesson
from pellucid.digits.standings import Standing, floors, standings
from pellucid.digits.typeset import mathml, sentence
from pellucid.docstrings import read
from pellucid.entries import Entry, refused_once
from pellucid.files import save_by_suffix
from pellucid.formula import Formula, formula_of
from pellucid.methods import get_method
from pellucid.methods.definition import Method
from pellucid.render.html import data_uri
from pellucid.render.layer import overlay_layer
from pellucid.render.style import Style
from pellucid.render.words import percent
from pellucid.report import environment, text_of
from pellucid.report.facts import correlation, spent
from pellucid.report.records import Photograph

READS = {
    "layers": "activations of a layer",
    "input gradient": "the gradient at the picture",
    "perturbed inputs": "scores of altered pictures, or their gradients",
    "replaced operations": "the network run by other rules",
}
"""What a method reads, in words."""


@dataclass(frozen=True)
class Cell:
    """A map over its picture: `state` is the verdict's, empty where there is none."""

    photograph: int
    uri: str
    blend: str
    crisp: bool
    state: str
    about: str


@dataclass(frozen=True)
class Row:
    """One method's maps, in the order of the pictures."""

    title: str
    anchor: str
    cells: list[Cell]


@dataclass(frozen=True)
class Chapter:
    """One method: its principle, formula, symbols, and what it was measured to do."""

    title: str
    anchor: str
    principle: tuple[Markup, ...]
    formulas: list[Markup]
    symbols: list[tuple[Markup, Markup]]
    points: list[tuple[str, list[Markup]]]
    options: str
    paper: str
    standing: Standing


def save_page(lesson: Lesson, path: str | Path) -> Path:
    """Writes the lesson's page, whole or not at all.

    Raises:
        InvalidValue: the file's name does not end in .html.
        NotWritten: it cannot be written there.
    """
    return save_by_suffix(path, {".html": lambda file: file.write_text(render(lesson), encoding="utf-8")})


def render(lesson: Lesson) -> str:
    """The page: every text in it is escaped, it loads nothing and runs no script."""
    ranked = standings(lesson.comparison)
    entries = {entry.title: entry for entry in lesson.comparison.entries}
    return (
        environment()
        .get_template("lab.html.j2")
        .render(
            lesson=lesson,
            style=text_of("style.css") + text_of("lab.css"),
            photographs=[
                Photograph(data_uri(answer.picture.rgb), *answer.picture.rgb.size)
                for answer in lesson.answers
            ],
            answers=list(enumerate(lesson.answers)),
            rows=[_row(entries[one.title], lesson) for one in ranked],
            ranked=ranked,
            floors=sorted(floors(lesson.comparison).items(), key=lambda one: -one[1]),
            reads=READS,
            sentences=_sentences(lesson, ranked),
            chapters=[_chapter(entries[one.title], one) for one in ranked],
            refusals=refused_once(lesson.comparison.refusals),
            cost=spent(lesson.comparison.cost),
            course=lesson.training.get("course", []),
            facts=_facts(lesson),
            percent=percent,
            anchor=_anchor,
            data=to_dict(lesson),
        )
    )


def to_dict(lesson: Lesson) -> dict[str, Any]:
    """The lesson's numbers as plain JSON."""
    return {
        "format": "pellucid.lab",
        "schema_version": 1,
        "data": lesson.digits.name,
        "architecture": lesson.architecture,
        "accuracy": asdict(lesson.accuracy),
        "confusion": lesson.confusion.tolist(),
        "pictures": [
            {
                "index": one.index,
                "label": one.label,
                "predicted": one.predicted,
                "probability": one.probability,
            }
            for one in lesson.answers
        ],
        "methods": [asdict(one) for one in standings(lesson.comparison)],
        "floors": floors(lesson.comparison),
        "verdicts": [list(verdict.sentences) for verdict in lesson.comparison.verdicts],
        "refusals": [vars(refusal) for refusal in lesson.comparison.refusals],
        "cost": vars(lesson.comparison.cost),
        "seconds": lesson.seconds,
        "training": dict(lesson.training),
    }


def _row(entry: Entry, lesson: Lesson) -> Row:
    states = {
        (verdict.picture, one.title): one.state
        for verdict in lesson.comparison.verdicts
        for one in verdict.maps
    }
    cells = []
    panels = [entry.explanation.panel(at) for at in range(len(lesson.comparison.images))]
    style = Style(signed=any(panel.has_negative for panel in panels))  # one kind of colours for a row
    for panel, image in zip(panels, lesson.comparison.images, strict=True):
        answer = lesson.answers[image]
        layer = overlay_layer(panel, style)
        cells.append(
            Cell(
                image,
                data_uri(layer.image),
                layer.blend or "",
                layer.crisp,
                states.get((answer.picture.name, entry.title), ""),
                f"{entry.title} of a {answer.label}"
                + ("" if answer.right else f" taken for a {answer.predicted}"),
            )
        )
    return Row(entry.title, _anchor(entry.title), cells)


def _chapter(entry: Entry, standing: Standing) -> Chapter:
    method: Method = get_method(entry.explanation.method)
    doc = read(method.doc)
    formula = formula_of(method.doc) if "Formula" in doc.sections else Formula("", ())
    headings = {"Strengths": "Shows well", "Weaknesses": "Cannot show", "Pitfalls": "Goes wrong elsewhere"}
    return Chapter(
        entry.title,
        _anchor(entry.title),
        tuple(map(sentence, doc.text or (doc.summary,))),
        [mathml(line, display=True) for line in formula.lines if line],
        [(mathml(symbol), sentence(meaning)) for symbol, meaning in formula.symbols],
        [
            (words, list(map(sentence, doc.items(section))))
            for section, words in headings.items()
            if doc.items(section)
        ],
        " ".join(f"{name}={value}" for name, value in entry.explanation.options.items()),
        method.paper,
        standing,
    )


def _sentences(lesson: Lesson, ranked: Sequence[Standing]) -> list[str]:
    """What was found, in words."""
    verdicts = lesson.comparison.verdicts
    placed = sum(verdict.localised for verdict in verdicts)
    said = [
        f"{placed} of {len(verdicts)} decisions have a place: hiding parts of the picture tells these parts "
        "apart. In the others the score falls with the area that is hidden, wherever it is, and no map of "
        "places can be right about them."
    ]
    judged = [one for one in ranked if one.q is not None]
    if judged:
        best, worst = [one.title for one in judged if _q(one) == _q(judged[0])], judged[-1]
        said.append(
            f"In these, interventions bear out {_listed(best)} best on average (mean q {_q(judged[0])}) and "
            f"{worst.title} least ({_q(worst)})."
        )
        if not any(one.supported for one in judged):
            said.append("No map of any method is supported: none of them is to be read alone as the reason.")
        known = floors(lesson.comparison)
        name, q = max(known.items(), key=lambda one: one[1])
        below = [one.title for one in judged if (one.q or 0.0) <= q]
        if below:
            said.append(
                f"{_listed(below)} {'is' if len(below) == 1 else 'are'} no better on average than {name} "
                f"({correlation(q)}), which knows nothing of the network."
            )
    same = [one.title for one in ranked if one.same]
    if same:
        said.append(
            f"{_listed(same)} gave another class the same map at least once: what is there, and not why it "
            "is this class."
        )
    return said


def _q(one: Standing) -> str:
    return "–" if one.q is None else correlation(one.q)


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> _listed(["lime"]), _listed(["lime", "rise", "lrp"])
    ('lime', 'lime, rise and lrp')
    """
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _anchor(title: str) -> str:
    """A title as the name of a place on the page.

    >>> _anchor("lime:segments=grid:7")
    'm-lime-segments-grid-7'
    """
    return "m-" + "".join(c if c.isalnum() else "p" if c == "+" else "-" for c in title)


def _facts(lesson: Lesson) -> list[tuple[str, str]]:
    training, accuracy = lesson.training, lesson.accuracy
    facts = [
        (
            "Pictures",
            f"{lesson.digits.name}: {len(lesson.digits.train):,} to learn, {accuracy.count:,} held out",
        )
    ]
    if "rate" in training:
        facts.append(
            (
                "Training",
                f"Adam {training['rate']:g}, cross-entropy, batches of {training['batch']}, seed "
                f"{training['seed']}",
            )
        )
    first = lesson.comparison.explanations[0]
    facts += [
        ("Explaining", f"{spent(lesson.comparison.cost)}, seed {first.seed}"),
        ("Versions", f"pellucid {version('pellucid')}, torch {version('torch')}"),
    ]
    return facts
