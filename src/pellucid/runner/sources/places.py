"""Files and folders of this machine and of any file system that fsspec knows, by one address."""

import os
import re
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from pellucid.errors import ExtraMissing, FileMissing, InvalidValue, PellucidError, first_line

T = TypeVar("T")
TRIES = 3
"""How often a remote file is asked for before it counts as unreachable."""
WAIT = 0.5
"""Seconds before the second try; each further one waits four times as long."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_GONE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


def is_url(address: str) -> bool:
    """Whether an address names its file system, as in `s3://bucket/cat.jpg`.

    Example:
        >>> is_url("s3://bucket/cat.jpg"), is_url("photos/cat.jpg")
        (True, False)
    """
    return _URL.match(address) is not None


def absolute(address: str | os.PathLike[str]) -> str:
    """An address that holds in any process: URLs as they are, `file://` and paths as absolute paths.

    Example:
        >>> absolute("s3://bucket/cat.jpg")
        's3://bucket/cat.jpg'
        >>> absolute("file:///data/a%20b.jpg")
        '/data/a b.jpg'
    """
    text = os.fspath(address)
    if text.startswith("file://"):
        return local_path(text)
    return text if is_url(text) or text.startswith("sample:") else os.path.abspath(os.path.expanduser(text))


def local_path(uri: str) -> str:
    """The path of a local file's address."""
    return os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))) if uri.startswith("file://") else uri


def odd_path(path: str) -> str:
    """The address of a local file whose name is not UTF-8, in characters that are."""
    return "file://" + quote_from_bytes(os.fsencode(path))


def is_local(address: str) -> bool:
    """Whether a file is reached by its path."""
    return address.startswith("file://") or not is_url(address)


def name_of(address: str) -> str:
    """The last part of an address, without what a URL asks its server.

    Example:
        >>> name_of("https://host/photos/cat.jpg?size=big")
        'cat.jpg'
    """
    path = urlsplit(address).path if re.match(r"https?://", address) else address
    return path.rstrip("/").rpartition("/")[2]


def suffix_of(address: str) -> str:
    """The suffix of a file in small letters, that of a compressed one in front: `.tar.gz`.

    Example:
        >>> suffix_of("a/LIST.CSV"), suffix_of("s3://b/x.tar.gz"), suffix_of("v1.2/data")
        ('.csv', '.tar.gz', '')
    """
    stem, last = os.path.splitext(name_of(address).lower())
    return os.path.splitext(stem)[1] + last if last == ".gz" else ".tar.gz" if last == ".tgz" else last


def parent_of(address: str) -> str:
    """The folder that holds a file."""
    return address.rstrip("/").rpartition("/")[0] or "/"


def join(folder: str, name: str) -> str:
    """The address of something in a folder; an absolute one stays as it is."""
    if is_url(name) or os.path.isabs(name) or name.startswith("sample:"):
        return name
    return f"{folder.rstrip('/')}/{name}"


def listing(folder: str) -> list[str]:
    """The names in a folder, those of folders with a slash at the end, in the order of their whole paths.

    Raises:
        FileMissing: there is no such folder.
        InvalidValue: it cannot be read.
    """
    with sentences(folder):
        if is_local(folder):
            with os.scandir(folder) as entries:
                return sorted(name for one in entries if (name := _name(one)))
        system, path = _system(folder)
        names = set()
        found = system.ls(f"{path}/" if path.startswith("http") else path, detail=True)
        system.invalidate_cache(path)  # back ends keep every listing there ever was
        for one in found:
            name = one["name"].rstrip("/").rpartition("/")[2]
            if "?" not in name and name and one["name"].rstrip("/") != path.rstrip("/"):
                names.add(f"{name}/" if one["type"] == "directory" else name)
        return sorted(names)


def _name(entry: "os.DirEntry[str]") -> str:
    """A name, with a slash if it is a folder's; none of what can only be waited at: pipes, sockets."""
    try:
        if entry.is_dir():
            return f"{entry.name}/"
    except OSError:  # a link that leads in a circle
        return entry.name
    return entry.name if entry.is_file(follow_symlinks=False) or entry.is_symlink() else ""


def is_folder(address: str) -> bool:
    """Whether an address is that of a folder; a web server's are those that end with a slash."""
    if is_local(address):
        return os.path.isdir(local_path(address))
    if re.match(r"https?://", address):
        return urlsplit(address).path.endswith("/")
    with sentences(address):
        system, path = _system(address)
        return bool(system.isdir(path))


def exists(address: str) -> bool:
    """Whether there is a file or folder."""
    if is_local(address):
        return os.path.exists(local_path(address))
    with sentences(address):
        system, path = _system(address)
        return bool(system.exists(path))


def open_file(address: str) -> Any:
    """A file to read from, at any place of it.

    Raises:
        FileMissing: there is no such file.
        InvalidValue: it cannot be read; the web server does not send parts of files.
        ExtraMissing: a library for this kind of address is not installed.
    """
    with sentences(address):
        if is_local(address):
            return Path(local_path(address)).open("rb")
        system, path = _system(address)
        file = system.open(path, "rb")
        if not file.seekable():
            file.close()
            raise InvalidValue(
                f"{address}: a file that holds several pictures is read in parts, which its server does not "
                "send (no Content-Length, or no byte ranges): download it, and name the copy."
            )
        return file


def open_stream(address: str) -> Any:
    """A remote file to read once, from front to end.

    Raises:
        PellucidError: as for `open_file`.
    """
    with sentences(address):
        system, path = _system(address)
        return system.open(path, "rb")


def whole(address: str) -> bytes:
    """All bytes of a file; a remote one is asked for several times.

    Raises:
        PellucidError: as for `open_file`.
    """
    with sentences(address):
        if is_local(address):
            return Path(local_path(address)).read_bytes()
        return _tried(lambda: bytes(_cat(address)))


def part(address: str, start: int, size: int) -> bytes:
    """Some bytes of a remote file, fewer where it ends before.

    Raises:
        PellucidError: as for `open_file`.
    """
    with sentences(address):
        data = _tried(lambda: bytes(_cat(address, start=start, end=start + size)))
    return data if len(data) <= size else data[start : start + size]  # a server that sends all there is


def _cat(address: str, **limits: int) -> bytes:
    system, path = _system(address)
    return cast(bytes, system.cat_file(path, **limits))


def _tried(read: Callable[[], T]) -> T:
    wait = WAIT
    for _ in range(TRIES - 1):
        try:
            return read()
        except (*_GONE, PellucidError, ImportError):
            raise
        except Exception:  # any library's own errors of the network
            time.sleep(wait)
            wait *= 4
    return read()


def _system(address: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    try:
        import fsspec
    except ImportError as error:
        raise ExtraMissing(f"URLs need fsspec ({error}): pip install 'pellucid[runs]'.") from None
    options: dict[str, Any] = {}
    if re.match(r"https?://", address):
        import aiohttp

        patience = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=60)
        options["client_kwargs"] = {"timeout": patience, "trust_env": True}
    try:
        system, path = fsspec.core.url_to_fs(address, **options)
    except ImportError as error:
        from fsspec.registry import known_implementations

        scheme = address.partition("://")[0]
        needed = known_implementations.get(scheme, {}).get("err", str(error))
        raise ExtraMissing(
            f"{address}: {scheme}:// needs a library that is not installed ({needed.rstrip('.')}): "
            f"pip install {_PACKAGES.get(scheme, 'that package')}, or name a local copy."
        ) from None
    except ValueError as error:
        raise InvalidValue(
            f"{address}: an address must be a local path or of a scheme that fsspec knows, such as s3://, "
            f"gs://, https:// ({first_line(error)}): check its beginning."
        ) from None
    return system, path


_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs",
    "az": "adlfs", "hf": "huggingface_hub", "sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol",
    "oci": "ocifs", "http": "aiohttp", "https": "aiohttp",
}  # fmt: skip
"""What has the back end of a scheme, by its name in the registry of packages."""


@contextmanager
def sentences(address: str) -> Iterator[None]:
    """Within this block what a file system raises becomes a sentence about the address.

    Raises:
        FileMissing: there is nothing.
        InvalidValue: it cannot be read.
    """
    try:
        yield
    except (PellucidError, MemoryError):
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing(f"{address}: no such file or folder; check the name.") from None
    except PermissionError:
        raise InvalidValue(f"{address} may not be read (permission denied): check your rights.") from None
    except Exception as error:
        # ValueError: a path that holds a zero byte.
        if is_local(address) and not isinstance(error, OSError | EOFError | ValueError | zlib.error):
            raise
        raise InvalidValue(
            f"{address} cannot be read ({first_line(error)}): check the address"
            f"{'' if is_local(address) else ' and the network'}, and try again."
        ) from error


def expanded(address: str) -> list[str]:
    """An address with its braces written out: `x-{000..010}.tar`, `{train,val}.csv`.

    Example:
        >>> expanded("x-{08..10}.tar")
        ['x-08.tar', 'x-09.tar', 'x-10.tar']
        >>> expanded("{a,b}/c")
        ['a/c', 'b/c']
    """
    found = re.search(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}", address)
    if found is None or (is_local(address) and os.path.exists(address)):
        return [address]
    inner = found[1]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", inner)
    if numbers is None and "," not in inner:
        return [address]
    if numbers is not None:
        width = len(numbers[1]) if numbers[1].startswith("0") or len(numbers[1]) == len(numbers[2]) else 1
        choices = [f"{n:0{width}d}" for n in range(int(numbers[1]), int(numbers[2]) + 1)]
    else:
        choices = inner.split(",")
    before, after = address[: found.start()], address[found.end() :]
    return [one for choice in choices for one in expanded(f"{before}{choice}{after}")]
