"""Where chunks are explained: in this process, in several, or on Ray. The worker is the same everywhere."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pellucid.runner.job import Chunk, Job
from pellucid.runner.worker import Reading, Worker

if TYPE_CHECKING:
    import pyarrow

AHEAD = 3
"""Chunks that a worker holds at once: one in the model, the others being read."""

Done = tuple[Chunk, "pyarrow.Table"]


@runtime_checkable
class Engine(Protocol):
    """Explains chunks: `run` takes them as it has room, and gives each with its rows, in any order.

    When `stop` is set it takes no more, finishes what the model is at, and ends.
    """

    def run(self, chunks: Iterator[Chunk], stop: threading.Event) -> Iterator[Done]:
        """The rows of each chunk."""

    def close(self) -> None:
        """Ends what was begun."""


@dataclass
class Local:
    """In this process: threads read the next chunks while the model explains one."""

    job: Job

    def __post_init__(self) -> None:
        self.worker = Worker(self.job)

    def run(self, chunks: Iterator[Chunk], stop: threading.Event) -> Iterator[Done]:
        """See `Engine`."""
        yield from explained(self.worker, chunks, stop.is_set)

    def close(self) -> None:
        """See `Engine`."""
        self.worker.close()


def explained(worker: Worker, chunks: Iterator[Chunk], stopped: Callable[[], bool]) -> Iterator[Done]:
    """Chunks by one worker, in order, of which `AHEAD` are held at once."""
    held: deque[tuple[Chunk, list[Future[Reading]]]] = deque()
    while not stopped():
        for chunk in itertools.islice(chunks, AHEAD - len(held)):
            held.append((chunk, worker.begin(chunk)))
        if not held:
            return
        chunk, reading = held.popleft()
        yield chunk, worker.explain(chunk, reading)
    for _, reading in held:
        for future in reading:
            future.cancel()
