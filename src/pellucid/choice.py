"""Which method suits a model: what was found out on a handful of pictures, kept as a small file."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import FileMissing, InvalidValue
from pellucid.files import save_by_suffix
from pellucid.fingerprint import fingerprint
from pellucid.intervals import Interval
from pellucid.model import Model

FORMAT = "pellucid.choice"


@dataclass(frozen=True)
class Candidate:
    """How one method did.

    Attributes:
        title: the method, with its options.
        method: its name; `options` are those that it was given.
        q: the mean over pictures of the correlation of predicted and actual drops, see `MapVerdict.q`.
        supported: the share of pictures whose map is supported.
        seconds: the mean of an explanation.
        passes: of an explanation, forward and backward.
        beaten: whether the method of the highest q is better: the 95 % interval of the difference, over
            pictures, does not reach 0.
    """

    title: str
    method: str
    options: Mapping[str, Any]
    q: Interval
    supported: float
    seconds: float
    passes: int
    beaten: bool


@dataclass(frozen=True, repr=False)
class Choice:
    """The method that suits a model.

    Attributes:
        model: the model's name, and the `fingerprint` of its weights.
        fingerprint: see `model`.
        candidates: every method that was tried, best q first.
        pictures: how many pictures had a decision with a place; `diffuse` had none and do not count.
        diffuse: see `pictures`.
    """

    model: str
    fingerprint: str
    candidates: tuple[Candidate, ...]
    pictures: int
    diffuse: int

    @property
    def chosen(self) -> Candidate:
        """The method that takes the fewest passes among those that are not beaten; of equals the higher q."""
        return min((one for one in self.candidates if not one.beaten), key=lambda one: one.passes)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found, in words."""
        one = self.chosen
        said = [
            f"{one.title} suits {self.model}: q {one.q} over {self.pictures} pictures, "
            f"{one.supported:.0%} of its maps supported, {one.seconds:.2f} s each."
        ]
        others = [other.title for other in self.candidates if not other.beaten and other is not one]
        if others:
            said.append(f"Not beaten either, and dearer: {', '.join(others)}.")
        if self.diffuse:
            said.append(f"{self.diffuse} pictures had decisions without a place, and do not count.")
        return tuple(said)

    def check(self, model: Model) -> None:
        """Refuses another model than the one that it was made for.

        Raises:
            InvalidValue: the weights are others.
        """
        if self.fingerprint != fingerprint(model):
            raise InvalidValue(
                f"choice must have been made for this model, {model.name}; it was made for {self.model}, "
                "with other weights: run pellucid.choose again."
            )

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def __repr__(self) -> str:
        return f"Choice({self.chosen.title} for {self.model}, of {len(self.candidates)} methods)"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        return {
            "format": FORMAT,
            "schema_version": 1,
            "chosen": self.chosen.title,
            **asdict(self),
            "sentences": list(self.sentences),
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes a .json file, whole or not at all, which `explain(method="auto", choice=path)` reads.

        Raises:
            InvalidValue: another suffix.
        """
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False, default=str)
        return save_by_suffix(path, {".json": lambda file: file.write_text(text, encoding="utf-8")})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Choice":
        """Reads what `save` wrote.

        Raises:
            FileMissing: there is no such file.
            InvalidValue: it is another file.
        """
        file = Path(path)
        if not file.is_file():
            raise FileMissing(
                f"There must be a choice at {str(file)!r}, and there is none: pellucid.choose makes it."
            )
        try:
            stored = json.loads(file.read_text("utf-8"))
            if stored["format"] != FORMAT:
                raise KeyError(FORMAT)
            candidates = tuple(
                Candidate(**{**one, "q": Interval(**one["q"])}) for one in stored["candidates"]
            )
            return cls(
                stored["model"], stored["fingerprint"], candidates, stored["pictures"], stored["diffuse"]
            )
        except (ValueError, KeyError, TypeError):
            raise InvalidValue(
                f"{str(file)!r} must be a choice saved by Pellucid; it is another file."
            ) from None
