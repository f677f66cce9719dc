"""From chunks to shards: which shard is whose, what is left of it, and when its rows are written."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pellucid.runner.engines import Engine
from pellucid.runner.job import Chunk
from pellucid.runner.leases import Leases
from pellucid.runner.plan import Plan
from pellucid.runner.schema import arrow, row_schema
from pellucid.runner.store import Store

if TYPE_CHECKING:
    import pyarrow

KEEP = 60.0
"""Seconds after which the finished chunks of a shard that takes longer are kept in a file of their own."""


@dataclass
class Shard:
    """A shard in the making: rows that are there already, and the tables of chunks."""

    number: int
    kept: "pyarrow.Table | None"
    left: int
    tables: "dict[int, pyarrow.Table]" = field(default_factory=dict)
    saved: float = field(default_factory=time.monotonic)

    def parts(self) -> "list[pyarrow.Table]":
        """All rows so far."""
        tables = [self.tables[number] for number in sorted(self.tables)]
        return tables if self.kept is None else [self.kept, *tables]


class Writer:
    """Writes in a thread of its own, so that the model does not wait for the disk; a few files at most wait.

    An error is raised where the next file is handed over, or at the end.
    """

    def __init__(self) -> None:
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(4)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="pellucid-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Callable[[], None]) -> None:
        """Hands a file over."""
        if self.error is not None:
            raise self.error
        self._waiting.put(write)

    def close(self) -> None:
        """Waits for all files, and raises what went wrong."""
        self._waiting.put(None)
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        while (write := self._waiting.get()) is not None:
            try:
                if self.error is None:  # after a full disk nothing else is tried
                    write()
            except BaseException as error:
                self.error = error


@dataclass
class ShardLoop:
    """Goes through the shards of a store that are not done, by an engine.

    Attributes:
        store, plan: where, and of what.
        leases: tell the processes that share the store apart.
        per_picture: rows that a picture has: one a method and target.
        retry: whether failed rows of finished shards are done again.
        told: called with the pictures that were done and how many rows of them failed.
    """

    store: Store
    plan: Plan
    leases: Leases
    per_picture: int
    retry: bool
    told: Callable[[int, int], None]
    stop: threading.Event

    def __post_init__(self) -> None:
        store = self.store
        self.schema = row_schema(list(store.carried), list(store.request["columns"]))
        self.size: int = self.store.settings["shard_size"]
        self.chunk: int = self.store.settings["chunk_size"]
        self.count = -(-self.plan.count // self.size)
        self.open: dict[int, Shard] = {}
        self.finished: set[int] = set()

    def run(self, engine: Engine) -> bool:
        """Does what is left; whether all is done.

        Where other processes hold the last shards, waits until they are done or their leases have ended.

        Raises:
            NotWritten: the disk is full, or the folder may not be written.
        """
        writer = Writer()
        try:
            while not self.stop.is_set():
                for chunk, table in engine.run(self._chunks(), self.stop):
                    self._take(chunk, table, writer)
                if self.stop.is_set() or not self._others():
                    break
                self.stop.wait(0.5)
        finally:
            try:
                for shard in self.open.values():
                    if shard.tables and writer.error is None:
                        self.store.write_partial(shard.number, shard.parts())
                writer.close()
            finally:
                for number in list(self.open):
                    self.leases.release(_name(number))
        return not self._others()

    def _others(self) -> list[int]:
        """The shards that are left."""
        done = self.finished if self.retry else self.store.done() | self.finished
        return [number for number in range(self.count) if number not in done]

    def _chunks(self) -> Iterator[Chunk]:
        for number in self._others():
            if self.stop.is_set():
                return
            if not self.leases.take(_name(number)):
                continue
            if not self.retry and self.store.path(number).exists():  # done by another meanwhile
                self.leases.release(_name(number))
                continue
            yield from self._of_shard(number)

    def _of_shard(self, number: int) -> Iterator[Chunk]:
        self.store.clean(number)
        first = number * self.size
        stop = min(first + self.size, self.plan.count)
        kept = self.store.read_shard(number) if self.retry else None
        kept = self.store.read_partial(number) if kept is None else _without_errors(kept)
        have = set() if kept is None else _whole(kept, self.per_picture)
        chunks = []
        for c, start in enumerate(range(first, stop, self.chunk)):
            rows = tuple(row for row in range(start, min(start + self.chunk, stop)) if row not in have)
            if rows:
                chunks.append((c, rows))
        if kept is not None:
            # What was read from a file carries notes of Parquet's in its schema.
            kept = arrow().Table.from_arrays(kept.columns, schema=self.schema)
            self.told(len(have), 0)
        if not chunks:
            self.finished.add(number)
            self.leases.release(_name(number))
            return
        self.open[number] = Shard(number, kept, len(chunks))
        planned = self.plan.rows(first, stop)
        for c, rows in chunks:
            yield Chunk(number, c, rows, planned.take([row - first for row in rows]))

    def _take(self, chunk: Chunk, table: "pyarrow.Table", writer: Writer) -> None:
        shard = self.open[chunk.shard]
        shard.tables[chunk.number] = table
        failed = len(table) - table["error"].null_count
        self.told(len(chunk.rows), failed)
        if len(shard.tables) == shard.left:
            del self.open[chunk.shard]
            self.finished.add(chunk.shard)
            writer.submit(lambda: self._write(shard))
        elif time.monotonic() - shard.saved > KEEP:
            shard.saved = time.monotonic()
            parts = shard.parts()
            writer.submit(lambda: self.store.write_partial(shard.number, parts))

    def _write(self, shard: Shard) -> None:
        table = arrow().concat_tables(shard.parts())
        if shard.kept is not None:
            order = np.argsort(table["row"].to_numpy(), kind="stable")  # Arrow's own sorting may swap equals
            table = table.take(order)
        # A process that slept beyond its lease may find that another has begun the shard: both write the
        # same rows, and the last renaming stands.
        self.store.write_shard(shard.number, table.combine_chunks())
        self.leases.release(_name(shard.number))


def damaged(store: Store, per_picture: int, count: int, checked: Callable[[int], None]) -> list[int]:
    """The shards that cannot be read to their end, or do not hold the rows they should; reads all of them."""
    found = []
    for number in sorted(store.done()):
        table = store.read_shard(number)
        if table is None or len(table) != store.pictures_of(number, count) * per_picture:
            found.append(number)
        checked(1)
    return found


def _name(shard: int) -> str:
    return f"shard-{shard:07d}"


def _whole(table: "pyarrow.Table", per_picture: int) -> set[int]:
    """The pictures of which all rows are there."""
    counts = table["row"].value_counts().to_pylist()
    return {one["values"] for one in counts if one["counts"] == per_picture}


def _without_errors(table: "pyarrow.Table") -> "pyarrow.Table":
    """The rows of pictures none of whose rows failed."""
    from pyarrow import compute

    failed = table.filter(compute.is_valid(table["error"]))["row"].combine_chunks().unique()
    return table.filter(compute.invert(compute.is_in(table["row"], failed)))
