"""What a user passes as images -> a list of pictures: folders, globs and generators unfolded."""

import glob
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pellucid.errors import InvalidType, InvalidValue
from pellucid.images import Picture, find_pictures


@dataclass(frozen=True)
class Source:
    """A picture as it was passed; `found` in a folder or by a glob, nobody named it."""

    given: Any
    found: bool = False


def sources_of(images: Any) -> list[Source]:
    """The pictures that were passed, in order: a folder gives those below it, a glob those it matches.

    A picture named twice stays twice, so that targets given per image fit.

    Raises:
        InvalidValue: nothing came.
        FileMissing: a folder or glob holds no picture.

    Example:
        >>> sources_of("sample:cat")
        [Source(given='sample:cat', found=False)]
        >>> [source.given for source in sources_of(name for name in ("a.png", "a.png"))]
        ['a.png', 'a.png']
    """
    alone = isinstance(images, str | Path | Image.Image | np.ndarray | Picture)
    if alone or isinstance(images, bytes | Mapping) or not isinstance(images, Iterable):
        sources = [images]
    else:
        sources = list(images)
    if not sources:
        raise InvalidValue(f"There must be at least one image; got an empty {type(images).__name__}.")
    found: list[Source] = []
    for source in sources:
        if isinstance(source, str | Path) and _several(source):
            found += [Source(path, found=True) for path in find_pictures([source])]
        else:
            found.append(Source(source))
    return found


def _several(source: str | Path) -> bool:
    """Whether a path is a folder or a glob."""
    text = str(source)
    return os.path.isdir(text) or (glob.has_magic(text) and not os.path.exists(text))


def as_input(array: np.ndarray) -> np.ndarray:
    """An array of floats as the model's own input, (C, H, W) or (N, C, H, W).

    Raises:
        InvalidType: it looks like a picture, (H, W, C), whose range is not known.
    """
    if array.ndim in (3, 4) and array.shape[-1] in (1, 3, 4) and array.shape[-3] not in (1, 3, 4):
        raise InvalidType(
            "An array of floats is the model's own input, (C, H, W) or (N, C, H, W); got "
            f"{array.shape}, which looks like a picture (H, W, C): pass its 8-bit pixels (uint8), or "
            "array.transpose(2, 0, 1) if it is a ready input."
        )
    return array
