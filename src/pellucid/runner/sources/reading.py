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
import hashlib
import json
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from pellucid.errors import InvalidValue, PellucidError, PictureError, first_line
from pellucid.images import Picture, open_encoded
from pellucid.images import locate as located
from pellucid.runner.sources import places
from pellucid.runner.sources.handles import (
    enough,
    is_packed,
    read_arrow,
    read_packed,
    read_parquet,
    read_plain,
)


def read_bytes(uri: str, member: str | None = None) -> bytes:
    """The bytes of a picture's file, by a row of a plan.

    Any number of threads and processes may call it. A few archives are kept open; it is fastest where rows
    of one archive are read in order, by however many threads.

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
    except PictureError:
        raise
    except InvalidValue as error:
        raise PictureError(str(error)) from error


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
            "and start a run in a new store."
        )
    try:
        if kind in ("tar", "jsonl"):
            start, size, *column = where.split(":", 2)
            data = _piece(uri, int(start), int(size))
            return _decoded(data, column[0]) if column else data
        read = {"parquet": read_parquet, "arrow": read_arrow}[kind]
        first, row, name = where.split(":", 2)
        return _picture_in(read(uri, int(first), int(row), name), uri)
    except (KeyError, ValueError) as error:
        if isinstance(error, PellucidError):
            raise
        raise PictureError(
            f"{uri}: a member must be one of those that a plan holds; got {member!r} ({first_line(error)}): "
            "start a run in a new store."
        ) from None


def _piece(uri: str, start: int, size: int) -> bytes:
    """Some bytes of a file, of what is inside where it is compressed."""
    if is_packed(uri):
        data = read_packed(uri, start, size)
    elif places.is_local(uri):
        data = read_plain(uri, start, size)
    else:
        data = enough(places.part(uri, start, size), size, uri)
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
