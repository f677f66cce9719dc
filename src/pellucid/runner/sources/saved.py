"""Folders that Hugging Face's `Dataset.save_to_disk` writes: Arrow streams with a state and a description."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pellucid.errors import InvalidValue
from pellucid.runner.schema import arrow
from pellucid.runner.sources import places
from pellucid.runner.sources.handles import arrow_stream
from pellucid.runner.sources.lists import Rows, hugging_face, is_bytes, roles_of, table_errors, told
from pellucid.runner.sources.source import Part

if TYPE_CHECKING:
    import pyarrow

SPLIT = "split"
"""The column that says which part of a data set a picture is from, where it has several."""


def is_saved(names: Sequence[str]) -> bool:
    """Whether a folder with these names was written by `save_to_disk`."""
    return "dataset_dict.json" in names or {"state.json", "dataset_info.json"} <= set(names)


def saved_part(folder: str, given: str, *, image: str | None, label: str | None, sizes: bool) -> Part:
    """The rows of a saved data set, of all its parts one after the other.

    Raises:
        InvalidValue: it has no column of pictures, or is damaged.
    """
    pa = arrow()
    inside = places.listing(folder)
    parts = stored(folder, "dataset_dict.json", given)["splits"] if "dataset_dict.json" in inside else [None]
    arrows: list[tuple[str, str | None]] = []
    for one in parts:
        place = folder if one is None else places.join(folder, one)
        state = stored(place, "state.json", given)
        if state.get("_indices_data_files"):
            raise InvalidValue(
                f"{given}: its rows are chosen by a list of indices, which is not read: save the data set "
                "again after flatten_indices()."
            )
        arrows += [(places.join(place, file["filename"]), one) for file in state["_data_files"]]
    if not arrows:
        raise InvalidValue(
            f"{given}: state.json must name at least one Arrow file; it names none: save it again."
        )
    schema = schema_of(arrows[0][0], given)
    if not hugging_face(schema):
        first = folder if parts[0] is None else places.join(folder, parts[0])
        info = {"info": {"features": stored(first, "dataset_info.json", given).get("features")}}
        schema = schema.with_metadata({"huggingface": json.dumps(info)})
    roles = roles_of(schema, given, image=image, label=label)
    classes = hugging_face(schema).get(roles.label or "", {}).get("names")
    others = [one for one in schema if one.name not in roles.taken and not is_bytes(one.type)]
    carried = [one.remove_metadata() for one in others]
    split = parts[0] is not None and SPLIT not in schema.names
    everything = [*carried, pa.field(SPLIT, pa.string())] if split else carried
    in_file = is_bytes(schema.field(roles.image).type)
    needed = {one.name for one in carried} | roles.taken - ({roles.image} if in_file else set())

    def batches() -> Iterator["pyarrow.RecordBatch"]:
        for address, part in arrows:
            rows = Rows(given, places.parent_of(address), roles, everything, classes, sizes)
            title = f"{part}/{places.name_of(address)}" if part else places.name_of(address)
            first = 0
            for offset, batch in record_batches(address, given):
                where = None
                if in_file:
                    rows_of = range(batch.num_rows)
                    members = [f"arrow:{offset}:{row}:{roles.image}" for row in rows_of]
                    ids = [f"{title}!{first + row}" for row in rows_of]
                    where = (address, pa.array(members, pa.string()), pa.array(ids, pa.string()))
                batch = batch.select([name for name in batch.schema.names if name in needed])
                if split:
                    batch = batch.append_column(SPLIT, pa.array([part] * batch.num_rows, pa.string()))
                if batch.num_rows:
                    yield rows(batch, first, where)
                first += batch.num_rows

    description = told("saved data set", given, roles, everything) | {"files": len(arrows)}
    return Part(description, batches, everything, classes, what=given)


def stored(folder: str, name: str, given: str) -> dict[str, Any]:
    """A file of JSON of a saved data set.

    Raises:
        InvalidValue: it is none.
    """
    try:
        found = json.loads(places.whole(places.join(folder, name)))
    except ValueError as error:
        raise InvalidValue(f"{given}: {name} must be JSON ({error}): save the data set again.") from None
    if not isinstance(found, dict):
        raise InvalidValue(f"{given}: {name} must hold an object; it holds {type(found).__name__}.")
    return found


def schema_of(address: str, given: str) -> "pyarrow.Schema":
    """The columns of an Arrow stream."""
    with table_errors(given), arrow_stream(address) as stream:
        return arrow().ipc.read_schema(stream)


def record_batches(address: str, given: str) -> Iterator[tuple[int, "pyarrow.RecordBatch"]]:
    """The record batches of an Arrow stream, and where in the file each begins.

    Raises:
        InvalidValue: the stream is cut or damaged, or has dictionaries.
    """
    ipc = arrow().ipc
    with table_errors(address), arrow_stream(address) as stream:
        schema = ipc.read_schema(stream)
        while True:
            offset = stream.tell()
            try:
                message = ipc.read_message(stream)
            except EOFError:
                return
            if message.type != "record batch":
                raise InvalidValue(
                    f"{given}: columns must hold their values themselves; {places.name_of(address)} has a "
                    f"{message.type}: cast its dictionary columns to text and save it again."
                )
            yield offset, ipc.read_record_batch(message, schema)
