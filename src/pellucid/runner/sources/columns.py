"""Columns of lists -> columns of a plan: addresses, labels, boxes."""

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.errors import InvalidValue
from pellucid.runner.schema import arrow

_ABSOLUTE = r"^(/|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*://|sample:)"


def resolved(paths: Any, folder: str) -> Any:
    """Paths of a list as addresses: relative ones lie in the list's folder; empty ones stay empty."""
    pa = arrow()
    import pyarrow.compute as pc

    joined = pc.binary_join_element_wise(
        folder.rstrip("/"), pc.replace_substring_regex(paths, r"^(\./)+", ""), "/"
    )
    keep = pc.or_(pc.match_substring_regex(paths, _ABSOLUTE), pc.equal(paths, ""))
    found = pc.if_else(keep, paths, joined)
    local = pc.starts_with(found, "file://")
    if pc.any(local).as_py():
        from pellucid.runner.sources.places import absolute

        found = pa.array([one if one is None else absolute(one) for one in found.to_pylist()], pa.string())
    return found


def label_column(values: Any, names: Sequence[str] | None, given: str) -> Any:
    """Labels as text: names as they are, numbers in digits, or the names of classes that they stand for.

    Raises:
        InvalidValue: they are neither text nor numbers.
    """
    pa = arrow()
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = values.type
    if names is not None and pa.types.is_integer(kind):
        known = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(names)))
        return pa.array(list(names), pa.string()).take(pc.if_else(known, values, None))
    if pa.types.is_floating(kind):  # whole numbers of a column with gaps
        whole = pc.equal(values, pc.floor(values))
        if pc.all(pc.fill_null(whole, True)).as_py():
            values = values.cast(pa.int64())
    types = pa.types
    usual = (types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean)
    if not types.is_null(kind) and not any(holds(kind) for holds in usual):
        raise InvalidValue(
            f"{given}: labels must be names or numbers, one a picture; the column holds {kind}: name another "
            'column (label=, --label-column), or "none".'
        )
    text = values.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def boxes_column(values: Any, given: str, first: int, *, sizes: bool) -> Any:
    """Boxes of a list as (left, top, right, bottom): one of a row or several, also as text.

    Args:
        values: numbers or lists of numbers; text in JSON, or four numbers.
        given: the list, for errors.
        first: the number of the first row, from 0.
        sizes: whether they are (left, top, width, height).

    Raises:
        InvalidValue: they are no boxes.
    """
    pa = arrow()
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.list_(pa.list_(pa.float64(), 4)))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        parsed = [_parsed(one, given, first + i) for i, one in enumerate(values.to_pylist())]
        nested = pa.array(parsed, pa.list_(pa.list_(pa.float64())))
    elif _is_list(kind) and _is_list(kind.value_type):
        nested = values.cast(pa.list_(pa.list_(pa.float64())))
    elif _is_list(kind):
        flat = values.cast(pa.list_(pa.float64()))
        filled = pc.fill_null(pc.greater(pc.list_value_length(flat), 0), False)
        missing = pc.is_null(flat).to_numpy(zero_copy_only=False)
        nested = _lists(flat.filter(filled), filled.to_numpy(zero_copy_only=False).astype(np.int64), missing)
    else:
        raise InvalidValue(
            f"{given}: boxes must be four numbers, or a list of such; the column holds {kind}: rename it if "
            "it is something else."
        )
    counts = pc.list_value_length(nested)
    boxes = nested.flatten()
    rows = np.repeat(np.arange(len(nested)), pc.fill_null(counts, 0).to_numpy(zero_copy_only=False))
    four = pc.fill_null(pc.equal(pc.list_value_length(boxes), 4), False).to_numpy(zero_copy_only=False)
    if not four.all():
        bad = int(np.flatnonzero(~four)[0])
        raise _no_box(given, first + int(rows[bad]), boxes[bad].as_py())
    numbers = boxes.flatten().to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, 4).copy()
    if sizes:
        numbers[:, 2:] += numbers[:, :2]
    good = np.isfinite(numbers).all(1) & (numbers[:, 2] >= numbers[:, 0]) & (numbers[:, 3] >= numbers[:, 1])
    if not good.all():
        bad = int(np.flatnonzero(~good)[0])
        raise _no_box(given, first + int(rows[bad]), boxes[bad].as_py())
    return _lists(
        pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), 4),
        pc.fill_null(counts, 0).to_numpy(zero_copy_only=False),
        pc.is_null(nested).to_numpy(zero_copy_only=False),
    )


def _lists(values: Any, counts: np.ndarray, missing: np.ndarray) -> Any:
    """Values as lists of so many each; those that are missing are null, and hold none."""
    pa = arrow()
    offsets = np.concatenate(([0], np.cumsum(counts)))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32(), mask=np.append(missing, False)), values)


def _is_list(kind: Any) -> bool:
    types = arrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _parsed(text: str | None, given: str, row: int) -> list[list[float]] | None:
    if text is None or not text.strip():
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = [float(one) for one in re.findall(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?", text)]
        if not found:
            raise _no_box(given, row, text) from None
    if not isinstance(found, list):
        raise _no_box(given, row, text)
    if found and not isinstance(found[0], list):
        found = [found]
    try:
        return [[float(number) for number in box] for box in found]
    except (TypeError, ValueError):
        raise _no_box(given, row, text) from None


def _no_box(given: str, row: int, box: Any) -> InvalidValue:
    return InvalidValue(
        f"{given}: a box must be four numbers, (left, top, right, bottom) in pixels, right and bottom the "
        f"larger ones; row {row} has {box!r}: correct it, or say that boxes are (left, top, width, height) "
        '(boxes="xywh", --box-format xywh).'
    )
