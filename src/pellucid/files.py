"""Files that are whole or absent: atomic writing, which writer a suffix asks for, and lists of results."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pellucid.errors import InvalidType, InvalidValue, NotWritten, PellucidError

T = TypeVar("T")
Writer = Callable[[Path], object]
"""Writes a file at a path whose folder is there."""


def by_suffix(path: str | os.PathLike[str], table: Mapping[str, T]) -> T:
    """What a table of suffixes has for a path, whatever the case of its letters.

    Raises:
        InvalidValue: another suffix; the message lists those there are.

    Example:
        >>> by_suffix("map.PNG", {".png": "a picture", ".html": "a page"})
        'a picture'
    """
    file = file_path(path)
    suffix, name = file.suffix.lower(), file.name
    if suffix not in table:
        *others, last = table
        listed = f"{', '.join(others)} or {last}" if others else last
        raise InvalidValue(f"path must end in {listed}; got {name!r}.")
    return table[suffix]


def file_path(path: Any) -> Path:
    """The path of a file that is to be read or written.

    Raises:
        InvalidType: no path, such as an open file.
    """
    if isinstance(path, str | os.PathLike) and isinstance(os.fspath(path), str):
        return Path(path)
    raise InvalidType(
        f"path must be the name of a file, such as 'cat.png'; got {type(path).__name__}: what .plot() gives "
        "writes to open files and to memory, .plot().savefig(file, format='png')."
    )


def save_by_suffix(path: str | os.PathLike[str], writers: Mapping[str, Writer]) -> Path:
    """Writes one file, whole or not at all, by the writer for its suffix; returns the path.

    Args:
        path: the file; its folder is made where it is not there yet.
        writers: for each suffix in small letters, a dot in front, what writes such a file.

    Raises:
        InvalidValue: another suffix.
        InvalidType: no path.
        NotWritten: the folder cannot be made, or the file not be written there.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_by_suffix(f"{folder}/note.txt", {".txt": lambda path: path.write_text("whole")})
        ...     path.read_text()
        'whole'
    """
    write = by_suffix(path, writers)
    with atomic_write(path) as temporary:
        write(temporary)
    return Path(path)


@contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    """Makes the folder, and those above it; what was made goes again if the block raises.

    Raises:
        NotWritten: it cannot be made.
    """
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    make_folder(folder)
    try:
        yield
    except BaseException:
        for one in new:
            with suppress(OSError):  # somebody else has put a file there
                one.rmdir()
        raise


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` once the block ends well.

    Readers see the old file or the new one, never a part. If the block raises (Ctrl-C included), the old
    file stays as it was and the temporary one is removed. Its suffix is that of `path`. A folder that is not
    there is made.

    Raises:
        NotWritten: the folder cannot be made, or the file not be written there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(f"{folder}/note.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (Path(folder) / "note.txt").read_text()
    'whole'
    """
    final = Path(path)
    with written_to(final), _in_folder(final.parent):
        handle, name = tempfile.mkstemp(dir=final.parent, prefix=f".{final.stem[:40]}-", suffix=final.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(final.stat().st_mode & 0o777 if final.exists() else 0o666 & ~_umask())
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, and those above it, made where they are not there yet.

    Raises:
        NotWritten: it cannot be made.
    """
    folder = Path(path)
    with written_to(folder, what="folder", done="made"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache_folder() -> Path:
    """Where what takes long to make is kept: `pellucid` in $XDG_CACHE_HOME, or in ~/.cache."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    return root / "pellucid"


@contextmanager
def written_to(path: Path, what: str = "file", done: str = "written") -> Iterator[None]:
    """Within this block the system's own errors become sentences about the path.

    Raises:
        NotWritten: naming it, with the reason.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, PellucidError) or error.errno is None:
            raise
        taken = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a file is where the folder should be" if taken else (error.strerror or str(error))
        raise NotWritten(
            f"The {what} {str(path)!r} cannot be {done} ({reason}): choose another place for it"
            f"{', or make room' if error.errno in (errno.ENOSPC, errno.EDQUOT) else ''}."
        ) from error


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


RESULTS = ".pellucid-results"
"""The hidden file that names, line by line, which pictures of its folder are results and not photographs."""


def mark_results(paths: Iterable[Path]) -> None:
    """Notes beside them that these files are results, so that their folder can be searched for pictures."""
    for folder, names in _by_folder(paths).items():
        new = [name for name in names if name not in results_in(folder)]
        if new:
            path = folder / RESULTS
            with written_to(path), path.open("a", encoding="utf-8") as file:
                file.writelines(f"{name}\n" for name in new)


def results_in(folder: Path) -> set[str]:
    """The names of a folder's files that are results; none where no one noted any, or it cannot be read."""
    try:
        return set((folder / RESULTS).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return set()


def _by_folder(paths: Iterable[Path]) -> dict[Path, list[str]]:
    folders: dict[Path, list[str]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path.name)
    return folders
