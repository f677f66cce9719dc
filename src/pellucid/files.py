"""Files that are whole or absent: atomic writing, which writer a suffix asks for, and lists of results."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pellucid.errors import FileMissing, InvalidValue, NotWritten, PellucidError

T = TypeVar("T")
Writer = Callable[[Path], object]
"""Writes a file at a path whose folder exists."""


def by_suffix(path: str | os.PathLike[str], table: Mapping[str, T]) -> T:
    """What a table of suffixes has for a path, whatever the case of its letters.

    Raises:
        InvalidValue: another suffix; the message lists those there are.

    Example:
        >>> by_suffix("map.PNG", {".png": "a picture", ".html": "a page"})
        'a picture'
    """
    suffix, name = Path(path).suffix.lower(), Path(path).name
    if suffix not in table:
        *others, last = table
        listed = f"{', '.join(others)} or {last}" if others else last
        raise InvalidValue(f"path must end in {listed}; got {name!r}.")
    return table[suffix]


def save_by_suffix(path: str | os.PathLike[str], writers: Mapping[str, Writer]) -> Path:
    """Writes one file, whole or not at all, by the writer for its suffix; returns the path.

    Args:
        path: the file; its folder must exist.
        writers: for each suffix in small letters, a dot in front, what writes such a file.

    Raises:
        InvalidValue: another suffix.
        FileMissing: the folder does not exist.

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


def check_folder(path: Path) -> None:
    """Refuses a file whose folder does not exist.

    Raises:
        FileMissing: names the folder.
        NotWritten: a file is where the folder should be.
    """
    if not path.parent.is_dir():
        if path.parent.exists():
            raise NotWritten(f"The folder of {str(path)!r} must be one, but {str(path.parent)!r} is a file.")
        raise FileMissing(
            f"The folder of {str(path)!r} must exist; there is no {str(path.parent)!r}: create it first."
        )


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` once the block ends well.

    Readers see the old file or the new one, never a part. If the block raises (Ctrl-C included), the old
    file stays as it was and the temporary one is removed. Its suffix is that of `path`.

    Raises:
        FileMissing: the folder does not exist.
        NotWritten: the file cannot be written there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(f"{folder}/note.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (Path(folder) / "note.txt").read_text()
    'whole'
    """
    final = Path(path)
    check_folder(final)
    with written_to(final):
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
