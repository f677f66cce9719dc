"""Archives of pictures, as WebDataset has them: files that share a name but for its suffix are one sample."""

import gzip
import json
import os
import tarfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from pellucid.choices import SUFFIXES
from pellucid.errors import InvalidValue
from pellucid.runner.schema import arrow
from pellucid.runner.sources import places
from pellucid.runner.sources.columns import boxes_column, label_column
from pellucid.runner.sources.handles import unpacked
from pellucid.runner.sources.lists import BOXES, LABELS
from pellucid.runner.sources.source import CARRIED, Part, batch_of

if TYPE_CHECKING:
    import pyarrow

TARS = (".tar", ".tar.gz")
LOOK = 64
"""Samples that are looked at to know what columns there are."""
ROWS = 1 << 13
"""Rows of a batch: each may bring a text along."""
AHEAD = 8
"""Remote archives that are read at a time."""
REST = "json"
"""The column of what JSON holds beyond the columns that the first samples have."""


@dataclass
class Sample:
    """Files of one name: the places of its pictures, and what else is read."""

    pictures: list[tuple[str, str]] = field(default_factory=list)
    label: str | None = None
    text: str | None = None
    stored: Any = None


def tar_part(addresses: Sequence[str], given: Sequence[str], *, label: str | None, sizes: bool) -> Part:
    """The pictures of archives: `.cls` is the label, `.json` other columns, `.txt` a text.

    An archive that is cut gives the pictures before the cut, and a row that cannot be read and says so.

    Args:
        addresses: the archives.
        given: as the user named them.
        label: the key in JSON that is the label; "none" for none.
        sizes: whether boxes are (left, top, width, height).
    """
    named = [places.name_of(one) for one in addresses]
    titles = named if len(set(named)) == len(named) else list(addresses)
    columns = Columns.of(list(islice(samples(addresses[0], titles[0]), LOOK)), label)

    def batches() -> Iterator["pyarrow.RecordBatch"]:
        for address, title, found in in_order(addresses, titles):
            rest = iter(found)
            while some := list(islice(rest, ROWS)):
                yield columns.rows(some, address, title, sizes)

    shown = list(given) if len(given) <= 4 else [given[0], "…", given[-1]]
    description = {"kind": "webdataset", "source": shown, "files": len(addresses), **columns.told()}
    return Part(description, batches, columns.carried(), what=", ".join(shown))


def in_order(addresses: Sequence[str], titles: Sequence[str]) -> Iterator[tuple[str, str, Iterable[Sample]]]:
    """Archives and their samples; those that are not on this machine are read several at a time."""
    local = [places.is_local(address) for address in addresses]
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="pellucid-tars") as pool:
        waiting: deque[tuple[str, str, Iterable[Sample] | Future[list[Sample]]]] = deque()
        try:
            for address, title, here in zip(addresses, titles, local, strict=True):
                found = samples(address, title)
                waiting.append((address, title, found if here else pool.submit(list, found)))
                if len(waiting) == AHEAD or here:
                    yield _come(*waiting.popleft())
            while waiting:
                yield _come(*waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _come(
    address: str, title: str, found: "Iterable[Sample] | Future[list[Sample]]"
) -> tuple[str, str, Iterable[Sample]]:
    return address, title, found.result() if isinstance(found, Future) else found


def samples(address: str, title: str) -> Iterator[Sample]:
    """The samples of an archive, in its order; the last one of a cut one is the cut."""
    for _, group in groupby(files(address), lambda one: one.key):
        some = list(group)
        exact = [one for one in some if f".{one.suffix}" in SUFFIXES]
        sample = Sample()
        for one in exact or [one for one in some if os.path.splitext(one.name)[1].lower() in SUFFIXES]:
            sample.pictures.append((f"{title}!{written(one.name)}", f"tar:{one.offset}:{one.size}"))
        for one in some:
            if one.suffix == "end":
                sample.pictures.append((f"{title}!{one.name}", f"end:{one.offset}"))
            elif one.suffix == "cls":
                sample.label = one.content.decode(errors="replace").strip()
            elif one.suffix == "txt":
                sample.text = one.content.decode(errors="replace")
            elif one.suffix == "json":
                try:
                    sample.stored = json.loads(one.content)
                except ValueError:  # kept as it is, for whoever looks for it
                    sample.stored = one.content.decode(errors="replace")
        if sample.pictures:
            yield sample


@dataclass(frozen=True)
class File:
    """A file of an archive."""

    name: str
    offset: int
    size: int
    content: bytes = b""

    @property
    def key(self) -> str:
        """What the files of a sample share: folder and name up to its first dot."""
        folder, _, name = self.name.rpartition("/")
        return f"{folder}/{name.partition('.')[0]}"

    @property
    def suffix(self) -> str:
        """What follows the first dot of its name, in small letters."""
        return self.name.rpartition("/")[2].partition(".")[2].lower()


def files(address: str) -> Iterator[File]:
    """The files of an archive by their headers; at last `(cut).end` where the archive is cut or damaged."""
    with places.sentences(address), closing(unpacked(address)) as packed:
        watched = Watched(packed)
        end, whole = 0, False
        try:
            with tarfile.open(fileobj=watched, mode="r:") as archive:  # type: ignore[call-overload]
                while (found := archive.next()) is not None:
                    archive.members.clear()  # which would grow with the archive
                    end = archive.offset
                    name = found.name.removeprefix("./")
                    if found.isdir() or name.rpartition("/")[2].startswith("."):
                        continue
                    one = File(name, found.offset_data, found.size)
                    if one.suffix in ("cls", "json", "txt"):
                        packed.seek(one.offset)
                        one = File(name, one.offset, one.size, packed.read(one.size))
                    yield one
                whole = watched.last == b"\0" * tarfile.BLOCKSIZE
        except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError):
            pass  # a network that fails is no cut
    if not whole:
        yield File("(cut).end", end, 0)


class Watched:
    """A file that keeps what was read last: tarfile takes a cut header, and one of zeros, for the end."""

    def __init__(self, file: Any) -> None:
        self.last, self._file = b"", file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        """Some bytes."""
        self.last = self._file.read(size)
        return self.last


@dataclass(frozen=True)
class Columns:
    """Which columns samples have: kinds of JSON's keys, and which of them is the label, which the boxes."""

    kinds: Mapping[str, str]
    label: str | None
    boxes: str | None
    text: bool
    rest: bool

    @classmethod
    def of(cls, some: Sequence[Sample], label: str | None) -> "Columns":
        """By a look at the first samples.

        Raises:
            InvalidValue: there is no such key.
        """
        stored = [sample.stored for sample in some if isinstance(sample.stored, dict)]
        seen: dict[str, set[str]] = {}
        for one in stored:
            for key, value in one.items():
                seen.setdefault(key, set()).add(kind_of(value))
        if label not in (None, "none", "folder", "cls") and label not in seen:
            raise InvalidValue(
                f"The samples' JSON has no key {label!r}; there are {', '.join(map(repr, seen)) or 'none'}: "
                "name one of them."
            )
        usual = next((key for key in LABELS if key in seen), None)
        if any(sample.label is not None for sample in some):
            usual = "cls"
        chosen = None if label == "none" else usual if label in (None, "folder") else label
        boxes = next((key for key in BOXES if key in seen), None)
        kinds = {
            key: joined(kinds - {"null"}) for key, kinds in seen.items() if key not in (chosen, boxes, REST)
        }
        text, rest = (any(getattr(s, name) is not None for s in some) for name in ("text", "stored"))
        return cls(kinds, chosen, boxes, text, rest)

    def carried(self) -> list["pyarrow.Field"]:
        """The columns that are brought along."""
        pa = arrow()
        text = pa.string()
        types = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "str": text, "json": text}
        fields = [pa.field(key, types[kind]) for key, kind in self.kinds.items()]
        fields += [pa.field("txt", pa.string())] if self.text and "txt" not in self.kinds else []
        return fields + ([pa.field(REST, pa.string())] if self.rest else [])

    def told(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "columns": {"label": self.label, "boxes": self.boxes},
            "carried": {one.name: str(one.type) for one in self.carried()},
        }

    def rows(self, some: Sequence[Sample], address: str, title: str, sizes: bool) -> "pyarrow.RecordBatch":
        """Rows of a plan for some samples, one a picture."""
        pa = arrow()
        flat = [(sample, at) for sample in some for at in sample.pictures]
        labels = [
            sample.label if self.label == "cls" else self.value(sample, self.label) for sample, _ in flat
        ]
        columns: dict[str, Any] = {
            "id": [at[0] for _, at in flat],
            "uri": [address] * len(flat),
            "member": [at[1] for _, at in flat],
            "label": label_column(pa.array([as_text(one) for one in labels], pa.string()), None, title),
        }
        if self.boxes is not None:
            written = [self.value(sample, self.boxes) for sample, _ in flat]
            texts = pa.array([None if one is None else json.dumps(one) for one in written], pa.string())
            columns["boxes"] = boxes_column(texts, title, 0, sizes=sizes)
        for one in self.carried():
            if one.name == REST:
                values = [self.left(sample) for sample, _ in flat]
            elif one.name == "txt" and "txt" not in self.kinds:
                values = [sample.text for sample, _ in flat]
            else:
                values = [fitting(self.value(s, one.name), self.kinds[one.name]) for s, _ in flat]
            columns[f"{CARRIED}{one.name}"] = pa.array(values, one.type)
        return batch_of(columns)

    def value(self, sample: Sample, key: str | None) -> Any:
        """What a sample's JSON has under a key."""
        return sample.stored.get(key) if key is not None and isinstance(sample.stored, dict) else None

    def left(self, sample: Sample) -> str | None:
        """What of a sample's JSON has no column, or does not fit it, as JSON."""
        if not isinstance(sample.stored, dict):
            return None if sample.stored is None else as_text(sample.stored)
        known = {self.label, self.boxes}
        left = {
            key: value
            for key, value in sample.stored.items()
            if value is not None
            and key not in known
            and (key not in self.kinds or fitting(value, self.kinds[key]) is None)
        }
        return json.dumps(left, ensure_ascii=False) if left else None


def written(text: str) -> str:
    """A text without what UTF-8 cannot hold: bytes of other encodings in names, halves of characters."""
    try:
        raw = text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raw = text.encode(errors="surrogatepass")
    return raw.decode(errors="backslashreplace")


def kind_of(value: Any) -> str:
    """What kind of column holds a value of JSON's."""
    if value is None:
        return "null"
    return {bool: "bool", int: "int", float: "float", str: "str"}.get(type(value), "json")


def joined(kinds: set[str]) -> str:
    """A kind that holds all of these."""
    if kinds <= {"int", "float"} and kinds:
        return "float" if "float" in kinds else "int"
    return next(iter(kinds)) if len(kinds) == 1 else "json"


def fitting(value: Any, kind: str) -> Any:
    """A value for a column of a kind; None where it does not fit."""
    own = kind_of(value)
    if own == "null":
        return None
    if kind == "json":
        return json.dumps(value, ensure_ascii=False)
    if kind == "float" and own == "int":
        return float(value)
    if own == kind == "str":
        return written(value)
    if own == kind == "int" and not -(2**63) <= value < 2**63:
        return None
    return value if own == kind else None


def as_text(value: Any) -> str | None:
    """A label as text; lists and objects as JSON."""
    if value is None or isinstance(value, str):
        return value and written(value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else json.dumps(value)
