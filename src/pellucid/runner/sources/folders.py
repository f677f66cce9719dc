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
    root: str, given: str, *, parts: tuple[str, ...] = ALL, label: str | None = None, prefix: str = ""
) -> Part:
    """The pictures below a folder, or those that a glob means.

    Args:
        root: the folder.
        given: as the user wrote it.
        parts: the glob below the folder.
        label: "folder" for labels that are the names of folders, "none" for none, None for what a look says.
        prefix: before each picture's id.
    """
    whole = parts == ALL
    level, classes = (None, None) if label == "none" else class_level(root)
    if label is None and not whole:
        level = classes = None
    if label == "folder" and level is None:
        level = 0
        classes = sorted(n[:-1] for n in places.listing(root) if n.endswith("/") and not n.startswith("."))
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


def class_level(root: str) -> tuple[int | None, list[str] | None]:
    """At which level folders are classes, from 0, and their names; None where they are none.

    They are classes where there are at least two and no picture beside them; where their names are those of
    parts of a data set (train, val, test), the folders in these are.
    """
    at_root = _folders(root)
    if at_root is None or len(at_root) < 2:
        return None, None
    if not set(map(str.lower, at_root)) <= SPLITS:
        return 0, at_root
    within = [_folders(places.join(root, name)) for name in at_root]
    names = sorted({name for one in within if one is not None for name in one})
    return (None, None) if None in within or len(names) < 2 else (1, names)


def _folders(folder: str) -> list[str] | None:
    """The folders in a folder, sorted; None where there are pictures beside them."""
    names = [name for name in places.listing(folder) if not name.startswith(".")]
    if any(places.suffix_of(name) in SUFFIXES for name in names if not name.endswith("/")):
        return None
    return sorted(name[:-1] for name in names if name.endswith("/"))


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
