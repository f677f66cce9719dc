"""Archives that are kept open: plain files by each thread, what can only be read in order by all together.

Rows of Parquet and packed archives are decoded from front to end. Threads that read such a file in order
share one decoder, and a window of what was decoded last: each picture is decoded once, by whatever thread.
"""

import bisect
import gzip
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from pellucid.errors import PellucidError, PictureError, first_line
from pellucid.runner.schema import arrow
from pellucid.runner.sources import places

HANDLES = 4
"""How many plain files each thread keeps open, and how many others a process."""
WINDOW = 1 << 26
"""Bytes that are kept of what was decoded last, of each file that is read in order."""
AT_ONCE = 8
"""Rows of a Parquet file that are decoded together."""
DAMAGE = (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError, EOFError)
"""What libraries raise on files that are not what they should be."""
BATCHES = 2
"""Record batches of an Arrow stream that are kept."""
_PIECE = 1 << 20


def read_plain(uri: str, start: int, size: int) -> bytes:
    """Some bytes of a file of this machine."""
    with places.sentences(uri):
        file = _FILES.open.pop(uri, None)
        if file is None or _FILES.process != os.getpid():
            _FILES.forked()
            while len(_FILES.open) >= HANDLES:
                _FILES.open.popitem(last=False)[1].close()
            file = places.open_file(uri)
        # Kept only if nothing goes wrong: the next try opens the file anew.
        file.seek(start)
        data = enough(cast(bytes, file.read(size)), size, uri)
        _FILES.open[uri] = file
        return data


def enough(data: bytes, size: int, uri: str) -> bytes:
    """Bytes of a file, all that were asked for.

    Raises:
        PictureError: there are fewer.
    """
    if len(data) < size:
        raise PictureError(
            f"{uri} ends within this picture ({len(data)} of its {size} bytes are there): restore the file."
        )
    return data


def read_packed(uri: str, start: int, size: int) -> bytes:
    """Some bytes of what is in a file packed by gzip."""
    return cast(bytes, _shared(("gzip", uri), lambda: _Packed(uri)).read(start, size))


def read_parquet(uri: str, group: int, row: int, column: str) -> Any:
    """The value of a row of a row group."""
    return _shared(("parquet", uri, group, column), lambda: _Group(uri, group, column)).read(row)


def read_arrow(uri: str, offset: int, row: int, column: str) -> Any:
    """The value of a row of the record batch at an offset of an Arrow stream."""
    return _shared(("arrow", uri), lambda: _Stream(uri)).read(offset, row, column)


class _Files(threading.local):
    """What a thread keeps open; a process that was forked opens its own, which share no position."""

    def __init__(self) -> None:
        self.open: OrderedDict[str, Any] = OrderedDict()
        self.process = os.getpid()

    def forked(self) -> None:
        """Lets go of what another process opened."""
        if self.process != os.getpid():
            self.open.clear()
            self.process = os.getpid()


_FILES = _Files()


class _InOrder:
    """A file that is read in order, by one thread at a time; opened when it is needed."""

    def __init__(self, uri: str) -> None:
        self.uri, self._lock, self._is_open = uri, threading.Lock(), False

    def read(self, *where: Any) -> Any:
        """What is there; after an error the next try opens the file anew."""
        with self._lock:
            try:
                if not self._is_open:
                    self._open()
                    self._is_open = True
                return self._read(*where)
            except BaseException:
                self._let_go()
                raise

    def close(self) -> None:
        """Closes it, when nobody reads."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        self._is_open = False
        with suppress(Exception):
            self._close()

    def _open(self) -> None:
        raise NotImplementedError

    def _read(self, *where: Any) -> Any:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError


class _Shared:
    """What the threads of a process keep open together."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open: OrderedDict[tuple[Any, ...], _InOrder] = OrderedDict()

    def forked(self) -> None:
        """In a child there are other threads, and its files have positions of their own."""
        self.__init__()  # type: ignore[misc]


_SHARED = _Shared()
os.register_at_fork(after_in_child=lambda: _SHARED.forked())


def _shared(key: tuple[Any, ...], make: Any) -> _InOrder:
    """What is open under a key; those that were used longest ago are closed for it."""
    with _SHARED.lock:
        found = _SHARED.open.pop(key, None) or make()
        _SHARED.open[key] = found
        old = [_SHARED.open.popitem(last=False)[1] for _ in range(len(_SHARED.open) - HANDLES)]
    for one in old:
        one.close()
    return cast(_InOrder, found)


def unpacked(uri: str) -> Any:
    """A file opened, and unpacked by gzip if it is compressed."""
    file = places.open_file(uri)
    return gzip.GzipFile(fileobj=file) if is_packed(uri) else file


def is_packed(uri: str) -> bool:
    """Whether gzip has packed a file, by its name."""
    return uri.endswith((".gz", ".tgz"))


class _Packed(_InOrder):
    """What gzip has packed."""

    def _open(self) -> None:
        with places.sentences(self.uri):
            self.file = unpacked(self.uri)
        self.starts: list[int] = []
        self.pieces: list[bytes] = []
        self.end = 0

    def _read(self, start: int, size: int) -> bytes:
        if start < (self.starts[0] if self.starts else self.end):
            self._close()
            self._open()
        with places.sentences(self.uri), suppress(EOFError):  # what is before a cut is read
            while self.end < start + size and (piece := self.file.read1(_PIECE)):
                self.starts.append(self.end)
                self.pieces.append(piece)
                self.end += len(piece)
                if self.end - self.starts[0] > 2 * WINDOW:
                    self._forget(min(start, self.end - WINDOW))
        if start >= self.end:
            return enough(b"", size, self.uri)
        first = bisect.bisect_right(self.starts, start) - 1
        last = bisect.bisect_left(self.starts, start + size)
        begun = start - self.starts[first]
        return enough(b"".join(self.pieces[first:last])[begun : begun + size], size, self.uri)

    def _forget(self, before: int) -> None:
        """Lets go of what lies before a place."""
        gone = max(0, bisect.bisect_right(self.starts, before) - 1)
        del self.starts[:gone], self.pieces[:gone]

    def _close(self) -> None:
        self.starts, self.pieces = [], []
        self.file.close()


class _Group(_InOrder):
    """A column of a row group of a Parquet file."""

    def __init__(self, uri: str, group: int, column: str) -> None:
        super().__init__(uri)
        self.group, self.column = group, column

    def _open(self) -> None:
        arrow()
        import pyarrow.parquet

        self.raw = places.open_file(self.uri)
        with corrupt(self.uri):
            self.file = pyarrow.parquet.ParquetFile(self.raw, pre_buffer=False, buffer_size=1 << 16)
            self._begin()

    def _begin(self) -> None:
        self.rows: Iterator[Any] = self.file.iter_batches(
            AT_ONCE, row_groups=[self.group], columns=[self.column]
        )
        self.window: deque[tuple[int, Any]] = deque()
        self.end = self.size = 0

    def _read(self, row: int) -> Any:
        with corrupt(self.uri):
            if self.window and row < self.window[0][0]:
                self._begin()
            while row >= self.end:
                values = next(self.rows).column(0)
                self.window.append((self.end, values))
                self.end += len(values)
                self.size += values.nbytes
                while self.size > WINDOW and len(self.window) > 1:
                    self.size -= self.window.popleft()[1].nbytes
            start, values = next(one for one in reversed(self.window) if one[0] <= row)
            return values[row - start].as_py()

    def _close(self) -> None:
        self.window.clear()
        self.file.close()
        self.raw.close()


class _Stream(_InOrder):
    """An Arrow stream, some record batches of it at a time."""

    def _open(self) -> None:
        self.stream = arrow_stream(self.uri)
        self.batches: OrderedDict[int, Any] = OrderedDict()
        with corrupt(self.uri):
            self.schema = arrow().ipc.read_schema(self.stream)

    def _read(self, offset: int, row: int, column: str) -> Any:
        with corrupt(self.uri):
            batch = self.batches.pop(offset, None)
            if batch is None:
                while len(self.batches) >= BATCHES:
                    self.batches.popitem(last=False)
                ipc = arrow().ipc
                self.stream.seek(offset)
                batch = ipc.read_record_batch(ipc.read_message(self.stream), self.schema)
                batch.validate(full=True)  # a damaged one would end the process when it is read
            self.batches[offset] = batch
            return batch.column(batch.schema.get_field_index(column))[row].as_py()

    def _close(self) -> None:
        self.batches.clear()
        self.stream.close()


def arrow_stream(uri: str) -> Any:
    """An Arrow file to read from, mapped into memory where it is on this machine."""
    pa = arrow()
    with places.sentences(uri):
        if places.is_local(uri):
            return pa.memory_map(places.local_path(uri))
    return pa.PythonFile(places.open_file(uri), mode="r")


@contextmanager
def corrupt(uri: str) -> Iterator[None]:
    """Within this block what a damaged file makes Arrow raise becomes a sentence.

    Raises:
        PictureError: naming the file.
    """
    try:
        yield
    except (PellucidError, MemoryError):
        raise
    except (*DAMAGE, arrow().ArrowException, StopIteration) as error:
        raise PictureError(
            f"{uri} is damaged, or no longer what it was when it was planned ({first_line(error)}): restore "
            "the file, or start a run in a new store."
        ) from error
