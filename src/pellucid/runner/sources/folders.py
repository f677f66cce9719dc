"""Folders, globs and single pictures; the names of class folders as labels."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pellucid.choices import SUFFIXES
from pellucid.runner.schema import arrow
from pellucid.runner.sources import places
from pellucid.runner.sources.source import BATCH, Part, batch_of
from pellucid.runner.sources.walking import ALL, walk

if TYPE_CHECKING:
    import pyarrow

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"})
"""Names of folders that are parts of a data set, and no classes."""


def folder_part(
    root: str,
    given: str,
    *,
    parts: tuple[str, ...] = ALL,
    label: str | None = None,
    prefix: str = "",
    names: Sequence[str] | None = None,
) -> Part:
    """The pictures below a folder, or those that a glob means.

    Args:
        root: the folder.
        given: as the user wrote it.
        parts: the glob below the folder.
        label: "folder" for labels that are the names of folders, "none" for none, None for what a look says:
            none for a glob.
        prefix: before each picture's id.
        names: what is in the folder, where it was listed already.
    """
    whole = parts == ALL
    level: int | None = None
    classes: list[str] | None = None
    if label == "folder" or (whole and label is None):
        inside = places.listing(root) if names is None else names
        level, classes = class_level(root, inside)
        if label == "folder" and level is None:
            level, classes = 0, _folders(inside)
    description = {
        "kind": "folder" if whole else "glob",
        "source": given,
        "labels": None if level is None else {"from": "folders", "level": level + 1},
    }

    def batches() -> Iterator["pyarrow.RecordBatch"]:
        for names in in_batches(walk(root, SUFFIXES, parts)):
            yield _rows(root, names, level, prefix)

    what = f"{given} (looked for {', '.join(SUFFIXES)}; results of earlier explanations are left out)"
    return Part(description, batches, classes=classes, what=what)


def class_level(root: str, inside: Sequence[str]) -> tuple[int | None, list[str] | None]:
    """At which level folders are classes, from 0, and their names; None where they are none.

    They are classes where there are at least two and no picture beside them; where their names are those of
    parts of a data set (train, val, test), the folders in these are.
    """
    at_root = _folders(inside)
    if len(at_root) < 2 or has_pictures(inside):
        return None, None
    if not set(map(str.lower, at_root)) <= SPLITS:
        return 0, at_root
    within = [places.listing(places.join(root, name)) for name in at_root]
    names = sorted({name for one in within for name in _folders(one)})
    return (None, None) if len(names) < 2 or any(map(has_pictures, within)) else (1, names)


def has_pictures(names: Sequence[str]) -> bool:
    """Whether some of a folder's names are those of pictures."""
    return any(places.suffix_of(name) in SUFFIXES for name in names if name[-1] != "/" and name[0] != ".")


def _folders(names: Sequence[str]) -> list[str]:
    return sorted(name[:-1] for name in names if name[-1] == "/" and name[0] != ".")


def in_batches(pieces: Iterator[list[str]]) -> Iterator[list[str]]:
    """Lists joined to the size of a batch, or a little more."""
    joined: list[str] = []
    for piece in pieces:
        joined += piece
        if len(joined) >= BATCH:
            yield joined
            joined = []
    if joined:
        yield joined


def _rows(root: str, names: list[str], level: int | None, prefix: str) -> "pyarrow.RecordBatch":
    pa = arrow()
    import pyarrow.compute as pc

    before = root.rstrip("/") + "/"
    try:
        paths = pa.array(names, pa.string())
        uris = pc.binary_join_element_wise(before, paths, "")
    except UnicodeEncodeError:  # names of files that are not UTF-8
        uris = pa.array(
            [before + name if _is_text(before + name) else places.odd_path(before + name) for name in names]
        )
        paths = pa.array([name.encode(errors="surrogateescape").decode(errors="backslashreplace")
                          for name in names], pa.string())  # fmt: skip
    columns = {"id": pc.binary_join_element_wise(prefix, paths, "") if prefix else paths, "uri": uris}
    if level is not None:
        folders = pc.split_pattern(paths, "/", max_splits=level + 1)
        deep = pc.greater(pc.list_value_length(folders), level + 1)
        # Not deep enough: no label; the list is filled up so that there is something to take.
        columns["label"] = pc.if_else(deep, _element(folders, level), pa.scalar(None, pa.string()))
    return batch_of(columns)


def _element(lists: Any, position: int) -> Any:
    """The element of each list at a position, or its last one."""
    import pyarrow.compute as pc

    lengths = pc.list_value_length(lists)
    at = pc.min_element_wise(position, pc.subtract(lengths, 1))
    return lists.flatten().take(pc.add(lists.offsets.slice(0, len(lists)), at))


def _is_text(name: str) -> bool:
    return name.isprintable() or all(not 0xD800 <= ord(letter) < 0xE000 for letter in name)


def pictures_part(given: Sequence[str]) -> Part:
    """Pictures that were named one by one."""

    def batches() -> Iterator["pyarrow.RecordBatch"]:
        for start in range(0, len(given), BATCH):
            named = list(given[start : start + BATCH])
            yield batch_of({"id": named, "uri": [places.absolute(one) for one in named]})

    some = list(given) if len(given) <= 8 else [*given[:4], "…", *given[-4:]]
    return Part(
        {"kind": "pictures", "count": len(given), "named": some},
        batches,
        count=len(given),
        what="The list of pictures",
    )
