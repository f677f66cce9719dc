"""A row of a plan -> the bytes of its picture, and the picture; in any thread or process, from the row alone.

A `member` says where in its file a picture is:

- `tar:OFFSET:SIZE`: bytes of a tar, of what is inside where it is compressed;
- `parquet:GROUP:ROW:COLUMN`: a row of a row group, the picture in a column of bytes or of {bytes, path};
- `arrow:OFFSET:ROW:COLUMN`: a row of the record batch at that place of an Arrow stream;
- `jsonl:OFFSET:SIZE:COLUMN`: a line, the picture in base64;
- `end:OFFSET`: nothing; the archive is cut there.
"""

import base64
import binascii
import gzip
import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, cast

from pellucid.errors import InvalidValue, PellucidError, PictureError, first_line
from pellucid.images import Picture, open_encoded
from pellucid.images import locate as located
from pellucid.runner.schema import arrow
from pellucid.runner.sources import places

HANDLES = 4
"""How many files each thread keeps open."""
AT_ONCE = 8
"""How many rows of a Parquet file are decoded together: each thread holds so many pictures."""


def read_bytes(uri: str, member: str | None = None) -> bytes:
    """The bytes of a picture's file, by a row of a plan.

    Any number of threads and processes may call it. Each thread keeps a few archives open; it is fastest
    where a thread reads the rows of one archive in order.

    Args:
        uri: the file: a path, `sample:NAME`, or any URL of fsspec's.
        member: where in the file the picture is; None where the file is the picture.

    Returns:
        The bytes, as a file of the picture alone would have them.

    Raises:
        FileMissing: there is no such file.
        PictureError: it cannot be read, or holds no picture there.
        ExtraMissing: a library for this kind of address is not installed.

    Example:
        >>> read_bytes("sample:cat")[:4]
        b'\\x89PNG'
    """
    try:
        if member is not None:
            return _member(uri, member)
        if not uri:
            raise PictureError("This row of the list names no picture: fill in its path, or remove it.")
        return places.whole(str(located(uri)[1]) if uri.startswith("sample:") else uri)
    except BaseException as error:
        _forget(uri)  # the next try opens the file anew
        if isinstance(error, InvalidValue) and not isinstance(error, PictureError):
            raise PictureError(str(error)) from error
        raise


def read_picture(
    uri: str, member: str | None = None, id: str | None = None, *, range: Any = None
) -> tuple[Picture, str]:
    """The picture of a row of a plan, and the digest of its file: BLAKE2b, 16 bytes, in hex.

    Args:
        uri: see `read_bytes`.
        member: likewise.
        id: what errors and notes call the picture; `uri` unless given.
        range: black and white of more than 8 bits, as for `open_picture`; 8 bits are read as they are.

    Returns:
        The picture, and the digest.

    Raises:
        PellucidError: as for `read_bytes` and `open_picture`.

    Example:
        >>> picture, digest = read_picture("sample:cat")
        >>> picture.name, picture.rgb.size, len(digest)
        ('cat', (451, 300), 32)
    """
    called = id if id is not None else uri
    data = read_bytes(uri, member)
    picture = open_encoded(data, called, range=range)
    alone = member is None and places.is_local(uri) and not uri.startswith("sample:")
    path = Path(places.local_path(uri)) if alone else None
    inner = called.removeprefix("sample:").rpartition("!")
    name = PurePosixPath(inner[2]).stem if not inner[1] or not inner[2].isdigit() else called
    return replace(picture, name=name, path=path), digest_of(data)


def digest_of(data: bytes) -> str:
    """BLAKE2b of 16 bytes, in hex."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _member(uri: str, member: str) -> bytes:
    kind, _, where = member.partition(":")
    if kind == "end":
        raise PictureError(
            f"{uri} is cut or damaged at byte {where}: what it held after that is lost; restore the file, "
            "and plan anew."
        )
    try:
        if kind in ("tar", "jsonl"):
            start, size, *column = where.split(":", 2)
            data = _piece(uri, int(start), int(size))
            return _decoded(data, column[0]) if column else data
        first, row, name = where.split(":", 2)
        kept: _Rows = _kept((kind, uri), partial({"parquet": _ParquetRows, "arrow": _ArrowRows}[kind], uri))
        return _picture_in(kept.value(int(first), int(row), name), uri)
    except (KeyError, ValueError) as error:
        if isinstance(error, PellucidError):
            raise
        raise PictureError(
            f"{uri}: a member must be one of those that a plan holds; got {member!r} ({first_line(error)}): "
            "plan anew."
        ) from None


def _piece(uri: str, start: int, size: int) -> bytes:
    """Some bytes of a file, of what is inside where it is compressed."""
    if places.is_local(uri) or uri.endswith(("gz", "tgz")):
        file = _kept(("bytes", uri), partial(unpacked, uri)).file
        with places.sentences(uri):
            file.seek(start)
            data = cast(bytes, file.read(size))
    else:
        data = places.part(uri, start, size)
    if len(data) < size:
        raise PictureError(
            f"{uri} ends within this picture ({len(data)} of its {size} bytes are there): restore the file."
        )
    return data


def _decoded(line: bytes, column: str) -> bytes:
    """The picture in a column of a line of JSON."""
    value = json.loads(line)[column]
    text = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise PictureError(f"The column {column!r} of this line must hold a picture in base64; it is empty.")
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except binascii.Error as error:
        raise PictureError(f"The column {column!r} must hold pictures in base64 ({error}).") from None


def _picture_in(value: Any, uri: str) -> bytes:
    """The bytes of a value of a column of pictures: binary, or {bytes, path} as Hugging Face has them."""
    path = value.get("path") if isinstance(value, dict) else None
    data = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(data, bytes):
        return data
    if path:
        return places.whole(places.join(places.parent_of(uri), path))
    raise PictureError(f"This row of {uri} holds no picture: neither bytes nor a path.")


class Kept:
    """What a thread keeps open for a while."""

    def close(self) -> None:
        """Closes it."""


class _Open(Kept):
    """A file that is kept open."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def close(self) -> None:
        """Closes it."""
        self.file.close()


class _Rows(Kept):
    """Rows of a file that is kept open."""

    def value(self, first: int, row: int, column: str) -> Any:
        """The value of a row: of a row group, or of the batch at an offset."""
        raise NotImplementedError


K = TypeVar("K", bound=Kept)


class _Handles(threading.local):
    """What a thread keeps open; a process that was forked opens its own, which share no position."""

    def __init__(self) -> None:
        self.open: OrderedDict[tuple[str, str], Kept] = OrderedDict()
        self.process = os.getpid()


_HANDLES = _Handles()


def _kept(key: tuple[str, str], make: Callable[[], K]) -> K:
    """What is open under a key; the one that was used longest ago is closed for it."""
    if _HANDLES.process != os.getpid():
        _HANDLES.open.clear()
        _HANDLES.process = os.getpid()
    found = _HANDLES.open.pop(key, None)
    if found is None:
        while len(_HANDLES.open) >= HANDLES:
            _HANDLES.open.popitem(last=False)[1].close()
        found = make()
    _HANDLES.open[key] = found
    return cast(K, found)


def _forget(uri: str) -> None:
    """Closes what this thread has open of a file."""
    for key in [key for key in _HANDLES.open if key[1] == uri]:
        with suppress(Exception):
            _HANDLES.open.pop(key).close()


def unpacked(uri: str) -> _Open:
    """A file opened, and unpacked by gzip if it is compressed."""
    file = places.open_file(uri)
    packed = uri.endswith(("gz", "tgz"))
    return _Open(gzip.GzipFile(fileobj=file) if packed else file)


class _ParquetRows(_Rows):
    """Rows of a Parquet file, decoded few at a time: whoever reads on in order decodes each once."""

    def __init__(self, uri: str) -> None:
        arrow()
        import pyarrow.parquet

        self.uri, self.raw = uri, places.open_file(uri)
        with _corrupt(uri):
            self.file = pyarrow.parquet.ParquetFile(self.raw, pre_buffer=False, buffer_size=1 << 16)
        self.place: tuple[int, str] | None = None
        self.rows: Iterator[Any] = iter(())
        self.values: Any = None
        self.start = self.end = 0

    def value(self, first: int, row: int, column: str) -> Any:
        """The value of one row of a group."""
        with _corrupt(self.uri):
            if self.place != (first, column) or row < self.start:
                self.rows = self.file.iter_batches(AT_ONCE, row_groups=[first], columns=[column])
                self.place, self.start, self.end = (first, column), 0, 0
            while row >= self.end:
                self.values = next(self.rows).column(0)
                self.start, self.end = self.end, self.end + len(self.values)
            return self.values[row - self.start].as_py()

    def close(self) -> None:
        """Closes the file."""
        self.file.close()
        self.raw.close()


class _ArrowRows(_Rows):
    """Rows of an Arrow stream, one record batch at a time."""

    def __init__(self, uri: str) -> None:
        self.uri, self.stream = uri, arrow_stream(uri)
        with _corrupt(uri):
            self.schema = arrow().ipc.read_schema(self.stream)
        self.place = -1
        self.batch: Any = None

    def value(self, first: int, row: int, column: str) -> Any:
        """The value of one row of the batch at an offset."""
        with _corrupt(self.uri):
            if self.place != first:
                self.stream.seek(first)
                ipc = arrow().ipc
                self.batch = ipc.read_record_batch(ipc.read_message(self.stream), self.schema)
                self.place = first
            return self.batch.column(self.batch.schema.get_field_index(column))[row].as_py()

    def close(self) -> None:
        """Closes the file."""
        self.batch = None
        self.stream.close()


def arrow_stream(uri: str) -> Any:
    """An Arrow file to read from, mapped into memory where it is on this machine."""
    pa = arrow()
    with places.sentences(uri):
        if places.is_local(uri):
            return pa.memory_map(places.local_path(uri))
    return pa.PythonFile(places.open_file(uri), mode="r")


class _corrupt:  # noqa: N801
    """Within this block what a damaged file makes Arrow raise becomes a sentence."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: object) -> None:
        """Turns the error."""
        known = (arrow().ArrowException, OSError, StopIteration, IndexError, EOFError)
        if isinstance(error, known) and not isinstance(error, PellucidError):
            raise PictureError(
                f"{self.uri} is damaged, or no longer what it was when it was planned ({first_line(error)}): "
                "restore the file, or plan anew."
            ) from error
