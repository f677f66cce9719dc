"""Class names: however they come, one for each class, in order."""

import difflib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import index as as_index
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from pellucid.errors import FileMissing, InvalidType, InvalidValue

LabelsLike = Sequence[Any] | Mapping[Any, Any] | np.ndarray
_FORMS = (
    "a list or array with one name per class, {index: name}, {name: index} or the Path of a file of these"
)
MOST = 12
"""Classes that are listed where a name is a word of several."""


def class_names(labels: Any) -> tuple[str, ...]:
    """One name per class, in order: of a list, tuple or array, {index: name}, {name: index} or a file.

    Raises:
        InvalidType: something without an order, a string, or names that are no strings or whole numbers.
        InvalidValue: a mapping that does not name each class from 0 on once, a file that cannot be read so.
        FileMissing: there is no such file.

    Example:
        >>> class_names({1: "dog", 0: "cat"}), class_names({"cat": 0, "dog": 1}), class_names([3, 5])
        (('cat', 'dog'), ('cat', 'dog'), ('3', '5'))
    """
    if isinstance(labels, Path):
        return read_labels(labels)
    if isinstance(labels, Mapping):
        return tuple(map(_name, _in_order(labels)))
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if isinstance(labels, str | bytes) or not isinstance(labels, Sequence):
        came = repr(labels) if isinstance(labels, str) else type(labels).__name__
        raise InvalidType(f"labels must be a sequence with one name per class: {_FORMS}; got {came}.")
    return tuple(map(_name, labels))


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Class names from a text file, one a line, or from JSON: a list, {index: name} or {name: index}.

    Lines that are empty are left out; a file of JSON is one that begins with [ or {.

    Raises:
        FileMissing: there is no such file.
        InvalidValue: the file is not text, is empty, or its JSON does not name each class once.
    """
    try:
        text = Path(path).read_text("utf-8-sig").strip()
    except (FileNotFoundError, IsADirectoryError):
        raise FileMissing(f"There is no file of labels {str(path)!r}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path} cannot be read as text, one label a line: {error}.") from error
    if not text:
        raise InvalidValue(f"{path} must hold one label a line, or JSON; it is empty.")
    if text[0] not in "[{":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        return class_names(json.loads(text))
    except (json.JSONDecodeError, InvalidType, InvalidValue) as error:
        reason = f"JSON that is broken ({error})" if isinstance(error, json.JSONDecodeError) else str(error)
        raise InvalidValue(f"{path}: {reason}") from error


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


Labels = tuple[str, ...] | None
"""One name for each class, where they are known."""


def class_label(labels: Labels, index: int) -> str:
    """The name of class `index`, its synonyms left out where that stays unambiguous; "class 282" if none."""
    if labels is None or not 0 <= index < len(labels):
        return f"class {index}"
    whole = labels[index]
    short = synonyms(whole)[0]
    return short if short and first_names(labels)[short] == 1 else whole


def find_class(labels: Labels, target: SupportsIndex | str, model: str) -> int:
    """The class of a `model` meant by an index, a whole label, or a synonym.

    Articles, plurals and the order of words do not count. Names that have the words and others are listed.
    Upper and lower case are one. A string of digits is an index unless a class has that very name.

    Raises:
        InvalidValue: an index out of range, an unknown name (the closest ones are named), a name of
            several classes, or only a part of names (they are named).
        InvalidType: neither a whole number nor a string.
    """
    if isinstance(target, bool) or not isinstance(target, SupportsIndex | str):
        raise InvalidType(f"A class must be an index or a name; got {type(target).__name__}.")
    if not isinstance(target, str):
        return _in_range(labels, as_index(target))
    found = _named(labels or (), target)
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        which = ", ".join(f"{i} ({(labels or ())[i]})" for i in found)
        raise InvalidValue(f"{target!r} must name one class; it names {which}: pass the index.")
    if target.strip().isdecimal():
        return _in_range(labels, int(target))
    if labels is None:
        raise InvalidValue(f"{model} has no class names: pass a class index; got {target!r}.")
    found = with_words(labels, target)
    whole = [i for i in found if any(_said(target) == _said(one) for one in synonyms(labels[i]))]
    if len(whole) == 1:
        return whole[0]
    if found:  # one of its words may be "no"
        which = "name" if len(found) == 1 else "names"
        raise InvalidValue(
            f"{target!r} must name one class; it is in the {which} of {listed(labels, found)}: pass a whole "
            "name or the index."
        )
    close = closest(labels, target)
    hint = f"the closest are {', '.join(close)}" if close else "see model.labels"
    raise InvalidValue(f"{model} has no class {target!r}: {hint}.")


def _in_range(labels: Labels, index: int) -> int:
    if index < 0 or (labels is not None and index >= len(labels)):
        last = f"from 0 to {len(labels) - 1}" if labels else "0 or more"
        raise InvalidValue(f"A class index must be {last}; got {index}.")
    return index


def _named(labels: tuple[str, ...], name: str) -> list[int]:
    """The classes `name` fits best: spelled exactly so, else in another case, else as a synonym."""
    return (
        [i for i, label in enumerate(labels) if label == name]
        or [i for i, label in enumerate(labels) if folded(label) == folded(name)]
        or [i for i, label in enumerate(labels) if folded(name) in map(folded, synonyms(label))]
    )


def with_words(labels: Sequence[str], name: str) -> list[int]:
    """The classes one of whose synonyms holds all words of a name, in the singular or plural.

    Example:
        >>> with_words(["tabby, tabby cat", "crate", "Egyptian cat", "cats eye"], "Cat")
        [0, 2, 3]
    """
    asked = _said(name)
    return [i for i, label in enumerate(labels) if asked and any(asked <= _words(s) for s in synonyms(label))]


def _said(name: str) -> set[str]:
    return _words(name) - {"a", "an", "the"}


def _words(name: str) -> set[str]:
    words = "".join(c if c.isalnum() else " " for c in folded(name)).split()
    return {word.removesuffix("s") if len(word) > 3 else word for word in words}


def listed(labels: Sequence[str], classes: Sequence[int]) -> str:
    """Some classes as a message lists them: "281 (tabby), 285 (Egyptian cat)"."""
    shown = ", ".join(f"{i} ({synonyms(labels[i])[0]})" for i in classes[:MOST])
    return shown + (f" and {len(classes) - MOST} more" if len(classes) > MOST else "")


def closest(labels: Sequence[str], name: str) -> list[str]:
    """The names that are spelled most like one that no class has."""
    names = [one for label in labels for one in (label, *synonyms(label))]
    return difflib.get_close_matches(folded(name), dict.fromkeys(map(folded, names)), n=3)
