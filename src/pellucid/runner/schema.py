"""The columns of a run: of its plan, one row a picture, and of its shards, one a picture, method and target.

The schema has a version of its own, in each file's metadata and in `run.json`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pellucid.errors import ExtraMissing

if TYPE_CHECKING:
    import pyarrow

SCHEMA_VERSION = 1
"""Of plan and shards; a store of a newer one is refused."""


def arrow() -> Any:
    """The module pyarrow.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise ExtraMissing(f"Runs need pyarrow ({error}): pip install 'pellucid[runs]'.") from None
    return pyarrow


def plan_schema(carried: Sequence["pyarrow.Field"] = ()) -> "pyarrow.Schema":
    """The columns of a plan, and those that a list of pictures brings along.

    - `id`: what people call the picture: its path below the folder, as in the list, `tar!member`.
    - `uri`: the file that holds it: a path, or any URL of fsspec's.
    - `member`: where in the file it is, for `runner.sources.read_bytes`; null where the file is the picture.
    - `label`: the picture's class as its source has it, a name or a number in digits; null if unknown.
    - `boxes`: (left, top, right, bottom) in pixels of the upright picture, of each object; null if unknown.
    - `mask`: the file of a mask of the object; null if there is none.

    Example:
        >>> plan_schema().names
        ['id', 'uri', 'member', 'label', 'boxes', 'mask']
    """
    pa = arrow()
    return pa.schema([
        pa.field("id", pa.string()),
        pa.field("uri", pa.string()),
        pa.field("member", pa.string()),
        pa.field("label", pa.string()),
        pa.field("boxes", pa.list_(pa.list_(pa.float64(), 4))),
        pa.field("mask", pa.string()),
        *carried,
    ])  # fmt: skip


def row_schema(carried: Sequence["pyarrow.Field"] = (), metrics: Sequence[str] = ()) -> "pyarrow.Schema":
    """The columns of a shard; what a failed row does not have is null, and `error` says why.

    - `row`: the picture's number in the plan, from 0; with `method` and `target_asked` it names a row.
    - `id`, `uri`, `member`, `label`, `boxes`, `mask`: as planned. `label_index`: the model's class of that
      label; null where it has none.
    - `width`, `height`: of the upright picture. `digest`: BLAKE2b (16 bytes, in hex) of the picture's file.
    - `prediction`, `prediction_label`, `probability`: the predicted class; null for a model without classes.
    - `method`: its title, `smooth-grad:samples=20`. `target_asked`: as in the request, `predicted`.
    - `target`, `target_label`, `output`, `score`: what was explained, and the number that it has.
    - `layer`: the layers that were read, with commas; empty for a method that reads none.
    - `map`: float16, little-endian, row by row; `map_shape`: (h, w) or (C, h, w); `map_scale`: a power of
      two by which it is multiplied, so that small maps keep their digits.
    - `input_height`, `input_width`, and `seen`: the part of the picture that the map lies on, (left, top,
      right, bottom) in pixels of the picture.
    - `map_min`, `map_max`, `map_sum`: of the map as stored, before rounding. `positive`: the share of all
      magnitude that is evidence for the target. `center_x`, `center_y`: the centre of that evidence, from 0
      to 1 across the map. `border`: the share of it within an eighth of the map from an edge. `entropy`: of
      it, from 0 (one cell) to 1 (the same everywhere). `inside`: the share of it in the boxes or the mask;
      null without.
    - `relative_error`: of a sampled map.
    - one column for each metric, by its title; null where it has no value, with the reason in `missing`.
    - `thumbnail`: a JPEG of at most 128 pixels, in the first row of each picture.
    - `notes`: what a reader should know of the map. `missing`: metrics without a value, and why.
    - `error`: why there is no map. `error_kind`: "picture", "label", "method", "worker".

    Example:
        >>> {"row", "map", "deletion"} <= set(row_schema(metrics=["deletion"]).names)
        True
    """
    pa = arrow()
    text, real, whole = pa.string(), pa.float64(), pa.int32()
    four = pa.list_(real, 4)
    columns: dict[str, Any] = {
        "row": pa.int64(), "id": text, "uri": text, "member": text, "label": text, "label_index": whole,
        "boxes": pa.list_(four), "mask": text, "width": whole, "height": whole, "digest": text,
        "prediction": whole, "prediction_label": text, "probability": real,
        "method": text, "target_asked": text, "target": whole, "target_label": text, "output": text,
        "score": real, "layer": text,
        "map": pa.binary(), "map_shape": pa.list_(whole), "map_scale": real,
        "input_height": whole, "input_width": whole, "seen": four,
        "map_min": real, "map_max": real, "map_sum": real, "positive": real, "center_x": real,
        "center_y": real, "border": real, "entropy": real, "inside": real, "relative_error": real,
        **dict.fromkeys(metrics, real),
        "thumbnail": pa.binary(), "notes": pa.list_(text), "missing": pa.list_(text),
        "error": text, "error_kind": text,
    }  # fmt: skip
    return pa.schema([*(pa.field(name, kind) for name, kind in columns.items()), *carried])


def carried_fields(fields: Sequence["pyarrow.Field"]) -> list["pyarrow.Field"]:
    """Columns that a list brings along; one whose name a run needs itself is called `source_NAME`."""
    taken = set(row_schema().names)
    return [one.with_name(f"source_{one.name}") if one.name in taken else one for one in fields]
