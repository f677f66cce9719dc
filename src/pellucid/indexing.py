"""Which of several images an index names."""

import difflib
import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
from torch import Tensor

from pellucid.errors import NotFound


def positions(index: Any, count: int, names: Sequence[str] = ()) -> range | list[int]:
    """The images that an index names, from 0 on; a range where their tensors can stay views.

    Args:
        index: a whole number (negative: from the end), a slice, a name, a list, array or tensor of whole
            numbers or names, or one of bools, a mask.
        count: how many images there are.
        names: what they are called; a name that several have means all of those.

    Raises:
        NotFound: no such image, a mask of another length, or something that is no index.

    Example:
        >>> positions(-1, 4), positions(slice(1, None, 2), 4), positions([True, False, False, True], 4)
        (range(3, 4), range(1, 4, 2), [0, 3])
    """
    if isinstance(index, slice):
        sliced = range(count)[index]
        return sliced if sliced.step > 0 else list(sliced)
    if isinstance(index, Tensor | np.ndarray):
        index = index.tolist()
    if isinstance(index, str):
        return _named(index, names)
    if not isinstance(index, list | tuple | range):
        at = _position(index, count)
        return range(at, at + 1)
    if any(isinstance(one, bool | np.bool_) for one in index):
        if len(index) != count or not all(isinstance(one, bool | np.bool_) for one in index):
            raise NotFound(f"A mask must have one bool for each of {count} images; got {len(index)} values.")
        return [i for i, kept in enumerate(index) if kept]
    found: list[int] = []
    for one in index:
        found += _named(one, names) if isinstance(one, str) else [_position(one, count)]
    return found


def _named(name: str, names: Sequence[str]) -> list[int]:
    found = [i for i, known in enumerate(names) if known == name]
    if not found:
        close = difflib.get_close_matches(name, names, 3) or list(dict.fromkeys(names))[:5]
        raise NotFound(f"A name must be that of a picture, such as {', '.join(close)}; got {name!r}.")
    return found


def _position(index: Any, count: int) -> int:
    if isinstance(index, bool | np.bool_) or not isinstance(index, SupportsIndex):
        raise NotFound(
            "An index must be a whole number, a slice, a picture's name, or a list, array or tensor of whole "
            f"numbers, of names or of one bool per image; got {index!r}."
        )
    at = operator.index(index)
    if not -count <= at < count:
        raise NotFound(f"index must be from {-count} to {count - 1}, for {count} images; got {at}.")
    return at % count
