"""IDX files, the format of MNIST and its kin: big-endian sizes, then bytes; gzipped or not."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pellucid.errors import FileMissing, InvalidValue

_HEAD = 4  # bytes: two zeros, the type of the values, the number of axes
_UNSIGNED_BYTES = 8


def read_images(path: str | Path) -> UInt8[np.ndarray, "N H W"]:
    """The grey pictures of an IDX file.

    Raises:
        FileMissing: there is no such file.
        InvalidValue: it is damaged, truncated or holds something else, such as labels.
    """
    images = read_idx(path)
    if images.ndim == 1:
        raise InvalidValue(
            f"{path} must hold images (3 axes); it holds {len(images)} labels (1 axis): are two files "
            "swapped?"
        )
    if images.ndim != 3 or 0 in images.shape:
        raise InvalidValue(f"{path} must hold images (N, H, W); its shape is {images.shape}.")
    return images


def read_labels(path: str | Path, classes: int) -> UInt8[np.ndarray, "N"]:
    """The labels of an IDX file, from 0 to `classes` - 1.

    Raises:
        FileMissing: there is no such file.
        InvalidValue: it is damaged, truncated or holds something else, such as images; a label out of range.
    """
    labels = read_idx(path)
    if labels.ndim == 3:
        raise InvalidValue(
            f"{path} must hold labels (1 axis); it holds {len(labels)} images (3 axes): are two files "
            "swapped?"
        )
    if labels.ndim != 1 or not len(labels):
        raise InvalidValue(f"{path} must hold labels (N,); its shape is {labels.shape}.")
    wrong = np.flatnonzero(labels >= classes)
    if len(wrong):
        raise InvalidValue(
            f"{path} must hold labels from 0 to {classes - 1}; {len(wrong)} are above, the first is "
            f"{labels[wrong[0]]} at position {wrong[0]}."
        )
    return labels


def read_idx(path: str | Path) -> UInt8[np.ndarray, "..."]:
    """The array of bytes in an IDX file.

    Raises:
        FileMissing: there is no such file.
        InvalidValue: it is no IDX file of bytes, is truncated, or has bytes left over.
    """
    data = _unpacked(Path(path))
    if len(data) < _HEAD or data[:2] != b"\0\0":
        raise InvalidValue(
            f"{path} must be an IDX file, which begins with two zero bytes; it begins with {data[:4]!r}."
        )
    kind, axes = data[2], data[3]
    if kind != _UNSIGNED_BYTES:
        raise InvalidValue(f"{path} must hold unsigned bytes (type 8); its values are of type {kind}.")
    start = _HEAD + 4 * axes
    if len(data) < start:
        raise InvalidValue(
            f"{path} is truncated: its {axes} sizes take {start} bytes, and it has {len(data)}."
        )
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", axes, _HEAD))
    wanted = start + int(np.prod(shape, dtype=object))
    if len(data) != wanted:
        what = "is truncated" if len(data) < wanted else "has bytes left over"
        raise InvalidValue(f"{path} {what}: its shape {shape} takes {wanted} bytes, and it has {len(data)}.")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _unpacked(path: Path) -> bytes:
    """A file's bytes; those that it packs, if it is gzipped, whatever its name."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileMissing(f"There is no file {path}.") from None
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read: {error.strerror or error}.") from error
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise InvalidValue(f"{path} is truncated or damaged: it cannot be unpacked ({error}).") from error


def write_idx(path: str | Path, values: UInt8[np.ndarray, "..."]) -> None:
    """Writes bytes as an IDX file, gzipped if its name ends in .gz.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_idx(f"{folder}/labels.gz", np.array([3, 1, 4], np.uint8))
    ...     read_idx(f"{folder}/labels.gz").tolist()
    [3, 1, 4]
    """
    head = bytes([0, 0, _UNSIGNED_BYTES, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    data = head + np.ascontiguousarray(values, np.uint8).tobytes()
    path = Path(path)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
