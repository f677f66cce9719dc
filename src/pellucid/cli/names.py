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
    ['cats-tom.jpg', 'rex', 'dogs-tom.jpg', 'cat']
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        alike[_form(source, 0).casefold()].append(source)
    names: dict[str, str] = {}
    for group in alike.values():
        longest = max(len(Path(source).parts) for source in group)
        for depth in range(longest + 1):
            forms = [_form(source, depth) for source in group]
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


def _form(source: str, depth: int) -> str:
    """A picture's stem, or its name with the `depth - 1` folders above it."""
    path = Path(source)
    if depth == 0:
        return (
            _safe(source.removeprefix("sample:") if source.startswith("sample:") else path.stem) or "picture"
        )
    return _safe("-".join(part for part in path.parts[-depth:] if part != path.anchor))


def _safe(text: str) -> str:
    return re.sub(r"[^\w.+=,-]+", "-", text).strip("-.")


def _cut(name: str) -> str:
    return name.encode()[:LONGEST].decode(errors="ignore")
