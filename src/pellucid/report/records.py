"""What the template writes: plain records, from the whole page down to one map in its colours."""

from dataclasses import dataclass
from typing import Any

from pellucid.images import Box
from pellucid.prediction import Prediction
from pellucid.render.layer import Blend
from pellucid.render.superpixels import Weight


@dataclass(frozen=True)
class Seen:
    """A photograph of the page, by its position, and the part of it that a model saw."""

    photograph: int
    box: Box
    cropped: bool


@dataclass(frozen=True)
class Stage:
    """A map to lay over its picture, with the colours and the ends of its scale, which ends at `limit`.

    Its pixels are to be seen if it is `crisp`.
    """

    uri: str
    blend: Blend | None
    cmap: str
    signed: bool
    low: str
    high: str
    limit: float
    crisp: bool


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
class Standing:
    """A row of a scoreboard: a map, or a floor, of which nothing but `q` is known.

    `state` is the verdict's, or "floor"; `low` and `high` are the ends of q's interval, and `strongest` is q
    of the map's strongest sixteenth.
    """

    title: str
    state: str
    q: float
    low: float | None = None
    high: float | None = None
    r: float | None = None
    strongest: float | None = None
    passes: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Judgement:
    """Which maps of one question are supported: `sentences`, and a scoreboard, the highest q first.

    `number` is the verdict's place among those of the page's data, which holds its interventions;
    `maps` are in the order compared; `replacements` says what was hidden behind, by number.
    """

    number: int
    sentences: tuple[str, ...]
    maps: list[Standing]
    rows: list[Standing]
    replacements: list[str]
    interventions: int
    cost: str


@dataclass(frozen=True)
class Card:
    """What one method said about one question.

    `error` if it draws samples, `outlines` if it has segments, `course` if it optimised something,
    `standing` if it was judged.
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
    standing: Standing | None


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

    `score` is that of each output which methods explain: the logit, the probability, or both. `curves`
    are places among the curves of the page's data, and the methods.
    """

    label: str
    score: str
    cards: list[Card]
    agreement: Agreement | None
    judgement: Judgement | None
    curves: list[tuple[int, str]]


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

    @property
    def summary(self) -> str:
        """The best class by each model."""
        best = [model.predictions[0] for model in self.models if model.predictions]
        return ", ".join(dict.fromkeys(f"{p.label} {percent}" for p, percent in best))


@dataclass(frozen=True)
class Photograph:
    """An image that many cards show: it is in the page once."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Page:
    """Everything the template writes.

    `shared`: methods shared evidence; `sampled`: some maps have errors; `optimised`: some have a course;
    `judged`: there are verdicts; `unjudged`: why pictures have none.
    """

    title: str
    lead: str
    cost: str
    shared: bool
    sampled: bool
    optimised: bool
    judged: bool
    unjudged: list[str]
    subjects: list[Subject]
    refusals: list[tuple[str, str, str]]
    photographs: list[Photograph]
    ramps: dict[str, str]
    provenance: list[tuple[str, str]]
    data: dict[str, Any]
