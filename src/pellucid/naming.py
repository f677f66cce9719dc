"""Short names of pictures, told apart by as much of their paths as that takes."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path


def short_names(sources: Sequence[str], written: Callable[[str], str] = str) -> list[str]:
    """The stem of each picture; where several share one, as much of their paths as tells them apart.

    Args:
        sources: paths, or samples; one that comes twice has one name.
        written: how a name is written.

    >>> short_names(["cats/tom.jpg", "dogs/rex.jpg", "dogs/tom.jpg", "sample:cat"])
    ['cats/tom', 'rex', 'dogs/tom', 'cat']
    >>> short_names(["tom.jpg", "tom.png"])
    ['tom.jpg', 'tom.png']
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for source in dict.fromkeys(sources):
        groups[_forms(source, 0, written)[0].casefold()].append(source)
    names: dict[str, str] = {}
    for group in groups.values():
        longest = max(len(Path(source).parts) for source in group)
        for forms in zip(*(_forms(source, longest, written) for source in group), strict=True):
            if len({form.casefold() for form in forms}) == len(group):
                break
        names |= dict(zip(group, forms, strict=True))
    return [names[source] for source in sources]


def _forms(source: str, longest: int, written: Callable[[str], str]) -> list[str]:
    """What a picture may be called, from short to long: its stem, or its name, with folders before it."""
    path = Path(source.replace("sample:", "sample/") if source.startswith("sample:") else source)
    folders = [part for part in path.parts[:-1] if part != path.anchor]
    ends = [path.stem, path.name]
    return [
        written("/".join([*folders[max(0, len(folders) - depth) :], end])) or "picture"
        for end in ends
        for depth in range(longest + 1)
    ]
