"""Annotated sets of pictures: COCO's JSON and Pascal VOC's XML, with boxes and what is in them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from pellucid.choices import SUFFIXES
from pellucid.evaluation.annotations import Annotated, read_coco, read_voc
from pellucid.runner.schema import arrow
from pellucid.runner.sources import places
from pellucid.runner.sources.source import CARRIED, Part, batch_of

if TYPE_CHECKING:
    import pyarrow

ROWS = 1 << 13
"""Rows of a batch."""
Row = tuple[str, str, Annotated | None]
"""Id, address and annotation of a picture."""


def is_coco(address: str) -> bool:
    """Whether a file of JSON begins like one of COCO's, and not like JSON lines."""
    with places.open_file(address) as file:
        head = file.read(1 << 16)
    first_line = head.lstrip().partition(b"\n")[0]
    return b'"images"' in head or b'"annotations"' in head or not first_line.rstrip().endswith(b"}")


def coco_part(address: str, given: str, *, label: str | None) -> Part:
    """The pictures of a COCO file; the label is the category of a picture's objects if they share one.

    Pictures lie where the first of them are found: beside the file, in `images`, in a folder called as the
    end of the file's name (`instances_val2017.json`, `val2017`), there or one folder up.

    Raises:
        InvalidValue: it is no such file.
    """
    pa = arrow()
    found, names = read_coco(places.whole(address), given)
    root = picture_folder(address, [one.file for one in found[:3]])
    whole = all(isinstance(one.number, int) for one in found)
    carried = [
        pa.field("image_id", pa.int64() if whole else pa.string()),
        pa.field("categories", pa.list_(pa.string())),
    ]

    def batches() -> Iterator["pyarrow.RecordBatch"]:
        rows: Iterator[Row] = ((one.file, places.join(root, one.file), one) for one in found)
        yield from planned(rows, label, carried)

    description = {"kind": "coco", "source": given, "pictures": root, "categories": len(names)}
    return Part(description, batches, carried, names or None, len(found), given)


def picture_folder(address: str, names: Sequence[str]) -> str:
    """The folder below which some pictures of a COCO file lie; that of the file if none is found."""
    here = places.parent_of(address)
    above = places.parent_of(here)
    split = os.path.splitext(places.name_of(address))[0].rpartition("_")[2]
    for folder in (here, above):
        for inner in ("", "images", split):
            tried = places.join(folder, inner) if inner else folder
            if any(places.exists(places.join(tried, name)) for name in names):
                return tried
    return here


def voc_part(root: str, given: str, *, label: str | None) -> Part:
    """A folder with `JPEGImages` and `Annotations`, or with both kinds of files side by side.

    A picture without an annotation has none in its row; an annotation without a picture is a row that cannot
    be read.
    """
    names = places.listing(root)
    pictures = places.join(root, "JPEGImages") if "JPEGImages/" in names else root
    notes = places.join(root, "Annotations") if "Annotations/" in names else root

    def rows() -> Iterator[Row]:
        by_stem: dict[str, str] = {}
        for name in places.listing(pictures):
            if places.suffix_of(name) in SUFFIXES and not name.startswith("."):
                by_stem.setdefault(os.path.splitext(name)[0], name)
        noted = {os.path.splitext(name)[0] for name in places.listing(notes) if name.endswith(".xml")}
        for stem in sorted({*by_stem, *noted}):
            found = annotation(f"{notes}/{stem}.xml") if stem in noted else None
            name = by_stem.get(stem) or (found.file if found is not None else "") or f"{stem}.jpg"
            yield name, f"{pictures}/{name}", found

    return _voc(rows, given, label, {"pictures": pictures, "annotations": notes})


def voc_files_part(addresses: Sequence[str], given: str, *, label: str | None) -> Part:
    """VOC files that were named; each says which picture it is of, beside it or in `../JPEGImages`."""

    def rows() -> Iterator[Row]:
        for address in addresses:
            found = annotation(address)
            name = found.file or os.path.splitext(places.name_of(address))[0] + ".jpg"
            here = places.parent_of(address)
            tried = [f"{folder}/{name}" for folder in (here, f"{places.parent_of(here)}/JPEGImages")]
            yield name, next((one for one in tried if places.exists(one)), tried[0]), found

    return _voc(rows, given, label, {"files": len(addresses)})


def annotation(address: str) -> Annotated:
    """What a VOC file says."""
    return read_voc(places.whole(address), address)


def _voc(rows: Any, given: str, label: str | None, told: dict[str, Any]) -> Part:
    pa = arrow()
    carried = [pa.field("categories", pa.list_(pa.string()))]
    description = {"kind": "voc", "source": given, **told}
    return Part(description, lambda: planned(rows(), label, carried), carried, what=given)


def planned(
    rows: Iterable[Row], label: str | None, carried: Sequence["pyarrow.Field"]
) -> Iterator["pyarrow.RecordBatch"]:
    """Rows of a plan for annotated pictures."""
    pa = arrow()
    rest = iter(rows)
    while some := list(islice(rest, ROWS)):
        known = [found for _, _, found in some]
        columns: dict[str, Any] = {
            "id": [name for name, _, _ in some],
            "uri": [address for _, address, _ in some],
            "label": [None if label == "none" or one is None else only(one.categories) for one in known],
            "boxes": [
                [[box.left, box.top, box.right, box.bottom] for box in one.boxes]
                if one and one.boxes
                else None
                for one in known
            ],
        }
        for one in carried:
            if one.name == "categories":
                values: list[Any] = [
                    list(found.categories) if found and found.boxes else None for found in known
                ]
            else:
                values = [found.number if found is not None else None for found in known]
                values = values if pa.types.is_integer(one.type) else list(map(str, values))
            columns[f"{CARRIED}{one.name}"] = pa.array(values, one.type)
        yield batch_of(columns)


def only(categories: Sequence[str | None]) -> str | None:
    """The one category that all objects have; None if there are several, or none."""
    kinds = set(categories)
    return kinds.pop() if len(kinds) == 1 else None
