"""What results have to say in words: each text once, with the names of all that it is about."""

from collections.abc import Iterable, Sequence

Said = tuple[str, str, str]
"""A text, the picture that it is about, and the method, with target and model where there are several."""
FEW = 4
"""Of more names than these all together are counted, not listed."""


def grouped_remarks(
    said: Iterable[Said], pictures: Sequence[str] = (), asked: Sequence[str] = ()
) -> list[str]:
    """Each text once, in order of appearance, behind the names of the pictures and methods it is about.

    Args:
        said: text, picture and method of each remark.
        pictures: all that there are; where a text is about all of many, their number stands for them.
        asked: all methods, likewise.

    Example:
        >>> grouped_remarks([("flat", "cat", "cam"), ("odd", "cat", "cam"), ("flat", "dog", "cam")])
        ['cat, dog · cam: flat', 'cat · cam: odd']
        >>> grouped_remarks([("flat", name, "cam") for name in "abcdef"], pictures="abcdef")
        ['all 6 pictures · cam: flat']
        >>> grouped_remarks([("flat", "cat", "cam"), ("flat", "dog", "rise")])
        ['cat · cam; dog · rise: flat']
    """
    by_text: dict[str, dict[str, list[str]]] = {}
    for text, picture, method in said:
        by_text.setdefault(text, {}).setdefault(method, []).append(picture)
    told = []
    for text, by_method in by_text.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for method, some in by_method.items():
            alike.setdefault(tuple(dict.fromkeys(some)), []).append(method)
        about = [
            f"{_listed(some, pictures, 'pictures')} · {_listed(methods, asked, 'methods')}"
            for some, methods in alike.items()
        ]
        told.append(f"{'; '.join(about)}: {text}")
    return told


def by_text(said: Iterable[tuple[str, str]]) -> dict[str, str]:
    """For each text the names that it was said of, listed: {"flat": "cat, dog"}.

    Example:
        >>> by_text([("flat", "cat"), ("odd", "cat"), ("flat", "dog"), ("flat", "dog")])
        {'flat': 'cat, dog', 'odd': 'cat'}
    """
    found: dict[str, list[str]] = {}
    for text, name in said:
        found.setdefault(text, []).append(name)
    return {text: ", ".join(dict.fromkeys(names)) for text, names in found.items()}


def _listed(names: Sequence[str], every: Sequence[str], what: str) -> str:
    """The names; of all that there are, if they are many, their number."""
    whole = set(every)
    if len(whole) > FEW and set(names) == whole:
        return f"all {len(whole)} {what}"
    return ", ".join(names)
