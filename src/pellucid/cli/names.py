"""File names of results: short, readable, and never the same for two of them."""

import re
from collections.abc import Sequence
from itertools import count

from pellucid.naming import short_names

LONGEST = 200  # bytes: file systems allow 255, and a suffix and a number follow


def picture_names(sources: Sequence[str]) -> list[str]:
    """Short names of pictures, see `short_names`, that are safe for every file system.

    >>> picture_names(["cats/my tom.jpg", "dogs/my tom.jpg"])
    ['cats-my-tom', 'dogs-my-tom']
    """
    return short_names(sources, _safe)


def file_names(parts: Sequence[Sequence[str]]) -> list[str]:
    """Parts joined by dots, made safe for every file system; repeated names are numbered.

    >>> file_names([["cat", "grad-cam++"], ["cat", "cam", "tiger cat"], ["Cat", "cam", "tiger/cat"]])
    ['cat.grad-cam++', 'cat.cam.tiger-cat', 'Cat.cam.tiger-cat-2']
    """
    taken: set[str] = set()
    names = []
    for some in parts:
        name = _cut(".".join(filter(None, map(_safe, some))))
        unique = next(
            form for n in count(1) if (form := name if n == 1 else f"{name}-{n}").casefold() not in taken
        )
        taken.add(unique.casefold())
        names.append(unique)
    return names


def _safe(text: str) -> str:
    return re.sub(r"[^\w.+=,-]+", "-", text).strip("-.")


def _cut(name: str) -> str:
    return name.encode()[:LONGEST].decode(errors="ignore")
