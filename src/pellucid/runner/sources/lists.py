"""Lists of pictures: CSV, TSV, JSON lines and Parquet, read in pieces; which column is what, and said so."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.errors import InvalidValue, PellucidError, first_line
from pellucid.runner.schema import arrow
from pellucid.runner.sources import places
from pellucid.runner.sources.columns import boxes_column, label_column, resolved
from pellucid.runner.sources.handles import DAMAGE
from pellucid.runner.sources.source import BATCH, CARRIED, Part, batch_of

if TYPE_CHECKING:
    import pyarrow

IMAGES = (
    "path", "image", "file", "uri", "file_name", "filename", "image_path", "img_path", "file_path",
    "filepath", "img", "picture", "url", "image_url",
)  # fmt: skip
LABELS = ("label", "class", "target", "labels", "class_name", "label_name", "category")
BOXES = ("boxes", "bbox", "bboxes", "box")
MASKS = ("mask", "mask_path")
"""What columns are called, the first that is there counts; in capitals or not."""

TEXT_LISTS = {".csv": ",", ".tsv": "\t", ".csv.gz": ",", ".tsv.gz": "\t"}
LINES = (".jsonl", ".ndjson", ".json", ".jsonl.gz")
BLOCK = 1 << 22
"""Bytes of text that are read at a time."""


@dataclass(frozen=True)
class Roles:
    """Which column of a list is what; the others are carried along."""

    image: str
    label: str | None = None
    boxes: str | None = None
    mask: str | None = None

    @property
    def taken(self) -> set[str]:
        """The columns that have a role."""
        return {one for one in (self.image, self.label, self.boxes, self.mask) if one is not None}

    def told(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"image": self.image, "label": self.label, "boxes": self.boxes, "mask": self.mask}


def roles_of(
    schema: "pyarrow.Schema", given: str, *, image: str | None = None, label: str | None = None
) -> Roles:
    """Which column is what: as the user says, else by their names; pictures by their type, too.

    Args:
        schema: the columns.
        given: the list, for errors.
        image: the column with the pictures.
        label: that with the labels; "none" for none.

    Raises:
        InvalidValue: no column is one of pictures; there is none of the name that was given.
    """
    names = schema.names
    listed = ", ".join(map(repr, names)) or "none"
    for wanted in (image, None if label in ("none", "folder") else label):
        if wanted is not None and wanted not in names:
            raise InvalidValue(f"{given} has no column {wanted!r}; there are {listed}: name one of them.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidValue(
            f"{given}: columns must have names of their own; {twice[0]!r} comes twice: rename one."
        )
    lower = {name.lower().strip(): name for name in reversed(names)}
    features = hugging_face(schema)
    by_type = [name for name in names if features.get(name, {}).get("_type") == "Image"]
    by_type += [name for name in names if is_bytes(schema.field(name).type) and name.lower() in IMAGES]

    def named(usual: Sequence[str]) -> str | None:
        return next((lower[name] for name in usual if name in lower), None)

    found = image or next(iter(by_type), None) or named(IMAGES)
    if found is None:
        raise InvalidValue(
            f"{given}: a list must have a column of pictures, called {', '.join(IMAGES[:5])} or the like; "
            f"its columns are {listed}: name the one with the pictures (image=, --image-column)."
        )
    labels = None if label == "none" else label if label not in (None, "folder") else named(LABELS)
    roles = Roles(found, *(one if one != found else None for one in (labels, named(BOXES), named(MASKS))))
    kind = schema.field(found).type
    if not (is_text(kind) or is_bytes(kind) or arrow().types.is_null(kind)):
        raise InvalidValue(
            f"{given}: the column of pictures must hold paths or bytes; {found!r} holds {kind}: name another "
            f"one (image=, --image-column); there are {listed}."
        )
    return roles


def is_text(kind: Any) -> bool:
    """Whether a column holds text."""
    types = arrow().types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or (types.is_dictionary(kind) and is_text(kind.value_type))
    )


def is_bytes(kind: Any) -> bool:
    """Whether a column holds pictures themselves: binary, or {bytes, path}."""
    types = arrow().types
    if types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def hugging_face(schema: "pyarrow.Schema") -> Mapping[str, Any]:
    """What Hugging Face's metadata says of columns: their features."""
    try:
        stored = json.loads((schema.metadata or {})[b"huggingface"])
        features = stored["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {name: one for name, one in features.items() if isinstance(one, dict)}


@dataclass(frozen=True)
class Rows:
    """Rows of a list -> rows of a plan."""

    given: str
    folder: str
    roles: Roles
    carried: Sequence["pyarrow.Field"]
    names: Sequence[str] | None = None
    sizes: bool = False
    missing: str = ""

    def __call__(
        self, batch: Any, first: int, where: tuple[str, Any, Any] | None = None
    ) -> "pyarrow.RecordBatch":
        """The rows of a plan.

        Args:
            batch: rows of the list.
            first: the number of the first one, from 0.
            where: uri, members and ids of pictures that are in the list itself.
        """
        pa = arrow()
        batch.validate(full=True)  # also that all text is UTF-8
        have = dict(zip(batch.schema.names, batch.columns, strict=True))
        numbers = None
        if where is None:
            import pyarrow.compute as pc

            paths = have[self.roles.image].cast(pa.string())
            empty = pc.equal(pc.fill_null(paths, ""), "")
            columns = {"id": paths, "uri": resolved(pc.fill_null(paths, ""), self.folder)}
            if pc.any(empty).as_py():
                numbers = pc.binary_join_element_wise(
                    f"{self.given}!", pa.array(np.arange(first, first + len(paths))).cast(pa.string()), ""
                )
                columns["id"] = pc.if_else(empty, numbers, paths)
        else:
            uri, members, ids = where
            columns = {"id": ids, "uri": pa.array([uri] * batch.num_rows, pa.string()), "member": members}
        if self.roles.label is not None:
            columns["label"] = label_column(have[self.roles.label], self.names, self.given)
        if self.roles.boxes is not None:
            columns["boxes"] = boxes_column(have[self.roles.boxes], self.given, first, sizes=self.sizes)
        if self.roles.mask is not None:
            masks = label_column(have[self.roles.mask], None, self.given)
            columns["mask"] = resolved(masks, self.folder)
        columns |= {f"{CARRIED}{one.name}": have[one.name] for one in self.carried if one.name in have}
        return batch_of(columns)


def text_part(address: str, given: str, *, image: str | None, label: str | None, sizes: bool) -> Part:
    """A list in CSV or TSV.

    Numbers, dates and truth values of carried columns are recognised; a column that is text further down is
    text as a whole.

    Raises:
        InvalidValue: it has no column of pictures, or is not such a file.
    """
    pa = arrow()
    import pyarrow.csv

    delimiter = TEXT_LISTS[places.suffix_of(address)]

    def opened(kinds: Mapping[str, Any]) -> Any:
        with table_errors(given):
            return pyarrow.csv.open_csv(
                unpacked_stream(address),
                pyarrow.csv.ReadOptions(block_size=BLOCK),
                pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                pyarrow.csv.ConvertOptions(column_types=kinds),
            )

    with table_errors(given):
        schema = opened({}).schema
        texts = pa.schema([pa.field(name, pa.string()) for name in schema.names])  # also paths such as 0001
    roles = roles_of(texts, given, image=image, label=label)
    kinds = dict.fromkeys(roles.taken, pa.string())
    kinds |= {one.name: one.type for one in schema if one.name not in roles.taken}
    with table_errors(given):
        kinds = resolved_kinds(opened, kinds, schema.names)
    carried = [pa.field(name, kinds[name]) for name in schema.names if name not in roles.taken]
    rows = Rows(given, places.parent_of(address), roles, carried, sizes=sizes)

    def batches() -> Iterator["pyarrow.RecordBatch"]:
        first = 0
        with table_errors(given):
            for batch in opened(kinds):
                yield rows(batch, first)
                first += batch.num_rows

    return Part(
        told("csv" if delimiter == "," else "tsv", given, roles, carried), batches, carried, what=given
    )


def resolved_kinds(
    opened: Callable[[Mapping[str, Any]], Any], kinds: Mapping[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    """The types of columns that hold all of a list: it is read once where one is not text from the start.

    Args:
        opened: reads the list with these types.
        kinds: those of its first rows.
        names: the columns in order.
    """
    pa = arrow()
    kinds = {name: pa.string() if pa.types.is_null(kind) else kind for name, kind in kinds.items()}
    while any(not pa.types.is_string(kind) for kind in kinds.values()):
        try:
            for _ in opened(kinds):
                pass
        except pa.ArrowInvalid as error:
            found = re.search(r"CSV column #(\d+)", str(error))
            if found is None:
                raise
            name = names[int(found[1])]
            if pa.types.is_string(kinds[name]):
                raise
            kinds[name] = pa.float64() if pa.types.is_integer(kinds[name]) else pa.string()
        else:
            break
    return kinds


def lines_part(address: str, given: str, *, image: str | None, label: str | None, sizes: bool) -> Part:
    """A list in JSON lines: one object a line; pictures by their paths, or in base64.

    Raises:
        InvalidValue: it has no column of pictures, or is not such a file.
    """
    pa = arrow()
    schema = pa.schema([])
    with table_errors(given):
        for table, _, _ in json_blocks(address, given):
            schema = pa.unify_schemas([schema, table.schema], promote_options="permissive")
        _ = schema.names  # which must be UTF-8
    schema = pa.schema(
        [one if not pa.types.is_null(one.type) else one.with_type(pa.string()) for one in schema]
    )
    roles = roles_of(schema, given, image=image, label=label)
    carried = [one for one in schema if one.name not in roles.taken]
    rows = Rows(given, places.parent_of(address), roles, carried, sizes=sizes)
    inside = is_bytes(schema.field(roles.image).type)

    def batches() -> Iterator["pyarrow.RecordBatch"]:
        first = 0
        for table, starts, lengths in json_blocks(address, given, schema):
            with table_errors(given):
                batch = table.combine_chunks().to_batches()[0]
                batch.validate(full=True)
                where = None
                if inside or holds_base64(batch, roles.image):
                    places_of = zip(starts, lengths, strict=True)
                    members = [f"jsonl:{at}:{size}:{roles.image}" for at, size in places_of]
                    ids = [f"{places.name_of(address)}!{first + i}" for i in range(len(batch))]
                    where = (address, pa.array(members), pa.array(ids))
                made = rows(batch, first, where)
            yield made
            first += len(batch)

    return Part(told("jsonl", given, roles, carried), batches, carried, what=given)


def holds_base64(batch: Any, column: str) -> bool:
    """Whether a column of text has pictures written out, `data:image/png;base64,…`."""
    values = batch.column(batch.schema.get_field_index(column))
    return is_text(values.type) and len(values) > 0 and (values[0].as_py() or "").startswith("data:")


def json_blocks(
    address: str, given: str, schema: "pyarrow.Schema | None" = None
) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Tables of some lines each, with where in the file each row's line starts, and how long it is."""
    pa = arrow()
    import pyarrow.json

    parse = pyarrow.json.ParseOptions(explicit_schema=schema)
    stream, at, rest, line = unpacked_stream(address), 0, b"", 1
    with table_errors(given):
        while True:
            read = stream.read(BLOCK)
            block = rest + read
            cut = block.rfind(b"\n") + 1 if read else len(block)
            block, rest = block[:cut], block[cut:]
            if not block:
                if not read:
                    return
                continue
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
            if not block.endswith(b"\n"):
                ends = np.append(ends, len(block))
            starts = np.concatenate(([0], ends[:-1] + 1))
            filled = np.ones(len(ends), bool)
            for short in np.flatnonzero(ends - starts < 2):  # no object is as short as this
                filled[short] = bool(block[starts[short] : ends[short]].strip())
            if filled.any():
                try:
                    table = pyarrow.json.read_json(
                        pa.BufferReader(block),
                        pyarrow.json.ReadOptions(block_size=max(len(block), 1) + 1),
                        parse,
                    )
                except pa.ArrowInvalid as error:
                    raise InvalidValue(
                        f"{given}: each line must be one JSON object, the values of a key of one kind; from "
                        f"line {line} on that does not hold ({first_line(error)}): correct it."
                    ) from None
                if table.num_rows != filled.sum():
                    raise InvalidValue(
                        f"{given}: each line must be one JSON object; from line {line} on "
                        f"{int(filled.sum())} lines hold {table.num_rows} objects: write one in each line."
                    )
                yield table, at + starts[filled], (ends - starts)[filled]
            at += len(block)
            line += len(ends)


def parquet_part(
    addresses: Sequence[str], given: str, *, image: str | None, label: str | None, sizes: bool
) -> Part:
    """A list in one or several Parquet files; pictures by their paths, or in them.

    Raises:
        InvalidValue: there is no column of pictures, or it is not such a file.
    """
    pa = arrow()
    schemas, counts = [], []
    for address in addresses:
        with parquet_file(address, given) as file:
            schemas.append(file.schema_arrow)
            counts.append(file.metadata.num_rows)
    with table_errors(given):
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    roles = roles_of(schema, given, image=image, label=label)
    features = hugging_face(schema)
    classes = features.get(roles.label or "", {}).get("names")
    kind = schema.field(roles.image).type
    inside = is_bytes(kind)
    carried = [
        one.remove_metadata() for one in schema if one.name not in roles.taken and not is_bytes(one.type)
    ]
    left = [one.name for one in schema if one.name not in roles.taken and is_bytes(one.type)]
    needed = [one.name for one in carried] + sorted(roles.taken - ({roles.image} if inside else set()))

    def batches() -> Iterator["pyarrow.RecordBatch"]:
        for address in addresses:
            rows = Rows(given, places.parent_of(address), roles, carried, classes, sizes)
            first = 0
            with parquet_file(address, given) as file:
                columns = [name for name in needed if name in file.schema_arrow.names]
                for group in range(file.metadata.num_row_groups):
                    within, size = 0, file.metadata.row_group(group).num_rows
                    for batch in counted(file, group, size, columns):
                        where = in_parquet(address, group, within, first, batch.num_rows, roles.image)
                        yield rows(batch, first, where if inside else None)
                        within += batch.num_rows
                        first += batch.num_rows

    description = told("parquet", given, roles, carried) | ({"left_out": left} if left else {})
    return Part(description, batches, carried, classes, sum(counts), given)


def counted(file: Any, group: int, size: int, columns: Sequence[str]) -> Iterator[Any]:
    """Batches of a row group; of no columns, where the list holds nothing but pictures."""
    pa = arrow()
    if columns:
        yield from file.iter_batches(BATCH, row_groups=[group], columns=list(columns))
        return
    for start in range(0, size, BATCH):
        some = pa.nulls(min(BATCH, size - start))
        yield pa.record_batch([some], names=["nothing"])


def in_parquet(
    address: str, group: int, within: int, first: int, size: int, column: str
) -> tuple[str, Any, Any]:
    """Uri, members and ids of pictures in a Parquet file."""
    pa = arrow()
    import pyarrow.compute as pc

    rows = pa.array(np.arange(within, within + size)).cast(pa.string())
    numbers = pa.array(np.arange(first, first + size)).cast(pa.string())
    members = pc.binary_join_element_wise(f"parquet:{group}", rows, column, ":")
    return address, members, pc.binary_join_element_wise(places.name_of(address), numbers, "!")


@contextmanager
def parquet_file(address: str, given: str) -> Iterator[Any]:
    """A Parquet file, open within a block.

    Raises:
        InvalidValue: it is damaged, or none.
    """
    arrow()
    import pyarrow.parquet

    with (
        table_errors(given if address.endswith(given) else address),
        places.open_file(address) as raw,
        # Not a whole row group ahead: a list may be one.
        pyarrow.parquet.ParquetFile(raw, pre_buffer=False, buffer_size=1 << 16) as file,
    ):
        yield file


@contextmanager
def table_errors(given: str) -> Iterator[None]:
    """Within this block Arrow's errors become sentences about a list.

    Raises:
        InvalidValue: naming it.
    """
    pa = arrow()
    try:
        yield
    except (PellucidError, MemoryError):
        raise
    except (pa.ArrowException, *DAMAGE) as error:
        raise InvalidValue(
            f"{given}: a list must be a whole file of the kind that its suffix says; this one is not, or is "
            f"damaged ({first_line(error)}): restore or correct it."
        ) from error


def unpacked_stream(address: str) -> Any:
    """A file for Arrow to read once, from front to end; unpacked if it is compressed."""
    pa = arrow()
    if places.is_local(address):
        with places.sentences(address):
            return pa.input_stream(places.local_path(address))
    stream = pa.PythonFile(places.open_stream(address), mode="r")
    return pa.CompressedInputStream(stream, "gzip") if address.endswith("gz") else stream


def told(kind: str, given: str, roles: Roles, carried: Sequence["pyarrow.Field"]) -> dict[str, Any]:
    """A list's description."""
    return {
        "kind": kind,
        "source": given,
        "columns": roles.told(),
        "carried": {one.name: str(one.type) for one in carried},
    }
