"""Class names: however they come, one for each class, in order."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pellucid.errors import InvalidType, InvalidValue

LabelsLike = Sequence[Any] | Mapping[Any, Any] | np.ndarray
_FORMS = "a list or array with one name per class, {index: name} or {name: index}"


def class_names(labels: Any) -> tuple[str, ...]:
    """One name per class, in order: of a list, tuple or array, {index: name} or {name: index}.

    Raises:
        InvalidType: something without an order, a string, or names that are no strings or whole numbers.
        InvalidValue: a mapping that does not name each class from 0 on once.

    Example:
        >>> class_names({1: "dog", 0: "cat"}), class_names({"cat": 0, "dog": 1}), class_names([3, 5])
        (('cat', 'dog'), ('cat', 'dog'), ('3', '5'))
    """
    if isinstance(labels, Mapping):
        return tuple(map(_name, _in_order(labels)))
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if isinstance(labels, str | bytes) or not isinstance(labels, Sequence):
        came = repr(labels) if isinstance(labels, str) else type(labels).__name__
        raise InvalidType(f"labels must be a sequence with one name per class: {_FORMS}; got {came}.")
    return tuple(map(_name, labels))


def _in_order(labels: Mapping[Any, Any]) -> list[Any]:
    for pairs in (labels.items(), [(value, name) for name, value in labels.items()]):
        by_index = {_index(key): name for key, name in pairs}
        if len(by_index) == len(labels) and set(by_index) == set(range(len(labels))):
            return [by_index[i] for i in range(len(labels))]
    shown = dict(list(labels.items())[:3])
    raise InvalidValue(
        f"labels must name each class from 0 to {max(0, len(labels) - 1)} once, as {{index: name}} or "
        f"{{name: index}}; got {shown}{' and more' if len(labels) > 3 else ''}."
    )


def _index(value: Any) -> int | None:
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    return int(value) if isinstance(value, str) and value.isdecimal() else None


def _name(value: Any) -> str:
    if isinstance(value, bytes | np.bytes_):
        return value.decode()
    if isinstance(value, str) or (isinstance(value, int | np.integer) and not isinstance(value, bool)):
        return str(value)
    raise InvalidType(f"A class's name must be a string or a whole number; got {type(value).__name__}.")


def config_labels(config: Any) -> tuple[str, ...] | None:
    """The class names of a transformers config; none where they are placeholders ("LABEL_0")."""
    names: Mapping[int, str] = getattr(config, "id2label", None) or {}
    if sorted(names) != list(range(len(names))) or all(names[i] == f"LABEL_{i}" for i in names):
        return None
    return tuple(names[i] for i in range(len(names)))


def synonyms(label: str) -> list[str]:
    """The names that one label holds, separated by commas."""
    return [part.strip() for part in label.split(",")]


@lru_cache(maxsize=8)
def first_names(labels: tuple[str, ...]) -> Counter[str]:
    """How many classes have each first synonym."""
    return Counter(synonyms(label)[0] for label in labels)


def folded(name: str) -> str:
    """A name whose case, underscores and spaces do not count."""
    return " ".join(name.replace("_", " ").casefold().split())
