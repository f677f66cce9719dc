"""File names of results: short, readable, and never the same for two of them."""

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from pathlib import Path

LONGEST = 200  # bytes: file systems allow 255, and a suffix and a number follow


def picture_names(sources: Sequence[str]) -> list[str]:
    """The stem of each picture; where several share one, as much of their paths as tells them apart.

    >>> picture_names(["cats/tom.jpg", "dogs/rex.jpg", "dogs/tom.jpg", "sample:cat"])
    ['cats-tom', 'rex', 'dogs-tom', 'cat']
    >>> picture_names(["tom.jpg", "tom.png"])
    ['tom.jpg', 'tom.png']
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        groups[_forms(source, 0)[0].casefold()].append(source)
    names: dict[str, str] = {}
    for group in groups.values():
        longest = max(len(Path(source).parts) for source in group)
        for forms in zip(*(_forms(source, longest) for source in group), strict=True):
            if len({form.casefold() for form in forms}) == len(group):
                break
        names |= dict(zip(group, forms, strict=True))
    return [names[source] for source in sources]


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


def _forms(source: str, longest: int) -> list[str]:
    """What a picture may be called, from short to long: its stem, or its name, with folders before it."""
    path = Path(source.replace("sample:", "sample/") if source.startswith("sample:") else source)
    folders = [part for part in path.parts[:-1] if part != path.anchor]
    ends = [path.stem, path.name]
    return [
        _safe("-".join([*folders[max(0, len(folders) - depth) :], end])) or "picture"
        for end in ends
        for depth in range(longest + 1)
    ]


def _safe(text: str) -> str:
    return re.sub(r"[^\w.+=,-]+", "-", text).strip("-.")


def _cut(name: str) -> str:
    return name.encode()[:LONGEST].decode(errors="ignore")
