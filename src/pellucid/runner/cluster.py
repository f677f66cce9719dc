"""Workers on Ray: actors of a cluster, or of Ray begun on this machine."""

import socket
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pellucid.allocator import keep_memory
from pellucid.errors import ExtraMissing, InvalidValue, first_line
from pellucid.runner.job import Chunk, Job
from pellucid.runner.teams import Answer, Death, Member, Ready, WorkerFailed
from pellucid.runner.worker import Worker

if TYPE_CHECKING:
    import pyarrow

LISTEN = 0.2
"""Seconds that are waited for something to come."""
ANSWERS = 5.0
"""Seconds in which a cluster must answer."""


class RayWorker:
    """What an actor is: a worker that reads the next chunks while one is in the model."""

    def __init__(self, job: Job) -> None:
        keep_memory()  # an actor's process is our own
        self.worker = Worker(job)
        self.one = threading.Lock()
        self.stopped = False

    def explain(self, chunk: Chunk) -> "pyarrow.Table | None":
        """A chunk's rows; None after `stop`."""
        reading = self.worker.begin(chunk)
        with self.one:
            return None if self.stopped else self.worker.explain(chunk, reading)

    def ready(self) -> None:
        """Answers when the model is there."""

    def stop(self) -> None:
        """Drops what is not begun yet."""
        self.stopped = True


class RayTeam:
    """Actors on a Ray cluster, which Ray places, restarts nodes of, and shows on its dashboard.

    Args:
        job: what they do.
        size: how many; None for one a core, or where each takes a share of a GPU, for as many as fit.
        address: of the cluster; None begins Ray on this machine, unless it runs already in this process.
        gpus: the share of a GPU that each takes.

    Raises:
        ExtraMissing: Ray is not installed.
        InvalidValue: nothing answers at the address, or it has no room for an actor.
    """

    def __init__(self, job: Job, size: int | None, address: str | None, gpus: float) -> None:
        try:
            import ray
        except ImportError as error:
            raise ExtraMissing(f"engine='ray' needs Ray ({error}): pip install 'pellucid[ray]'.") from None
        self.ray = ray
        self.began = not ray.is_initialized()
        if self.began:
            _join(ray, address)
        has = ray.cluster_resources()
        room = has.get("GPU", 0) / gpus if gpus else has.get("CPU", 0)
        if room < 1:
            what = f"{gpus} GPU" if gpus else "1 CPU"
            self._leave()
            raise InvalidValue(f"The Ray cluster must have room for a worker of {what}; it has {has}.")
        self.size = size or int(room)
        threads = job.threads or max(1, int(has.get("CPU", 1)) // self.size)
        cpus = 0 if gpus else 1
        self.actor = ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_concurrency=8, max_restarts=0, max_task_retries=0
        )(RayWorker)
        self.job = ray.put(replace(job, threads=threads))
        self.sent: dict[Any, tuple[Any, Chunk | None]] = {}

    def begin(self) -> Any:
        """See `Team`."""
        handle = self.actor.remote(self.job)
        self.sent[handle.ready.remote()] = handle, None
        return handle

    def send(self, handle: Any, chunk: Chunk) -> None:
        """See `Team`."""
        self.sent[handle.explain.remote(chunk)] = handle, chunk

    def listen(self, members: Iterable[Member]) -> list[Answer | Ready | Death]:
        """See `Team`."""
        errors = self.ray.exceptions
        ready, _ = self.ray.wait(list(self.sent), timeout=LISTEN)
        found: list[Answer | Ready | Death] = []
        by_handle = {member.handle: member for member in members}
        for ref in ready:
            if ref not in self.sent:
                continue
            handle, chunk = self.sent.pop(ref)
            try:
                value = self.ray.get(ref)
                member = by_handle[handle]
                found.append(Ready(member) if chunk is None else Answer(member, chunk, value))
            except errors.RayTaskError as error:
                raise WorkerFailed(f"A worker on Ray failed: {first_line(error.cause or error)}") from error
            except (errors.RayActorError, errors.ObjectLostError, errors.NodeDiedError) as error:
                if "creation task" in str(error):
                    last = [line for line in str(error).splitlines() if line.strip()][-1]
                    raise WorkerFailed(f"A worker on Ray could not begin: {last.strip()}") from None
                self.sent = {other: to for other, to in self.sent.items() if to[0] != handle}
                found.append(Death(by_handle.pop(handle)))
        return found

    def stop(self, members: Iterable[Member]) -> None:
        """See `Team`."""
        for member in members:
            member.handle.stop.remote()

    def close(self, members: Iterable[Member]) -> None:
        """See `Team`."""
        for member in members:
            self.ray.kill(member.handle)
        self._leave()

    def _leave(self) -> None:
        if self.began:
            self.ray.shutdown()


def _join(ray: Any, address: str | None) -> None:
    """Joins a cluster, or begins one on this machine.

    Raises:
        InvalidValue: nothing answers there.
    """
    if address is not None and address not in ("auto", "local"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if not host or not port.isdecimal():
            raise InvalidValue(f"address must be host:port, ray://host:port or auto; got {address!r}.")
        try:  # Ray itself would try for half a minute and more
            socket.create_connection((host, int(port)), ANSWERS).close()
        except OSError as error:
            raise InvalidValue(
                f"A Ray cluster must answer at {address!r}; nothing does: {error}. `ray start --head` begins "
                "one, and says its address."
            ) from None
    try:
        ray.init(
            address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=address is not None
        )
    except Exception as error:  # of many kinds
        raise InvalidValue(
            f"Ray must be reachable at {address or 'this machine'!r}; it is not: {first_line(error)}. Where "
            "the cluster asks for a token, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token "
            "to it."
        ) from None
