"""Who works on which part of a store: leases that end by themselves when their holder does.

A lease is a file made by whoever comes first. Its holder touches it again and again; one that was not touched
for `EXPIRY` seconds, or whose holder's process is gone from this machine, is free. Times are those of the
file system, so that machines with other clocks agree.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pellucid.files import make_folder, written_to

EXPIRY, BEAT = 60.0, 10.0
"""Seconds after which an untouched lease is free; between two touches."""


class Leases:
    """The leases of one process on a store's parts.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Leases(Path(folder)) as mine:
        ...     with Leases(Path(folder)) as others:
        ...         print(mine.take("a"), others.take("a"), others.take("b"))
        True False True
    """

    def __init__(self, folder: Path) -> None:
        self.folder = make_folder(folder)
        self.owner = {"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._clock = self.folder / f".clock-{self.owner['token']}"
        self._beating = threading.Thread(target=self._beat, name="pellucid-leases", daemon=True)

    def __enter__(self) -> "Leases":
        self._beating.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._beating.join()
        for name in list(self._held):
            self.release(name)
        self._clock.unlink(missing_ok=True)

    def take(self, name: str) -> bool:
        """Whether the part is ours now: nobody had it, or the one who had it is gone."""
        path = self._path(name)
        for _ in range(2):
            if self._made(path):
                with self._lock:
                    self._held.add(name)
                return True
            if not self._is_free(path):
                return False
            # Renaming is what only one of several can do; the name of its own tells whose it is.
            taken = path.with_name(f".expired-{self.owner['token']}")
            try:
                path.rename(taken)
            except OSError:
                return False
            taken.unlink(missing_ok=True)
        return False

    def release(self, name: str) -> None:
        """Gives a part back."""
        with self._lock:
            if name not in self._held:
                return
            self._held.discard(name)
        if self._mine(name):
            self._path(name).unlink(missing_ok=True)

    def holds(self, name: str) -> bool:
        """Whether the part is still ours: nobody took it over while this process slept."""
        return name in self._held and self._mine(name)

    def _mine(self, name: str) -> bool:
        try:
            return bool(json.loads(self._path(name).read_text())["token"] == self.owner["token"])
        except (OSError, ValueError, KeyError):
            return False

    def _made(self, path: Path) -> bool:
        """Whether the file was made now, its holder's name in it from the first moment."""
        new = self.folder / f".new-{self.owner['token']}"
        with written_to(path):
            new.write_text(json.dumps(self.owner))
            try:
                os.link(new, path)
            except FileExistsError:
                return False
            finally:
                new.unlink(missing_ok=True)
        return True

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.lease"

    def _is_free(self, path: Path) -> bool:
        try:
            touched = path.stat().st_mtime
            holder = json.loads(path.read_text())
            here = holder["host"] == self.owner["host"]
            if here and not _is_running(int(holder["pid"])):
                return True
        except FileNotFoundError:
            return True
        except (OSError, ValueError, KeyError, TypeError):
            pass  # being written, or cut off: by its age
        self._clock.touch()
        return self._clock.stat().st_mtime - touched > EXPIRY

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with self._lock:
                held = list(self._held)
            for name in held:
                with suppress(OSError):
                    os.utime(self._path(name))


@contextmanager
def alone(leases: Leases, name: str) -> Iterator[None]:
    """Waits until a part is ours, and gives it back afterwards."""
    while not leases.take(name):
        time.sleep(0.2)
    try:
        yield
    finally:
        leases.release(name)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    # A process that was killed and not waited for is still listed, and will never touch anything.
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
