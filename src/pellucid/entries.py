"""The parts of a comparison: titled explanations, and refusals with their reasons."""

from dataclasses import dataclass

from pellucid.explanation import Explanation


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
