"""MNIST and Fashion-MNIST from the network: four files whose checksums hold, or none."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from pellucid.choices import Downloadable
from pellucid.engine.progress import Progress, showing
from pellucid.errors import ModelError, first_line
from pellucid.files import atomic_write, cache_folder

_PATIENCE = 20.0  # seconds without a byte
_CHUNK = 1 << 16
_EXPECTED = 12 << 20  # bytes of a set, where its server does not say


@dataclass(frozen=True)
class Source:
    """Where the files of a set are, by address; the MD5 of each by its name."""

    addresses: tuple[str, ...]
    checksums: Mapping[str, str]


class DownloadFailed(ModelError):
    """A set of pictures that could not be downloaded."""


def source_of(name: Downloadable) -> Source:
    """Where torchvision has a set from, and the checksums that it knows."""
    from torchvision.datasets import MNIST, FashionMNIST

    kind = {"mnist": MNIST, "fashion-mnist": FashionMNIST}[name]
    return Source(tuple(kind.mirrors), dict(kind.resources))


def download(
    name: Downloadable,
    folder: Path | None = None,
    *,
    source: Source | None = None,
    progress: bool | None = None,
) -> Path:
    """The folder with a set's files; those that are not there yet are downloaded.

    Nothing is written before all of them have come whole and with the right checksums.

    Args:
        name: "mnist" or "fashion-mnist".
        folder: where the files go; the user's cache unless given.
        source: where they come from; torchvision's addresses unless given.
        progress: whether a bar is shown; None where there is a terminal.

    Raises:
        DownloadFailed: no server could be reached, or what came is damaged.
        NotWritten: the files cannot be written there.
    """
    folder = folder if folder is not None else cache_folder() / "digits" / name
    source = source if source is not None else source_of(name)
    lacking = {
        file: checksum for file, checksum in source.checksums.items() if not _holds(folder / file, checksum)
    }
    with showing(f"downloading {name}", _EXPECTED, progress) as bar:
        come = {file: _fetched(name, file, checksum, source, bar) for file, checksum in lacking.items()}
    for file, data in come.items():
        with atomic_write(folder / file) as temporary:
            temporary.write_bytes(data)
    return folder


def _holds(path: Path, checksum: str) -> bool:
    """Whether a file is there as it should be."""
    return path.is_file() and _md5(path.read_bytes()) == checksum


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _fetched(name: str, file: str, checksum: str, source: Source, bar: Progress) -> bytes:
    """A file from the first address that gives it whole."""
    reasons = []
    for address in source.addresses:
        try:
            data = _read(f"{address.rstrip('/')}/{file}", bar)
        except (OSError, ValueError) as error:  # of the network; urllib's own are OSErrors
            reasons.append(f"{address}: {first_line(error)}")
            continue
        if _md5(data) == checksum:
            return data
        reasons.append(f"{address}: {file} came damaged, with the MD5 {_md5(data)} and not {checksum}")
    raise DownloadFailed(
        f"{name} cannot be downloaded ({'; '.join(reasons)}): nothing was written. Pass the files' folder as "
        "--data DIR, or leave both out for the bundled digits."
    )


def _read(address: str, bar: Progress) -> bytes:
    parts = []
    with urlopen(address, timeout=_PATIENCE) as answer:
        wanted = answer.headers.get("Content-Length")
        while part := answer.read(_CHUNK):
            parts.append(part)
            bar.advance(len(part))
    data = b"".join(parts)
    if wanted is not None and len(data) < int(wanted):
        raise OSError(f"the connection ended after {len(data)} of {wanted} bytes")
    return data
