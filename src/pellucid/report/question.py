"""A question: one explained class, every method's answer, and how far the answers agree."""

from collections.abc import Sequence

import torch

from pellucid.agreement import agreement
from pellucid.entries import Entry
from pellucid.report.album import Album
from pellucid.report.card import card
from pellucid.report.facts import correlation
from pellucid.report.judgement import judgement
from pellucid.report.records import Agreement, Question
from pellucid.verdict import Verdict
from pellucid.verdict.sentences import note

_LONER = 0.3  # a map whose best rank correlation with the others, of either kind, is lower agrees with none


def question(
    label: str,
    score: str,
    entries: Sequence[Entry],
    index: int,
    album: Album,
    verdict: tuple[int, Verdict] | None,
    curves: list[tuple[int, str]],
) -> Question:
    """What methods answer about one class of one image.

    `score` is that of each output they explain, `verdict` which verdict of the page judges them,
    `curves` which curves of the page are theirs, and by which method.
    """
    # Two targets may come to the same class: what answers both is shown once.
    answers = {entry.title: entry for entry in reversed(entries)}
    asked = [entry for entry in entries if answers[entry.title] is entry]
    judged = None if verdict is None else judgement(*verdict, asked)
    standings = {one.title: one for one in judged.maps} if judged else {}
    # The badge of a card says what the verdict noted of its map.
    said = frozenset() if verdict is None else frozenset(note(verdict[1], one) for one in verdict[1].maps)
    cards = [card(entry, index, album, standings.get(entry.title), said) for entry in asked]
    return Question(label, score, cards, _agreement(asked, index), judged, curves)


def _agreement(entries: Sequence[Entry], index: int) -> Agreement | None:
    if len(entries) < 2:
        return None
    explanations = [entry.explanation for entry in entries]
    signed, magnitudes = agreement(explanations, index), agreement(explanations, index, magnitudes=True)
    titles = [entry.title for entry in entries]
    others = torch.maximum(signed, magnitudes).fill_diagonal_(-1.0)
    best = others.amax(1).tolist()
    # Of two methods that disagree, neither is the odd one out.
    alone = [i for i, r in enumerate(best) if r < _LONER] if len(entries) > 2 else []
    loners = [(titles[i], correlation(best[i])) for i in alone]
    return Agreement(titles, signed.tolist(), magnitudes.tolist(), loners)
