"""What LIME found out about one text or row: weights, how sure they are, and how to show and save them."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.files import save_by_suffix
from pellucid.lime.drawing import bars, fragment
from pellucid.lime.records import Feature, LabelExplanation
from pellucid.render.html import page
from pellucid.render.metadata import PIXELS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAITHFUL = 0.5
"""The R2 below which a surrogate tells less than half of how the model varies: a warning says so."""


@dataclass(frozen=True, eq=False, repr=False)
class LocalExplanation:
    """Why a model said what it said of one text or one row.

    Attributes:
        features: the d words or conditions.
        by_label: one surrogate per explained class, in the order asked for or the likeliest first.
        samples: how many neighbours were used; `seed`: what they were drawn with.
        notes: warnings from the drawing.
        text: the explained text; None for a row.
    """

    features: list[Feature]
    by_label: list[LabelExplanation]
    samples: int
    seed: int
    notes: list[str] = field(default_factory=list)
    text: str | None = None

    @property
    def labels(self) -> list[int]:
        """The explained classes."""
        return [one.label for one in self.by_label]

    @property
    def names(self) -> list[str]:
        """The features in words: `"prize"`, `"2.1 < petal length <= 4.3"`."""
        return [feature.name for feature in self.features]

    @property
    def warnings(self) -> list[str]:
        """What a reader should know before trusting the weights."""
        return self.notes + [
            f"{one.name}: the surrogate explains {one.r2:.0%} of how the model varies near this input "
            f"(R2 {one.r2:.2f}): its weights are a rough picture."
            for one in self.by_label
            if one.r2 < FAITHFUL
        ]

    def __getitem__(self, label: int | str) -> LabelExplanation:
        """The surrogate of a class, by index or name."""
        for one in self.by_label:
            if label in (one.label, one.name):
                return one
        explained = ", ".join(f"{one.label} ({one.name})" for one in self.by_label)
        raise InvalidValue(f"label must be one of those explained, {explained}; got {label!r}.")

    def __iter__(self) -> Iterator[LabelExplanation]:
        return iter(self.by_label)

    def __len__(self) -> int:
        return len(self.by_label)

    def as_list(self, label: int | str | None = None) -> list[tuple[str, float]]:
        """(feature, weight) of the chosen features, the largest weight first; None means the first label."""
        one = self.by_label[0] if label is None else self[label]
        return [(self.features[index].name, float(one.coefficients[index])) for index in one.chosen]

    def plot(self, labels: Sequence[int | str] | None = None) -> "Figure":
        """A matplotlib figure: bars of the weights with their standard errors, one panel per label."""
        return bars(self.features, self.by_label if labels is None else [self[label] for label in labels])

    def _repr_html_(self) -> str:
        return fragment(
            self.features,
            self.by_label,
            text=self.text,
            warnings=self.warnings,
            about=f"LIME, {self.samples} samples, seed {self.seed}",
        )

    def __repr__(self) -> str:
        of = ", ".join(f"{one.name} {one.prediction:.3g} (R2 {one.r2:.2f})" for one in self.by_label)
        return f"LocalExplanation({of}; {len(self.features)} features, {self.samples} samples)"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one file, whole or not at all, by the suffix of `path`; returns the path.

        `.html` is a page that needs nothing else, `.png`, `.jpg` and `.webp` are the figure of `plot`,
        `.json` holds all numbers.

        Raises:
            InvalidValue: another suffix.
            NotWritten: the file cannot be written there.
        """
        return save_by_suffix(
            path,
            {
                ".html": lambda file: file.write_text(page("LIME", self._repr_html_()), encoding="utf-8"),
                **dict.fromkeys(PIXELS, lambda file: self.plot().savefig(file)),
                ".json": lambda file: file.write_text(
                    json.dumps(self.to_dict(), ensure_ascii=False, indent=1), encoding="utf-8"
                ),
            },
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists, numbers and strings. An unknown standard error is None."""
        return {
            "text": self.text,
            "samples": self.samples,
            "seed": self.seed,
            "warnings": self.warnings,
            "features": [vars(feature) for feature in self.features],
            "labels": [
                {
                    **{name: value for name, value in vars(one).items() if not isinstance(value, Tensor)},
                    "coefficients": one.coefficients.tolist(),
                    "stderr": [error if error < float("inf") else None for error in one.stderr.tolist()],
                }
                for one in self.by_label
            ],
        }
