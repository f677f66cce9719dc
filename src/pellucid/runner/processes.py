"""Workers in processes of this machine."""

import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from pellucid.allocator import keep_memory
from pellucid.errors import InvalidType, first_line
from pellucid.runner.job import Chunk, Job
from pellucid.runner.teams import Answer, Death, Member, Ready, WorkerFailed
from pellucid.runner.worker import Reading, Worker

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

LISTEN = 0.2
"""Seconds that are waited for something to come."""


@dataclass
class _Handle:
    process: "BaseProcess"
    pipe: Connection


class ProcessTeam:
    """Processes, each with a model of its own and a pipe to it.

    Raises:
        InvalidType: the model cannot be sent to another process.
    """

    def __init__(self, job: Job, size: int) -> None:
        self.size = size
        threads = job.threads or max(1, (os.cpu_count() or 1) // size)
        self.sent = pickled(replace(job, threads=threads))
        # Spawned, as a fork would copy locks that PyTorch's and our own threads hold.
        self.context = multiprocessing.get_context("spawn")

    def begin(self) -> _Handle:
        """See `Team`."""
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=serve, args=(theirs, self.sent), daemon=True)
        process.start()
        theirs.close()
        return _Handle(process, ours)

    def send(self, handle: _Handle, chunk: Chunk) -> None:
        """See `Team`; a process that is dead is noticed when it is listened to."""
        try:
            handle.pipe.send(chunk)
        except OSError:
            handle.process.kill()

    def listen(self, members: Iterable[Member]) -> list[Answer | Ready | Death]:
        """See `Team`."""
        by_pipe = {member.handle.pipe: member for member in members}
        found: list[Answer | Ready | Death] = []
        for pipe in wait(list(by_pipe), LISTEN):
            member = by_pipe[pipe]
            try:
                kind, number, value = member.handle.pipe.recv()
            except (EOFError, OSError, pickle.UnpicklingError):
                member.handle.process.join(5)
                member.handle.pipe.close()
                found.append(Death(member))
                continue
            if kind == "failed":
                raise WorkerFailed(f"A worker process could not begin: {value}")
            if kind == "ready":
                found.append(Ready(member))
                continue
            chunk = next(one for one in member.held if (one.shard, one.rows) == number)
            found.append(Answer(member, chunk, value))
        return found

    def stop(self, members: Iterable[Member]) -> None:
        """See `Team`."""
        for member in members:
            try:
                member.handle.pipe.send(None)
            except OSError:
                continue

    def close(self, members: Iterable[Member]) -> None:
        """See `Team`."""
        for member in members:
            member.handle.pipe.close()  # which they notice
        for member in members:
            member.handle.process.join(10)
            if member.handle.process.is_alive():
                member.handle.process.kill()
                member.handle.process.join()


def pickled(job: Job) -> bytes:
    """A job for another process.

    Raises:
        InvalidType: what loads the model cannot be pickled.
    """
    try:
        return pickle.dumps(job)
    except Exception as error:  # pickle raises whatever an object's own code does
        raise InvalidType(
            "engine='processes' needs a model that can be pickled, or one named by a text such as "
            f"'timm:resnet50' or 'model.py:make'; got one that cannot: {first_line(error)}. engine='local' "
            "takes any."
        ) from None


def serve(pipe: Connection, sent: bytes) -> None:
    """What a worker process does until its pipe is closed: explains the chunks that come, in order.

    Signals are its parent's to understand: it is told to stop through the pipe.
    """
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    try:
        keep_memory()  # this process is our own
        worker = Worker(pickle.loads(sent))
    except BaseException as error:
        pipe.send(("failed", None, f"{type(error).__name__}: {first_line(error)}"))
        return
    pipe.send(("ready", None, None))
    waiting: queue.Queue[tuple[Chunk, list[Future[Reading]]]] = queue.Queue()
    stopped = threading.Event()

    def receive() -> None:
        while True:
            try:
                chunk: Any = pipe.recv()
            except (EOFError, OSError):
                os._exit(0)  # whoever would read the rows is gone
            if chunk is None:
                stopped.set()
            else:
                waiting.put((chunk, worker.begin(chunk)))

    threading.Thread(target=receive, daemon=True).start()
    while True:
        chunk, reading = waiting.get()
        table = None if stopped.is_set() else worker.explain(chunk, reading)
        try:
            pipe.send(("rows", (chunk.shard, chunk.rows), table))
        except OSError:
            return
