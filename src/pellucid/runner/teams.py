"""Several workers, in processes or on Ray: who holds which chunks, and what is done about deaths."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pellucid.errors import PellucidError
from pellucid.runner.engines import AHEAD, Done
from pellucid.runner.job import Chunk, Job
from pellucid.runner.schema import arrow, row_schema
from pellucid.runner.worker import Reading, failed_rows

if TYPE_CHECKING:
    import pyarrow

LIVES = 2
"""Times that a picture, run by itself, may end its worker before it is given up."""


class WorkerFailed(PellucidError, RuntimeError):
    """What happened to a worker that is about no picture, such as a model that cannot be loaded there."""


@dataclass
class Member:
    """One worker: what it is called by its team, the chunks that it holds, and whether it has its model."""

    handle: Any
    held: list[Chunk] = field(default_factory=list)
    ready: bool = False


@dataclass(frozen=True)
class Answer:
    """What came from a member: rows, or None of a chunk that it dropped as it was told to stop."""

    member: Member
    chunk: Chunk
    table: "pyarrow.Table | None"


@dataclass(frozen=True)
class Ready:
    """A member that has loaded its model."""

    member: Member


@dataclass(frozen=True)
class Death:
    """A member that is no more."""

    member: Member


@runtime_checkable
class Team(Protocol):
    """How workers of one kind are begun, sent to, heard and ended."""

    size: int

    def begin(self) -> Any:
        """A new worker's handle."""

    def send(self, handle: Any, chunk: Chunk) -> None:
        """Hands it a chunk."""

    def listen(self, members: Iterable[Member]) -> list[Answer | Ready | Death]:
        """What came; waits for something, a little while at most."""

    def stop(self, members: Iterable[Member]) -> None:
        """Tells them to drop the chunks that they have not begun to explain."""

    def close(self, members: Iterable[Member]) -> None:
        """Ends them."""


class Dispatch:
    """The engine of a team: hands chunks to members as they have room, and replaces those that die.

    Any of the chunks that a member held may have ended it: each of them is done again by a worker that holds
    nothing else. One that ends its worker even so is taken apart, picture by picture; a picture that ends
    its worker `LIVES` times is given up, and its rows say so.
    """

    def __init__(self, team: Team, job: Job) -> None:
        self.team, self.job = team, job
        self.members: list[Member] = []
        self.suspects: deque[Chunk] = deque()
        self.deaths: dict[tuple[int, tuple[int, ...]], int] = {}
        self.apart: dict[tuple[int, int], tuple[Chunk, dict[int, pyarrow.Table]]] = {}
        self.stillborn = 0  # members that died before they had their model

    def run(self, chunks: Iterator[Chunk], stop: threading.Event) -> Iterator[Done]:
        """See `Engine`."""
        told, exhausted = False, False
        while True:
            if stop.is_set() and not told:
                self.team.stop(self.members)
                told = True
            while len(self.members) < self.team.size and not told:
                self.members.append(Member(self.team.begin()))
            for member in self.members:
                while not told and self._has_room(member):
                    chunk = self.suspects.popleft() if self.suspects and not member.held else None
                    if chunk is None and not exhausted and not self.suspects:
                        chunk = next(chunks, None)
                        exhausted = chunk is None
                    if chunk is None:
                        break
                    member.held.append(chunk)
                    self.team.send(member.handle, chunk)
            if not any(member.held for member in self.members):
                if told or not self.suspects:
                    return
                continue
            for event in self.team.listen(self.members):
                if isinstance(event, Ready):
                    event.member.ready = True
                else:
                    yield from self._buried(event.member) if isinstance(event, Death) else self._taken(event)

    def close(self) -> None:
        """See `Engine`."""
        self.team.close(self.members)
        self.members.clear()

    def _has_room(self, member: Member) -> bool:
        if any(_key(chunk) in self.deaths for chunk in member.held):
            return False
        return len(member.held) < AHEAD

    def _taken(self, answer: Answer) -> Iterator[Done]:
        answer.member.held.remove(answer.chunk)
        if answer.table is not None:
            yield from self._joined(answer.chunk, answer.table)

    def _buried(self, member: Member) -> Iterator[Done]:
        """What becomes of the chunks that a dead member held."""
        self.members.remove(member)
        if not member.ready:  # no chunk is to blame
            self.stillborn += 1
            self.suspects.extend(member.held)
            if self.stillborn >= LIVES * self.team.size:
                raise WorkerFailed(
                    f"Workers must be able to load the model; {self.stillborn} died at it, without saying "
                    "why. Is there memory for one in each of them? Try fewer workers."
                )
            return
        alone = len(member.held) == 1
        for chunk in member.held:
            known = self.deaths.get(_key(chunk))
            # Only what was held alone, after a first death, is known to be guilty.
            self.deaths[_key(chunk)] = known + 1 if known is not None and alone else known or 0
            guilty = self.deaths[_key(chunk)]
            if not guilty:
                self.suspects.append(chunk)
            elif len(chunk.rows) > 1:
                self.apart[chunk.shard, chunk.number] = chunk, {}
                for at, row in enumerate(chunk.rows):
                    one = replace(chunk, rows=(row,), plan=chunk.plan.slice(at, 1), alone=True)
                    self.deaths[_key(one)] = 0
                    self.suspects.append(one)
            elif guilty < LIVES:
                self.suspects.append(chunk)
            else:
                yield from self._joined(chunk, lost(self.job, chunk))
        member.held.clear()

    def _joined(self, chunk: Chunk, table: "pyarrow.Table") -> Iterator[Done]:
        """A chunk with its rows; of one that was taken apart, when all its pictures are there."""
        if not chunk.alone:
            yield chunk, table
            return
        whole, parts = self.apart[chunk.shard, chunk.number]
        parts[chunk.rows[0]] = table
        if len(parts) == len(whole.rows):
            del self.apart[chunk.shard, chunk.number]
            yield whole, arrow().concat_tables([parts[row] for row in whole.rows])


def lost(job: Job, chunk: Chunk) -> "pyarrow.Table":
    """The rows of pictures at which workers die."""
    text = f"The worker died at this picture, {LIVES} times out of {LIVES}, with nothing else to do."
    rows, requests = [], job.requests
    for number, planned in zip(chunk.rows, chunk.plan.to_pylist(), strict=True):
        read = Reading({**planned, "row": number}, error=text, kind="worker")
        rows += failed_rows(job, requests, read)
    schema = row_schema(list(job.carried), [judge.title for judge in job.judges])
    return arrow().Table.from_pylist(rows, schema=schema)


def _key(chunk: Chunk) -> tuple[int, tuple[int, ...]]:
    return chunk.shard, chunk.rows
