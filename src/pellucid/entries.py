"""The parts of a comparison: titled explanations, and refusals with their reasons."""

from collections.abc import Iterable
from dataclasses import dataclass

from pellucid.explanation import Explanation
from pellucid.remarks import by_text


@dataclass(frozen=True)
class Entry:
    """One cell of a comparison: what one method said about one target of one model."""

    title: str
    explanation: Explanation


@dataclass(frozen=True)
class Refusal:
    """A method that could not explain a model, and why, in a sentence."""

    title: str
    model: str
    reason: str


def refused_once(refusals: Iterable[Refusal]) -> list[tuple[str, str, str]]:
    """Methods, model and reason of refusals, methods with one reason together.

    >>> refused_once([Refusal("cam", "net", "no head"), Refusal("rise", "net", "no head")])
    [('cam, rise', 'net', 'no head')]
    """
    by_model: dict[str, list[tuple[str, str]]] = {}
    for refusal in refusals:
        by_model.setdefault(refusal.model, []).append((refusal.reason, refusal.title))
    return [
        (titles, model, reason)
        for model, said in by_model.items()
        for reason, titles in by_text(said).items()
    ]


def refusal_sentences(refusals: Iterable[Refusal]) -> list[str]:
    """The same in words."""
    return [f"{titles} cannot explain {model}: {reason}" for titles, model, reason in refused_once(refusals)]
