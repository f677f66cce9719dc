"""The record of an explanation: its fields, and which of them have an entry per image to choose from."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from jaxtyping import Float
from torch import Tensor

from pellucid.engine.cost import Cost
from pellucid.images import Box, Picture
from pellucid.indexing import positions
from pellucid.prediction import Prediction
from pellucid.remarks import by_text

_ROWS = {"per_image": "rows"}  # a tensor or list whose first axis is the images; or None or empty
_NESTED = {"per_image": "nested"}  # a dict in which tensors and lists of N entries are of that kind
_OF_ALL = "chosen"  # what in `details` is about the whole batch, whatever its length

R = TypeVar("R", bound="Record")


@dataclass(eq=False, repr=False)
class Record:
    """Why a model gave a batch of N pictures their scores, as data; `Explanation` says what each field is.

    Fields with one entry per image are declared by their metadata: see `PER_IMAGE`.
    """

    method: str
    options: dict[str, Any]
    attribution: Float[Tensor, "N D H W"] = field(metadata=_ROWS)
    raw: Tensor = field(metadata=_ROWS)
    target: list[int | None] = field(metadata=_ROWS)
    labels: list[str] = field(metadata=_ROWS)
    score: Float[Tensor, "N"] = field(metadata=_ROWS)
    output: str
    prediction: list[list[Prediction]] = field(metadata=_ROWS)
    model: str
    paper: str
    seed: int
    precision: str
    versions: dict[str, str]
    cost: Cost
    pictures: list[Picture] = field(metadata=_ROWS)
    boxes: list[Box] = field(metadata=_ROWS)
    layer: list[str] = field(default_factory=list)
    stderr: Tensor | None = field(default=None, metadata=_ROWS)
    delta: Tensor | None = field(default=None, metadata=_ROWS)
    details: dict[str, Any] = field(default_factory=dict, metadata=_NESTED)
    notes: list[list[str]] = field(default_factory=list, metadata=_ROWS)
    trace: dict[str, Any] = field(default_factory=dict, metadata=_NESTED)

    # --- one of many ---------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.attribution)

    def __iter__(self: R) -> Iterator[R]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self: R, index: Any) -> R:
        """The explanation of some of the images, as a batch. `cost` stays that of the whole batch.

        `index` is one image (negative: from the end), a slice, a picture's name, a list, array or tensor of
        whole numbers or names, or a mask of one bool per image. Of a name that several pictures share all
        are meant.

        Raises:
            NotFound: no such image, a mask of another length, or something that is no index.
        """
        at = positions(index, len(self), self.names)
        some: dict[str, Any] = {name: _rows(getattr(self, name), at) for name in _ROW_FIELDS}
        some |= {name: _nested(getattr(self, name), at, len(self)) for name in _NESTED_FIELDS}
        if ran := some["details"].get("precisions"):
            some["precision"] = max(ran, key=len)
        return replace(self, **some)

    @property
    def names(self) -> list[str]:
        """The names of the pictures."""
        return [picture.name for picture in self.pictures]

    @property
    def warnings(self) -> list[str]:
        """What a reader should know before trusting the maps; of several images, the names of those meant."""
        apart = len(set(self.names)) == len(self)
        names = self.names if apart else [f"image {i}" for i in range(len(self))]
        said = [(text, name) for name, notes in zip(names, self.notes, strict=False) for text in notes]
        every = ", ".join(names)
        return [text if about == every else f"{about}: {text}" for text, about in by_text(said).items()]

    @property
    def per_pixel(self) -> bool:
        """Whether the formula speaks of the input's own pixels, as gradients do: such maps are grainy."""
        return self.raw.ndim == 4

    @property
    def segmented(self) -> bool:
        """Whether the formula speaks of segments, each with a coefficient, as LIME's does."""
        return {"segments", "coefficients"} <= self.details.keys()


_ROW_FIELDS = tuple(one.name for one in fields(Record) if one.metadata == _ROWS)
_NESTED_FIELDS = tuple(one.name for one in fields(Record) if one.metadata == _NESTED)
PER_IMAGE = _ROW_FIELDS + _NESTED_FIELDS
"""The fields with one entry per image: some images of a batch are chosen in all of these, and in no other."""


def _rows(value: Any, at: range | list[int]) -> Any:
    """Some rows of a tensor, as a view where that can be, or of a list; None and [] are of no image."""
    if isinstance(value, Tensor):
        return value[at.start : at.stop : at.step] if isinstance(at, range) else value[at]
    return [value[i] for i in at] if value else value


def _nested(value: Any, at: range | list[int], count: int) -> Any:
    """The same of everything in a dict that has as many rows as there are images."""
    if isinstance(value, dict):  # also by layer
        return {name: item if name == _OF_ALL else _nested(item, at, count) for name, item in value.items()}
    return _rows(value, at) if per_image(value, count) else value


def per_image(value: Any, count: int) -> bool:
    """Whether a detail has an entry for each of so many images."""
    several = isinstance(value, list) or (isinstance(value, Tensor) and value.ndim > 0)
    return several and len(value) == count
