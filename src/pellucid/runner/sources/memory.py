"""Pictures that are in memory: images, arrays, ready inputs, data sets of PyTorch's kind."""

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pellucid.errors import InvalidType, InvalidValue, NotFound, PellucidError, PictureError, first_line
from pellucid.gathering import as_input
from pellucid.images import Picture, open_pictures
from pellucid.input_tensors import checked_tensor, refuse_nonfinite
from pellucid.runner.sources import places
from pellucid.runner.sources.reading import digest_of, read_picture
from pellucid.runner.sources.source import BATCH, Part, batch_of
from pellucid.structures import tensor_of

if TYPE_CHECKING:
    import pyarrow

MEMORY = "memory:"
"""The address of what is in memory; the member is its number."""
IMAGE_KEYS = ("image", "img", "pixel_values", "picture", "path")
LABEL_KEYS = ("label", "labels", "target", "class")
NOTHING = "There must be at least one source; got none: name a folder, a list or pictures."


@dataclass(frozen=True)
class MemoryReader:
    """Reads rows of what is in memory by their numbers, and all other rows as `read_picture` does.

    It can be pickled where the things can.

    Attributes:
        held: sequences of things, one after the other.
    """

    held: Sequence[Any]
    _ends: list[int] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        total = 0
        for one in self.held:
            total += len(one)
            self._ends.append(total)

    def item(self, number: int) -> Any:
        """The thing of a number.

        Raises:
            NotFound: there is none.
        """
        holder = bisect_right(self._ends, number)
        if number < 0 or holder == len(self._ends):
            raise NotFound(f"There are {self._ends[-1]} things in memory; got number {number}.")
        return self.held[holder][number - (self._ends[holder - 1] if holder else 0)]

    def __call__(
        self, uri: str, member: str | None = None, id: str | None = None, *, range: Any = None
    ) -> tuple[Picture | Tensor, str]:
        """The picture, or the ready input (C, H, W), and a digest: of pixels where there is no file.

        Raises:
            PellucidError: as for `read_picture`; a data set that fails.
        """
        if uri != MEMORY:
            return read_picture(uri, member, id, range=range)
        called = id or f"{MEMORY}{member}"
        try:
            thing, _ = taken_apart(self.item(int(member or 0)))
        except PellucidError:
            raise
        except Exception as error:  # whatever a data set of the user's raises
            raise PictureError(f"{called}: its data set failed to give it: {first_line(error)}.") from error
        if isinstance(thing, str | os.PathLike):
            return read_picture(places.absolute(thing), None, called, range=range)
        if isinstance(thing, Tensor) or (isinstance(thing, np.ndarray) and thing.dtype.kind == "f"):
            return ready_input(thing, called)
        (opened,) = open_pictures([thing], range=range)
        pixels = opened.opened
        return opened, digest_of(f"{pixels.mode} {pixels.size}".encode() + pixels.tobytes())


def ready_input(thing: Any, called: str) -> tuple[Tensor, str]:
    """A float tensor or array (C, H, W) as the model's own input, and its digest.

    Raises:
        PellucidError: it is none.
    """
    values = checked_tensor(tensor_of(as_input(thing) if isinstance(thing, np.ndarray) else thing)).cpu()
    if values.ndim != 3:
        raise InvalidValue(f"{called}: a ready input must be (C, H, W); got {tuple(values.shape)}.")
    refuse_nonfinite(values[None])
    if values.dtype == torch.bfloat16:
        values = values.float()
    data = values.contiguous().numpy()
    hashed = hashlib.blake2b(f"{data.dtype} {data.shape}".encode(), digest_size=16)
    hashed.update(np.ascontiguousarray(data).data)
    return values, hashed.hexdigest()


def taken_apart(item: Any) -> tuple[Any, Any]:
    """An item of a data set: its picture, and its label or None."""
    if isinstance(item, Mapping):
        picture = next((item[key] for key in IMAGE_KEYS if key in item), None)
        if picture is None:
            raise PictureError(
                f"An item that is a mapping must have its picture under {', '.join(IMAGE_KEYS)}; it has "
                f"{', '.join(map(repr, item))}."
            )
        return picture, next((item[key] for key in LABEL_KEYS if key in item), None)
    if isinstance(item, tuple | list):
        if not item:
            raise PictureError("An item must be a picture, or (picture, label); got an empty tuple.")
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def is_data_set(thing: Any) -> bool:
    """Whether something gives its items by number, and is neither a picture nor a plain list."""
    plain = (str, bytes, os.PathLike, Mapping, list, tuple, np.ndarray, Tensor, Image.Image, Picture)
    return not isinstance(thing, plain) and hasattr(thing, "__getitem__") and hasattr(thing, "__len__")


def held_part(things: Any, first: int, *, label: str | None = None, kind: str = "memory") -> Part:
    """The rows of things that are in memory.

    Args:
        things: a sequence, an array or tensor over its first axis, or a data set.
        first: the number of the first one.
        label: "none" for no labels.
        kind: what the description calls it.
    """
    count = len(things)
    classes = class_names(things)
    known = None if label == "none" else labels_of(things)
    read = known is None and label != "none" and has_labels(things)

    def batches() -> Iterator["pyarrow.RecordBatch"]:
        for start in range(0, count, BATCH):
            stop = min(start + BATCH, count)
            numbers = [str(first + i) for i in range(start, stop)]
            columns: dict[str, Any] = {
                "id": [f"{MEMORY}{number}" for number in numbers],
                "uri": [MEMORY] * len(numbers),
                "member": numbers,
            }
            if known is not None:
                columns["label"] = [label_text(known[i], classes) for i in range(start, stop)]
            elif read:
                columns["label"] = [label_text(label_at(things, i), classes) for i in range(start, stop)]
            yield batch_of(columns)

    labels = "of the data set" if known is not None else "of each item, read once more" if read else None
    description = {"kind": kind, "type": type(things).__name__, "count": count, "labels": labels}
    return Part(description, batches, classes=classes, count=count, what=f"The {type(things).__name__}")


def label_at(things: Any, number: int) -> Any:
    """The label of an item; None where the item cannot be read, as whoever reads it will be told."""
    with suppress(Exception):
        return taken_apart(things[number])[1]
    return None


def has_labels(things: Any) -> bool:
    """Whether the first item has one; tensors and arrays are not asked."""
    if isinstance(things, Tensor | np.ndarray) or not len(things):
        return False
    return label_at(things, 0) is not None


def labels_of(things: Any) -> Sequence[Any] | None:
    """The labels that a data set keeps beside its items, as torchvision's do; of a subset, its part."""
    inner, indices = getattr(things, "dataset", None), getattr(things, "indices", None)
    if inner is not None and indices is not None:
        labels = labels_of(inner)
        return None if labels is None else [labels[int(i)] for i in indices]
    found = getattr(things, "targets", None)
    if found is None or not hasattr(found, "__len__") or len(found) != len(things):
        return None
    return found.tolist() if isinstance(found, Tensor | np.ndarray) else list(found)


def class_names(things: Any) -> list[str] | None:
    """The names of classes that a data set knows: torchvision's `classes`, Hugging Face's features."""
    inner = getattr(things, "dataset", None)
    if inner is not None and hasattr(things, "indices"):
        return class_names(inner)
    names = getattr(things, "classes", None)
    features = getattr(things, "features", None)
    if names is None and isinstance(features, Mapping):
        names = next((getattr(features[key], "names", None) for key in LABEL_KEYS if key in features), None)
    if isinstance(names, Sequence) and names and all(isinstance(name, str) for name in names):
        return list(names)
    return None


def label_text(value: Any, classes: Sequence[str] | None) -> str | None:
    """A label as a plan has it: a name, or a number in digits."""
    if value is None:
        return None
    if isinstance(value, Tensor | np.ndarray | np.generic):
        if np.prod(value.shape) != 1:
            return None  # of several classes
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and classes and 0 <= value < len(classes):
        return classes[value]
    return str(value)


def listed(things: Iterable[Any]) -> tuple[Part | None, list[Any]]:
    """What an iterator gives: a part that streams paths, or all of what else there is.

    Raises:
        InvalidValue: there is nothing.
    """
    rest = iter(things)
    first = list(islice(rest, 1))
    if not first:
        raise InvalidValue(NOTHING)
    if not isinstance(first[0], str | os.PathLike):
        return None, [*first, *rest]
    return streamed(chain(first, rest)), []


def streamed(paths: Iterator[Any]) -> Part:
    """Rows of paths that come one by one, never together."""
    started = False

    def batches() -> Iterator["pyarrow.RecordBatch"]:
        nonlocal started
        if started:
            raise InvalidValue("An iterator can be gone through once; to do it again, pass a list of paths.")
        started = True
        while named := list(islice(paths, BATCH)):
            for one in named:
                if not isinstance(one, str | os.PathLike):
                    raise InvalidType(
                        f"An iterator that began with paths must go on so; got {type(one).__name__}: pass "
                        "paths, or pictures, in an iterator of their own."
                    )
            texts = [os.fspath(one) for one in named]
            yield batch_of({"id": texts, "uri": [places.absolute(one) for one in texts]})

    return Part({"kind": "iterator"}, batches, what="The iterator")
