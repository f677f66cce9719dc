"""LIME for text: which words a prediction rests on."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from torch import Tensor

from pellucid.errors import InvalidType, InvalidValue
from pellucid.lime.predictions import Mode, Numbers
from pellucid.lime.records import Feature
from pellucid.lime.result import LocalExplanation
from pellucid.lime.sampling import explain
from pellucid.methods.perturb import surrogate
from pellucid.methods.perturb.surrogate import Selection

Span = tuple[int, int]
Splitter = str | Callable[[str], Sequence[str]]

MASK = "UNKWORDZ"
"""What stands for a removed word where order matters, as in the lime package: no vocabulary holds it."""


def text(
    predict_proba: Callable[[list[str]], Any],
    text: str,
    *,
    labels: int | str | Sequence[int | str] | None = None,
    top_labels: int = 1,
    class_names: Sequence[str] | None = None,
    features: int | None = 10,
    selection: Selection = "auto",
    samples: int | Literal["auto"] = 5000,
    tolerance: float = 0.1,
    split: Splitter = r"\W+",
    bag_of_words: bool = True,
    mask_string: str | None = None,
    kernel_width: float = 25.0,
    ridge: float = 1.0,
    mode: Mode = "classification",
    seed: int = 0,
    batch_size: int = 128,
    progress: bool | None = None,
) -> LocalExplanation:
    """Which words of a text speak for a class and which against it (arXiv:1602.04938).

    Neighbours of the text lack a uniform number of random words; a ridge on which words are left, weighted
    by exp(-d^2 / 2 width^2) with d = 100 x cosine distance, gives each word its weight: about how much of the
    probability it brings. Given the same neighbours, coefficients equal those of the lime package.

    Args:
        predict_proba: gives class probabilities, (n, classes), for a list of n texts.
        text: what to explain.
        labels: the classes to explain, by index or name; None means the likeliest.
        top_labels: how many of the likeliest, where `labels` is None; all are explained by one run.
        class_names: what the classes are called.
        features: how many words get a weight; None means all.
        selection: how they are chosen; see `pellucid.methods.perturb.surrogate.select`.
        samples: how many neighbours, the text itself among them; "auto" draws until the weights have
            converged.
        tolerance: for "auto": the relative standard error of the largest weights (the top decile, at least
            three), and one minus the rank correlation between halves of the samples.
        split: a regular expression of what lies between words, or a function that gives the words in order.
        bag_of_words: whether a word is one feature wherever it stands; if not, each occurrence is one.
        mask_string: what stands for a removed word. None means nothing for a bag of words, where order does
            not matter, and otherwise UNKWORDZ.
        kernel_width: how fast the weight of neighbours falls.
        ridge: the penalty of the surrogate.
        mode: "regression" explains a function that gives one number per text.
        seed: of the neighbours. They depend on nothing else, in particular not on `batch_size`.
        batch_size: texts per call of `predict_proba`.
        progress: a progress bar; None means if someone is watching.

    Raises:
        InvalidValue: a text of fewer than two words, an option out of range, a class that does not exist, or
            predictions that are no probabilities.
        InvalidType: a text that is none, or predictions that are no numbers.

    >>> def spam(texts):
    ...     return [[0.1, 0.9] if "prize" in t else [0.8, 0.2] for t in texts]
    >>> found = text(spam, "You won a prize", samples=300)
    >>> found.as_list(1)[0][0]
    'prize'
    """
    words = Words.of(text, split, bag_of_words, mask_string, kernel_width)
    by_label, used, warnings = explain(
        words, predict_proba, labels=labels, top_labels=top_labels, class_names=class_names,
        features=features, selection=selection, samples=samples, tolerance=tolerance, ridge=ridge, mode=mode,
        seed=seed, batch_size=batch_size, progress=progress,
    )  # fmt: skip
    return LocalExplanation(words.features(), by_label, used, seed, warnings, text)


@dataclass(frozen=True, eq=False)
class Words:
    """A text cut into words, each a feature that can be taken out."""

    text: str
    names: list[str]
    spans: list[list[Span]]  # of each feature: where its occurrences start and end
    mask: str
    width: float

    @staticmethod
    def of(text: str, split: Splitter, bag_of_words: bool, mask: str | None, width: float) -> "Words":
        """The words of a text, in order of their first occurrence."""
        if not isinstance(text, str):
            raise InvalidType(f"text must be one string; got {type(text).__name__}.")
        if not width > 0:
            raise InvalidValue(f"kernel_width must be positive; got {width}.")
        found = _between(text, split) if isinstance(split, str) else _located(text, split(text))
        spans: dict[Any, list[Span]] = {}
        for start, end in found:
            spans.setdefault(text[start:end] if bag_of_words else start, []).append((start, end))
        if len(spans) < 2:
            shown = text if len(text) <= 40 else f"{text[:37]}..."
            raise InvalidValue(
                f"text must hold at least two different words to tell apart; {shown!r} holds {len(spans)}: "
                "pass a longer text, or another `split`."
            )
        names = [text[start:end] for (start, end), *_ in spans.values()]
        default = "" if bag_of_words else MASK
        return Words(text, names, list(spans.values()), default if mask is None else mask, width)

    def features(self) -> list[Feature]:
        """The words as features; repeated ones are numbered."""
        seen: dict[str, int] = {}
        features = []
        for name, spans in zip(self.names, self.spans, strict=True):
            seen[name] = seen.get(name, 0) + 1
            total = self.names.count(name)
            title = name if total == 1 else f"{name} ({seen[name]} of {total})"
            features.append(Feature(title, spans=tuple(spans)))
        return features

    def without(self, kept: Numbers) -> list[str]:
        """The text of each row of `kept` (n, d): words with 0 are taken out."""
        places = sorted((span, index) for index, spans in enumerate(self.spans) for span in spans)
        gaps = [(0, 0), *(span for span, _ in places), (len(self.text), len(self.text))]
        between = [self.text[one[1] : other[0]] for one, other in pairwise(gaps)]
        words = [(self.text[start:end], index) for (start, end), index in places]
        return [
            "".join(
                gap + (word if row[index] else self.mask)
                for gap, (word, index) in zip(between, words, strict=False)
            )
            + between[-1]
            for row in kept.astype(bool)
        ]

    def origin(self) -> tuple[Numbers, list[str]]:
        """All words, and the text."""
        return np.ones((1, len(self.names))), [self.text]

    def draw(self, count: int, source: np.random.Generator) -> tuple[Numbers, list[str]]:
        """Texts that lack 1 to d words, each number equally likely, and then each set of so many."""
        d = len(self.names)
        removed = source.integers(1, d + 1, (count, 1))
        place = source.random((count, d)).argsort(1).argsort(1)
        z = (place >= removed).astype(np.float64)
        return z, self.without(z)

    def weights(self, z: Tensor) -> Tensor:
        """The kernel of 100 x cosine distance."""
        return surrogate.kernel(100 * surrogate.cosine_distance(z), self.width)


def _between(text: str, pattern: str) -> list[Span]:
    """Where the words lie between the matches of a regular expression."""
    try:
        matches = [match.span() for match in re.finditer(pattern, text)]
    except re.error as error:
        raise InvalidValue(f"split must be a regular expression; {pattern!r} is none: {error}.") from error
    ends = [(0, 0), *matches, (len(text), len(text))]
    return [(one[1], other[0]) for one, other in pairwise(ends) if other[0] > one[1]]


def _located(text: str, words: Sequence[str]) -> list[Span]:
    """Where words that a tokenizer gave stand, in order."""
    found, end = [], 0
    for word in words:
        start = text.find(word, end)
        if start < 0 or not word:
            raise InvalidValue(
                f"split must give words of the text, in order; {word!r} is not found from character {end} on."
            )
        end = start + len(word)
        found.append((start, end))
    return found
