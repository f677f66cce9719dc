"""What the report says: a comparison arranged as pictures, models and questions, in words and images."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from pellucid.compare import Comparison, Entry
from pellucid.engine.cost import Cost
from pellucid.explanation import Explanation, Prediction
from pellucid.images import Box, Picture
from pellucid.methods import get_method
from pellucid.render.curves import curves
from pellucid.render.html import data_uri
from pellucid.render.layer import Blend, Layer, error_layer, overlay_layer, ramp, raw_layer
from pellucid.render.scale import merge_channels
from pellucid.render.sheet import fitted, number
from pellucid.render.superpixels import Weight, of, outline_path
from pellucid.render.views import certainty, percent, remark, samples_of

_SIDE = 1000  # pixels of a photograph's longer side
_CELLS = 1024  # a map of no more cells is written out in numbers
_WEIGHTS = 8  # segments whose weights are written on the picture
_LINES = 18  # of text would fill a picture's shorter side
_CHART = 240, 84  # the frame of a course's lines
_LONER = 0.3  # a map whose best rank correlation with the others, of either kind, is lower agrees with none
_LINK = re.compile(r"(?P<kind>arXiv|doi):(?P<id>[^\s,;]+)")
_HOSTS = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}


@dataclass(frozen=True)
class Seen:
    """A photograph of the page, by its position, and the part of it that a model saw."""

    photograph: int
    box: Box
    cropped: bool


@dataclass(frozen=True)
class Stage:
    """A map to lay over its picture, with the colours and the ends of its scale."""

    uri: str
    blend: Blend | None
    cmap: str
    signed: bool
    low: str
    high: str


@dataclass(frozen=True)
class Outlines:
    """Segments over their picture: the edges in cells of the labels, and the strongest weights in words."""

    path: str
    cells: tuple[int, int]
    weights: list[Weight]


@dataclass(frozen=True)
class Course:
    """The scores of an optimisation by step, in a frame of `size`: each line's name, path and both ends."""

    size: tuple[int, int]
    steps: int
    lines: list[tuple[str, str, str, str]]
    ticks: list[tuple[float, str]]
    step_ticks: list[tuple[float, int]]


@dataclass(frozen=True)
class Card:
    """What one method said about one question.

    `error` if it draws samples, `outlines` if it has segments, `course` if it optimised something.
    """

    title: str
    formula: str
    seen: Seen
    overlay: Stage
    raw: Stage
    error: Stage | None
    outlines: Outlines | None
    course: Course | None
    cells: str
    remark: str
    warnings: list[str]
    facts: list[tuple[str, str]]
    options: str
    paper: str
    link: str


@dataclass(frozen=True)
class Agreement:
    """How alike the maps of one question are; `loners` agree with no other, and how little at best.

    `rows` compare evidence with its sign, `magnitudes` where it is found at all.
    """

    titles: list[str]
    rows: list[list[float]]
    magnitudes: list[list[float]]
    loners: list[tuple[str, str]]


@dataclass(frozen=True)
class Question:
    """One explained class of one model about one picture, and every method's answer.

    `score` is that of each output which methods explain: the logit, the probability, or both.
    """

    label: str
    score: str
    cards: list[Card]
    agreement: Agreement | None


@dataclass(frozen=True)
class View:
    """One model's view of one picture."""

    name: str
    predictions: list[tuple[Prediction, str]]
    explained: frozenset[str]
    questions: list[Question]
    seen: Seen


@dataclass(frozen=True)
class Subject:
    """One picture and what the models made of it."""

    name: str
    source: str
    size: tuple[int, int]
    models: list[View]


@dataclass(frozen=True)
class Photograph:
    """An image that many cards show: it is in the page once."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Page:
    """Everything the template writes.

    `shared`: methods shared evidence; `sampled`: some maps have errors; `optimised`: some have a course.
    """

    title: str
    lead: str
    cost: str
    shared: bool
    sampled: bool
    optimised: bool
    subjects: list[Subject]
    refusals: list[tuple[str, str, str]]
    photographs: list[Photograph]
    ramps: dict[str, str]
    provenance: list[tuple[str, str]]
    data: dict[str, Any]


def page(comparison: Comparison) -> Page:
    """The page of a comparison."""
    first = comparison.explanations[0]
    album = Album()
    subjects = [_subject(comparison, index, album) for index in range(len(first))]
    models = _distinct(e.model for e in comparison.explanations)
    methods = _distinct(entry.title for entry in comparison.entries)
    questions = sum(len(model.questions) for subject in subjects for model in subject.models)
    stages = [stage for card in _cards(subjects) for stage in (card.overlay, card.raw, card.error) if stage]
    billed = sum((e.cost for e in comparison.explanations), Cost())
    asked = first.pictures[0].name if len(first) == 1 else count(len(first), "picture")
    return Page(
        title=f"{asked} · {models[0] if len(models) == 1 else count(len(models), 'model')}",
        lead=f"{count(len(methods), 'method')}, {count(len(models), 'model')}, "
        f"{count(len(first), 'picture')}, {count(questions, 'explained score')}.",
        cost=spent(comparison.cost),
        shared=billed.forward > comparison.cost.forward or billed.backward > comparison.cost.backward,
        sampled=any(e.stderr is not None for e in comparison.explanations),
        optimised=any(card.course for card in _cards(subjects)),
        subjects=subjects,
        refusals=list(dict.fromkeys((r.title, r.model, r.reason) for r in comparison.refusals)),
        photographs=album.photographs,
        ramps={cmap: data_uri(ramp(cmap)) for cmap in sorted({stage.cmap for stage in stages})},
        provenance=_provenance(comparison.explanations),
        data=_data(comparison),
    )


class Album:
    """The photographs of a page, each once, whatever many explanations show it."""

    def __init__(self) -> None:
        self.photographs: list[Photograph] = []
        self._known: dict[int, tuple[Image.Image, int]] = {}

    def place(self, picture: Picture, box: Box) -> Seen:
        """A picture in the album, and what of it a model saw."""
        width, height = picture.rgb.size
        cropped = box.left > 0 or box.top > 0 or box.right < width or box.bottom < height
        return Seen(self._position(picture), box, cropped)

    def _position(self, picture: Picture) -> int:
        known = self._known.get(id(picture.rgb))
        if known is not None:
            return known[1]
        rgb = picture.rgb
        shown = fitted(rgb, _SIDE) if max(rgb.size) > _SIDE else rgb
        # Few pixels are kept exactly: enlarged, one would see JPEG's blocks.
        photograph = Photograph(data_uri(shown, "PNG" if max(rgb.size) <= 64 else "JPEG"), *rgb.size)
        if photograph not in self.photographs:
            self.photographs.append(photograph)
        position = self.photographs.index(photograph)
        self._known[id(rgb)] = rgb, position  # held, so that no other picture takes its id
        return position


def _subject(comparison: Comparison, index: int, album: Album) -> Subject:
    picture = comparison.explanations[0].pictures[index]
    models: dict[str, list[Entry]] = {}
    for entry in comparison.entries:
        models.setdefault(entry.explanation.model, []).append(entry)
    return Subject(
        picture.name,
        picture.path.name if picture.path else "",
        picture.rgb.size,
        [_view(name, entries, index, album) for name, entries in models.items()],
    )


def _view(name: str, entries: Sequence[Entry], index: int, album: Album) -> View:
    # A logit and a probability of one class are one question. Two scores of one kind, of callables that share
    # a name, are two.
    questions: list[tuple[str, dict[str, str], list[Entry]]] = []
    for entry in entries:
        explanation = entry.explanation
        label, score = explanation.labels[index], _score(explanation, index)
        for known, scores, asked in questions:
            if known == label and scores.setdefault(explanation.output, score) == score:
                asked.append(entry)
                break
        else:
            questions.append((label, {explanation.output: score}, [entry]))
    first = entries[0].explanation
    return View(
        name,
        [(p, percent(p.probability)) for p in first.prediction[index]],
        frozenset(label for label, _, _ in questions),
        [
            _question(label, " · ".join(scores.values()), asked, index, album)
            for label, scores, asked in questions
        ],
        album.place(first.pictures[index], first.boxes[index]),
    )


def _question(label: str, score: str, entries: Sequence[Entry], index: int, album: Album) -> Question:
    # Two targets may come to the same class: what answers both is shown once.
    answers = {entry.title: entry for entry in reversed(entries)}
    asked = [entry for entry in entries if answers[entry.title] is entry]
    cards = [_card(entry, index, album) for entry in asked]
    return Question(label, score, cards, _agreement(asked, index))


def _agreement(entries: Sequence[Entry], index: int) -> Agreement | None:
    if len(entries) < 2:
        return None
    alike = Comparison(tuple(entries), (), Cost())
    signed, magnitudes = alike.agreement(index), alike.agreement(index, magnitudes=True)
    titles = [entry.title for entry in entries]
    others = torch.maximum(signed, magnitudes).fill_diagonal_(-1.0)
    best = others.amax(1).tolist()
    # Of two methods that disagree, neither is the odd one out.
    alone = [i for i, r in enumerate(best) if r < _LONER] if len(entries) > 2 else []
    loners = [(titles[i], correlation(best[i])) for i in alone]
    return Agreement(titles, signed.tolist(), magnitudes.tolist(), loners)


def correlation(r: float) -> str:
    """A correlation in two decimals, zero without a sign.

    >>> correlation(-0.254), correlation(-0.001)
    ('−0.25', '0.00')
    """
    return f"{round(r, 2) + 0:.2f}".replace("-", "−")


def _card(entry: Entry, index: int, album: Album) -> Card:
    explanation = entry.explanation
    method = get_method(explanation.method)
    link = _LINK.search(explanation.paper)
    height, width = explanation.raw.shape[-2:]
    channels = (
        f", sum of {explanation.raw.shape[1]} channels"
        if explanation.per_pixel and explanation.raw.shape[1] > 1
        else ""
    )
    return Card(
        title=entry.title,
        formula=method.summary,
        seen=album.place(explanation.pictures[index], explanation.boxes[index]),
        overlay=_stage(overlay_layer(explanation, index)),
        raw=_stage(raw_layer(explanation, index)),
        error=None if explanation.stderr is None else _stage(error_layer(explanation, index)),
        outlines=_outlines(explanation, index) if explanation.segmented else None,
        course=_course(explanation, index),
        cells=f"{height} × {width}{channels}",
        remark=remark(explanation, index),
        warnings=explanation.notes[index] if explanation.notes else [],
        facts=_facts(explanation, index),
        options=" ".join(f"{name}={value}" for name, value in explanation.options.items()),
        paper=explanation.paper,
        link=_HOSTS[link["kind"]] + link["id"] if link else "",
    )


def _stage(layer: Layer) -> Stage:
    low = number(-layer.limit) if layer.signed else "0"
    return Stage(data_uri(layer.image), layer.blend, layer.cmap, layer.signed, low, number(layer.limit))


def _outlines(explanation: Explanation, index: int) -> Outlines:
    segments = of(explanation, index)
    height, width = segments.labels.shape
    size = round(min(segments.rgb.size) / _LINES)
    return Outlines(outline_path(segments.labels), (width, height), segments.weights(_WEIGHTS, size))


def _course(explanation: Explanation, index: int) -> Course | None:
    drawn = curves(explanation, index)
    if drawn is None:
        return None
    width, height = _CHART
    lines = []
    for name, values in drawn.lines.items():
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn.points(name, width, height))
        lines.append((name, points, number(float(values[0])), number(float(values[-1]))))
    return Course(
        _CHART,
        drawn.last,
        lines,
        [(round(height * (1 - drawn.height(tick)), 1), number(tick)) for tick in drawn.ticks],
        [(round(width * step / max(1, drawn.last), 1), step) for step in drawn.step_ticks],
    )


def _facts(explanation: Explanation, index: int) -> list[tuple[str, str]]:
    batch = f", {len(explanation)} pictures together" if len(explanation) > 1 else ""
    facts = [
        ("Explains", f"{explanation.labels[index]}, {_score(explanation, index)}"),
        ("Cost", spent(explanation.cost) + batch),
    ]
    if explanation.layer:
        facts.append(("Layer" if len(explanation.layer) == 1 else "Layers", ", ".join(explanation.layer)))
    details = explanation.details
    if (samples := samples_of(explanation, index)) is not None:
        facts.append(("Samples", f"{samples} per picture"))
    error = explanation.relative_error(index)
    if error is not None:
        facts.append(("Std. error", f"±{percent(error)} where the map is strongest"))
    if "r2" in details:
        facts.append(("Local R²", f"{float(details['r2'][index]):.2f}"))
    if {"kept_share", "deleted_share"} <= details.keys():
        kept, deleted = (percent(float(details[name][index])) for name in ("kept_share", "deleted_share"))
        facts.append(("Half the score", f"with the top {kept} shown, or the top {deleted} hidden"))
    if explanation.delta is not None:
        delta, total = float(explanation.delta[index]), float(explanation.raw[index].double().sum())
        share = explanation.relative_delta(index)
        off = number(delta) + (f", {percent(share)}" if share is not None else "")
        if "biases" in details and "absorbed" in details:
            facts.append(("Relevance", _relevance(explanation, index, off)))
        else:
            told = f"{number(total)}, should be {number(total - delta)}: completeness error {off}"
            facts.append(("Map’s sum", told))
    return facts


def _relevance(explanation: Explanation, index: int, off: str) -> str:
    """Where relevance went: to pixels, biases and stabilisers."""
    details = explanation.details
    biases, absorbed = (number(float(details[name][index])) for name in ("biases", "absorbed"))
    total = number(float(explanation.raw[index].double().sum()))
    held = f" ({percent(float(details['pixel_share'][index]))})" if "pixel_share" in details else ""
    return f"{total}{held} at the pixels, {biases} at biases, {absorbed} absorbed: conservation error {off}"


def _score(explanation: Explanation, index: int) -> str:
    return f"{explanation.output} {number(float(explanation.score[index]))}"


def spent(cost: Cost) -> str:
    """A cost in words.

    >>> spent(Cost(1, 2, 0.25))
    '1 forward and 2 backward passes, 250 ms'
    """
    ms = round(1000 * cost.seconds)
    time = f"{ms} ms" if ms < 1000 else f"{number(cost.seconds)} s"
    return f"{cost}, {time}"


def count(n: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "model"), count(3, "model")
    ('1 model', '3 models')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _provenance(explanations: Sequence[Explanation]) -> list[tuple[str, str]]:
    first = explanations[0]
    return [
        ("Models", ", ".join(_distinct(e.model for e in explanations))),
        ("Seed", ", ".join(_distinct(str(e.seed) for e in explanations))),
        ("Precision", ", ".join(_distinct(e.precision for e in explanations))),
        *((name.capitalize(), version) for name, version in first.versions.items()),
    ]


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _cards(subjects: Sequence[Subject]) -> list[Card]:
    return [
        card
        for subject in subjects
        for model in subject.models
        for question in model.questions
        for card in question.cards
    ]


def _data(comparison: Comparison) -> dict[str, Any]:
    """The numbers of the page, for programs."""
    return {
        "format": "pellucid.report",
        "schema_version": 1,
        "versions": comparison.explanations[0].versions,
        "cost": vars(comparison.cost),
        "explanations": [
            _numbers(entry, index) for entry in comparison.entries for index in range(len(entry.explanation))
        ],
        "refusals": [vars(refusal) for refusal in comparison.refusals],
    }


def _numbers(entry: Entry, index: int) -> dict[str, Any]:
    one = entry.explanation[index]
    box = one.boxes[0]
    raw = merge_channels(one.raw if one.raw.ndim == 4 else one.raw[:, None])[0]
    return {
        "title": entry.title,
        "method": one.method,
        "options": {name: _json(value) for name, value in one.options.items()},
        "paper": one.paper,
        "model": one.model,
        "picture": index,
        "name": one.pictures[0].name,
        "size": one.pictures[0].rgb.size,
        "box": [box.left, box.top, box.right, box.bottom],
        "target": one.target[0],
        "label": one.labels[0],
        "output": one.output,
        "score": _json(float(one.score[0])),
        "prediction": [vars(p) for p in one.prediction[0]],
        "layer": one.layer,
        "seed": one.seed,
        "precision": one.precision,
        "cost": vars(one.cost),
        **certainty(one),
        "trace": {name: values[0].tolist() for name, values in one.trace.items() if values[0].ndim == 1},
        "warnings": one.notes[0] if one.notes else [],
        "raw": raw.tolist() if raw.numel() <= _CELLS else None,
    }


def _json(value: Any) -> Any:
    """A value as JSON has it: numbers that are not finite and foreign things become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
