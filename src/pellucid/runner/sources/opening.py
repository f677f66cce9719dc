"""Whatever a user names as a data set -> a source."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, get_args

import numpy as np
from torch import Tensor

from pellucid.choices import SUFFIXES, BoxFormat, SourceKind
from pellucid.errors import FileMissing, InvalidType, InvalidValue
from pellucid.gathering import as_input
from pellucid.images import Picture
from pellucid.input_tensors import checked_tensor
from pellucid.runner.sources import places
from pellucid.runner.sources.annotated import coco_part, is_coco, voc_files_part, voc_part
from pellucid.runner.sources.folders import folder_part, has_pictures, pictures_part
from pellucid.runner.sources.lists import LINES, TEXT_LISTS, lines_part, parquet_part, table_errors, text_part
from pellucid.runner.sources.memory import NOTHING, MemoryReader, held_part, is_data_set, listed
from pellucid.runner.sources.saved import is_saved, saved_part
from pellucid.runner.sources.source import Part, Source
from pellucid.runner.sources.tars import TARS, tar_part
from pellucid.runner.sources.walking import walk


@dataclass(frozen=True)
class Options:
    """How a source is read."""

    label: str | None
    image: str | None
    kind: str | None
    sizes: bool
    several: bool


def open_source(
    specs: Any,
    *,
    label: str | None = None,
    image: str | None = None,
    kind: SourceKind | None = None,
    boxes: BoxFormat = "ltrb",
) -> Source:
    """Pictures of any number to explain, from what a user names; several are one after the other.

    Nothing but a look at the beginning is read here; `Source.batches` reads on.

    Args:
        specs: one or several: folders, globs, pictures, `sample:NAME`, lists (CSV, TSV, JSON lines, Parquet);
            local paths or any URL that fsspec knows. Also what is in memory: images and uint8 arrays, ready
            inputs (a float tensor or array (C, H, W) or (N, C, H, W)), an iterator of paths, which is read
            as the plan is made, or a data set, whose items are pictures or ready inputs, (picture, label), or
            mappings; `Source.reader` then reads the rows.
        label: the column of a list with the labels, or "none" for none; for folders "folder" for the names of
            folders as labels; None for what names of columns and a look say: `Source.description` tells.
        image: the column of a list with the pictures, where its name does not say so.
        kind: what the names stand for, where a suffix or a look would say otherwise.
        boxes: how lists write boxes: "ltrb", (left, top, right, bottom), or "xywh", (left, top, width,
            height).

    Returns:
        A `Source`: `.batches()` streams the rows of a plan, `.reader` reads the picture of a row.

    Raises:
        FileMissing: there is no such file or folder.
        InvalidValue: a list has no column of pictures, or is damaged; an unknown scheme; no source at all.
        InvalidType: something that is no source.
        ExtraMissing: a library for this kind of address is not installed.

    Cost:
        A look at the beginning; lists in text are read once to know the types of columns, and COCO files
        are in memory. `batches` takes 2 to 5 microseconds a row, and memory for one batch, or one folder's
        names.

    Example:
        >>> source = open_source(["sample:cat", "sample:coffee"])
        >>> [row["uri"] for batch in source.batches() for row in batch.to_pylist()]
        ['sample:cat', 'sample:coffee']
    """
    if boxes not in get_args(BoxFormat):
        raise InvalidValue(f'boxes must be "ltrb" or "xywh"; got {boxes!r}.')
    parts: list[Part] = []
    held: list[Any] = []
    for things in runs_of(specs):
        if isinstance(things, Part):
            parts.append(things)
        elif isinstance(things, Names):
            names = [spelled for one in things for spelled in places.expanded(os.fspath(one))]
            options = Options(label, image, kind, boxes == "xywh", len(names) > 1)
            for what, group in groupby(names, lambda name: kind_of(name, kind)):
                parts += guarded(what, list(group), options)
        else:
            parts.append(held_part(things, sum(map(len, held)), label=label))
            held.append(things)
    if not parts:
        raise InvalidValue(NOTHING)
    return Source(parts, MemoryReader(held)) if held else Source(parts)


class Names(list[Any]):
    """Paths and URLs."""


def runs_of(specs: Any) -> Iterator[Any]:
    """What was passed, in order: names together, things in memory together, data sets each for itself.

    Raises:
        InvalidType: something that is no source.
    """
    if isinstance(specs, str | os.PathLike):
        yield Names([specs])
    elif isinstance(specs, list | tuple):
        for kind, group in groupby(specs, sort_of):
            if kind == "name":
                yield Names(group)
            elif kind == "many":
                yield from map(as_held, group)
            else:
                yield list(group)
    elif (sort := sort_of(specs)) == "many":
        yield as_held(specs)
    elif (
        sort == "one" and isinstance(specs, Iterable) and not isinstance(specs, np.ndarray | Tensor | Picture)
    ):
        part, things = listed(specs)
        yield from [part] if part is not None else runs_of(things)
    else:
        yield [specs]


def sort_of(thing: Any) -> str:
    """Whether something is a name, one picture, or many."""
    if isinstance(thing, str | os.PathLike):
        return "name"
    if thing is None or isinstance(thing, bytes | int | float):
        raise InvalidType(
            "A source must be a path or URL, pictures, arrays, a float tensor (N, C, H, W) or a data set; "
            f"got {type(thing).__name__}."
        )
    if isinstance(thing, np.ndarray | Tensor):
        return "many" if thing.ndim == 4 else "one"
    return "many" if is_data_set(thing) else "one"


def as_held(thing: Any) -> Any:
    """Many things, ready to be kept: tensors off the graph and on the CPU, for any worker."""
    if isinstance(thing, Tensor):
        return checked_tensor(thing).cpu()
    return as_input(thing) if isinstance(thing, np.ndarray) and thing.dtype.kind == "f" else thing


def kind_of(name: str, asked: str | None) -> str:
    """What a name stands for: by its suffix, else by a look at it."""
    suffix = places.suffix_of(name)
    if asked is not None:
        return "glob" if asked == "picture" and is_glob(name) else asked
    if name.startswith("sample:"):
        return "picture"
    if suffix == ".json" and not is_glob(name):
        return "coco" if is_coco(places.absolute(name)) else "list"
    if suffix in TEXT_LISTS or suffix in LINES or suffix == ".parquet":
        return "list"
    if suffix in TARS:
        return "tar"
    if suffix == ".xml":
        return "voc"
    if is_glob(name):
        return "glob"
    if suffix in SUFFIXES:
        return "picture"
    if places.is_folder(name):
        return "folder"
    if places.is_url(name) and places.is_local(name) is False and re.match(r"https?://", name):
        return "picture"  # its address need not say so
    if not places.exists(places.absolute(name)):
        raise FileMissing(f"{name}: no such file or folder; check the name.")
    return "picture"


def is_glob(name: str) -> bool:
    """Whether a name is a pattern."""
    if re.match(r"https?://", name):
        return "*" in name
    return glob.has_magic(name) and not (places.is_local(name) and os.path.exists(places.absolute(name)))


def guarded(kind: str, names: Sequence[str], options: Options) -> list[Part]:
    """The parts for some names of one kind; whatever damage makes a library raise becomes a sentence."""

    def within(part: Part) -> Part:
        def batches() -> Iterator[Any]:
            with table_errors(part.what):
                yield from part.batches()

        return replace(part, batches=batches)

    with table_errors(names[0]):
        return [within(part) for part in parts_of(kind, names, options)]


def parts_of(kind: str, names: Sequence[str], options: Options) -> list[Part]:
    """The parts for some names of one kind."""
    match kind:
        case "picture":
            return [pictures_part(names)]
        case "folder":
            return [of_folder(name, options) for name in names]
        case "glob":
            return [of_glob(name, options) for name in names]
        case "list":
            return [part for name in names for part in of_list(name, options)]
        case "coco":
            return [coco_part(places.absolute(name), name, label=options.label) for name in names]
        case "voc":
            return [of_voc(name, options) for name in names]
        case "tar":
            return [tar_part(matching(names), names, label=options.label, sizes=options.sizes)]
    raise InvalidValue(f"kind must be one of {', '.join(get_args(SourceKind))}; got {kind!r}.")


def of_folder(name: str, options: Options) -> Part:
    """A folder: of pictures, or what a look at it says."""
    root = places.absolute(name)
    names = places.listing(root)
    found = look(root, names) if options.kind is None else "folder"
    if found == "voc":
        return voc_part(root, name, label=options.label)
    if found == "saved":
        return saved_part(root, name, image=options.image, label=options.label, sizes=options.sizes)
    if found in (".parquet", ".tar", ".gz"):
        inside = [f"{root}/{one}" for some in walk(root, {found}) for one in some]
        if found == ".parquet":
            return parquet_part(inside, name, image=options.image, label=options.label, sizes=options.sizes)
        return tar_part(inside, [name], label=options.label, sizes=options.sizes)
    prefix = f"{name.rstrip('/')}/" if options.several else ""
    return folder_part(root, name, label=folder_label(options), prefix=prefix, names=names)


def of_voc(name: str, options: Options) -> Part:
    """A folder of VOC's kind, or its files."""
    if not is_glob(name) and places.is_folder(name):
        return voc_part(places.absolute(name), name, label=options.label)
    return voc_files_part(matching([name]), name, label=options.label)


def look(root: str, names: Sequence[str]) -> str:
    """What a folder holds, by the files that come first: pictures wherever there are some, else archives."""
    if is_saved(names):
        return "saved"
    if {"Annotations/", "JPEGImages/"} <= set(names) or any(name.endswith(".xml") for name in names):
        return "voc"
    if has_pictures(names):
        return "folder"
    packed, seen = "", 0
    for piece in walk(root, {*SUFFIXES, ".parquet", ".tar", ".gz"}):
        for name in piece:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in SUFFIXES:
                return "folder"
            if suffix != ".gz" or places.suffix_of(name) in TARS:
                packed = packed or suffix
        seen += len(piece)
        if seen > LOOKED_AT:
            break
    return packed or "folder"


LOOKED_AT = 10_000
"""Files of a folder that are looked at to say what it is."""


def matching(names: Sequence[str]) -> list[str]:
    """The addresses of files, those that a glob means sorted.

    Raises:
        FileMissing: a glob means none.
    """
    found: list[str] = []
    for name in names:
        if not is_glob(name):
            found.append(places.absolute(name))
            continue
        root, parts = split_glob(name)
        whole = places.absolute(root or ".").rstrip("/")
        suffix = os.path.splitext(name)[1].lower()
        matched = [f"{whole}/{one}" for some in walk(whole, {suffix}, parts) for one in some]
        if not matched:
            raise FileMissing(f"{name}: no file matches; check the pattern.")
        found += matched
    return found


def folder_label(options: Options) -> str | None:
    """What was asked of labels, as far as it is for folders."""
    return options.label if options.label in ("folder", "none") else None


def of_glob(name: str, options: Options) -> Part:
    """What a glob means: pictures."""
    root, parts = split_glob(name)
    prefix = f"{root}/" if options.several and root else ""
    return folder_part(
        places.absolute(root or "."), name, parts=parts, label=folder_label(options), prefix=prefix
    )


def split_glob(name: str) -> tuple[str, tuple[str, ...]]:
    """The folder before a pattern, and the pattern's parts.

    Example:
        >>> split_glob("photos/2024/*/x?.jpg")
        ('photos/2024', ('*', 'x?.jpg'))
        >>> split_glob("/*.png")
        ('/', ('*.png',))
    """
    pieces = name.split("/")
    first = next(i for i, piece in enumerate(pieces) if glob.has_magic(piece))
    root = "/".join(pieces[:first])
    return root or ("/" if name.startswith("/") else ""), tuple(piece for piece in pieces[first:] if piece)


def of_list(name: str, options: Options) -> list[Part]:
    """A list, by its suffix, or several that a glob means."""
    suffix = places.suffix_of(name)
    asked: dict[str, Any] = {"image": options.image, "label": options.label, "sizes": options.sizes}
    if suffix == ".parquet":
        return [parquet_part(matching([name]), name, **asked)]
    if suffix not in TEXT_LISTS and suffix not in LINES:
        raise InvalidValue(
            f"{name}: a list must end in {', '.join([*TEXT_LISTS, *LINES, '.parquet'])}; this one ends in "
            f"{suffix!r}: name it so."
        )
    part = text_part if suffix in TEXT_LISTS else lines_part
    found = matching([name])
    return [part(one, name if len(found) == 1 else one, **asked) for one in found]
