"""Which of several images an index names."""

import operator
from typing import Any, SupportsIndex

import numpy as np
from torch import Tensor


def positions(index: Any, count: int) -> range | list[int]:
    """The images that an index names, from 0 on; a range where their tensors can stay views.

    Args:
        index: a whole number (negative: from the end), a slice, a list, array or tensor of whole numbers, or
            one of bools, a mask.
        count: how many images there are.

    Raises:
        IndexError: no such image, a mask of another length, or something that is no index.

    Example:
        >>> positions(-1, 4), positions(slice(1, None, 2), 4), positions([True, False, False, True], 4)
        (range(3, 4), range(1, 4, 2), [0, 3])
    """
    if isinstance(index, slice):
        found = range(count)[index]
        return found if found.step > 0 else list(found)
    if isinstance(index, Tensor | np.ndarray):
        index = index.tolist()
    if not isinstance(index, list | tuple | range):
        at = _position(index, count)
        return range(at, at + 1)
    if any(isinstance(one, bool | np.bool_) for one in index):
        if len(index) != count or not all(isinstance(one, bool | np.bool_) for one in index):
            raise IndexError(
                f"A mask must have one bool for each of {count} images; got {len(index)} values."
            )
        return [i for i, kept in enumerate(index) if kept]
    return [_position(one, count) for one in index]


def _position(index: Any, count: int) -> int:
    if isinstance(index, bool | np.bool_) or not isinstance(index, SupportsIndex):
        raise IndexError(
            "An index must be a whole number, a slice, or a list, array or tensor of whole numbers or of one "
            f"bool per image; got {index!r}."
        )
    at = operator.index(index)
    if not -count <= at < count:
        raise IndexError(f"index must be from {-count} to {count - 1}, for {count} images; got {at}.")
    return at % count
