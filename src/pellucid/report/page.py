"""The page: explanations arranged as pictures, models and questions."""

from collections.abc import Iterable, Sequence

from pellucid.alteration import Alteration
from pellucid.engine.cost import Cost
from pellucid.entries import Entry, Refusal, refused_once
from pellucid.explanation import Explanation
from pellucid.render.html import data_uri
from pellucid.render.layer import ramp
from pellucid.render.words import percent
from pellucid.report.album import Album
from pellucid.report.data import data
from pellucid.report.facts import count, score, spent
from pellucid.report.question import question
from pellucid.report.records import Card, Page, Subject, View
from pellucid.verdict import Verdict

_Numbered = list[tuple[int, Verdict]]


def page(
    entries: Sequence[Entry],
    refusals: Sequence[Refusal],
    cost: Cost,
    verdicts: Sequence[Verdict] = (),
    unjudged: Sequence[str] = (),
    curves: Sequence[Alteration] = (),
) -> Page:
    """The page of titled explanations of the same pictures: see `pellucid.report.render`."""
    explanations = [entry.explanation for entry in entries]
    first = explanations[0]
    album = Album()
    subjects = [_subject(entries, index, album, verdicts, curves) for index in range(len(first))]
    models = _distinct(e.model for e in explanations)
    methods = _distinct(entry.title for entry in entries)
    questions = sum(len(model.questions) for subject in subjects for model in subject.models)
    stages = [stage for card in _cards(subjects) for stage in (card.overlay, card.raw, card.error) if stage]
    billed = sum((e.cost for e in explanations), Cost())
    asked = first.pictures[0].name if len(first) == 1 else count(len(first), "picture")
    return Page(
        title=f"{asked} · {models[0] if len(models) == 1 else count(len(models), 'model')}",
        lead=f"{count(len(methods), 'method')}, {count(len(models), 'model')}, "
        f"{count(len(first), 'picture')}, {count(questions, 'explained score')}.",
        cost=spent(cost),
        shared=billed.forward > cost.forward or billed.backward > cost.backward,
        sampled=any(e.stderr is not None for e in explanations),
        optimised=any(card.course for card in _cards(subjects)),
        judged=bool(verdicts),
        unjudged=list(unjudged),
        subjects=subjects,
        refusals=refused_once(refusals),
        photographs=album.photographs,
        ramps={cmap: data_uri(ramp(cmap)) for cmap in sorted({stage.cmap for stage in stages})},
        provenance=_provenance(explanations),
        data=data(entries, refusals, cost, verdicts, unjudged, curves),
    )


def _subject(
    entries: Sequence[Entry],
    index: int,
    album: Album,
    verdicts: Sequence[Verdict],
    curves: Sequence[Alteration],
) -> Subject:
    picture = entries[0].explanation.pictures[index]
    models: dict[str, list[Entry]] = {}
    for entry in entries:
        models.setdefault(entry.explanation.model, []).append(entry)
    here = [(i, verdict) for i, verdict in enumerate(verdicts) if verdict.picture == picture.name]
    altered = [(i, one) for i, one in enumerate(curves) if one.picture == picture.name]
    return Subject(
        picture.name,
        picture.path.name if picture.path else "",
        picture.rgb.size,
        [
            _view(
                name,
                some,
                index,
                album,
                [(i, one) for i, one in here if one.model == name],
                [(i, one) for i, one in altered if one.model == name],
            )
            for name, some in models.items()
        ],
    )


def _view(
    name: str,
    entries: Sequence[Entry],
    index: int,
    album: Album,
    verdicts: _Numbered,
    curves: list[tuple[int, Alteration]],
) -> View:
    # A logit and a probability of one class are one question. Two scores of one kind, of callables that share
    # a name, are two.
    questions: list[tuple[str, dict[str, str], list[Entry]]] = []
    for entry in entries:
        explanation = entry.explanation
        label, shown = explanation.labels[index], score(explanation, index)
        for known, scores, asked in questions:
            if known == label and scores.setdefault(explanation.output, shown) == shown:
                asked.append(entry)
                break
        else:
            questions.append((label, {explanation.output: shown}, [entry]))
    first = entries[0].explanation
    judged: dict[str, _Numbered] = {}
    for number, verdict in reversed(verdicts):
        judged.setdefault(verdict.label, []).append((number, verdict))
    return View(
        name,
        [(p, percent(p.probability)) for p in first.prediction[index]],
        frozenset(label for label, _, _ in questions),
        [
            question(
                label,
                " · ".join(scores.values()),
                asked,
                index,
                album,
                # Questions of one name and their verdicts are in the same order.
                judged[label].pop() if judged.get(label) else None,
                [(i, one.title) for i, one in curves if one.label == label],
            )
            for label, scores, asked in questions
        ],
        album.place(first.pictures[index], first.boxes[index]),
    )


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
        for asked in model.questions
        for card in asked.cards
    ]
