"""SIGINT and SIGTERM, understood as the wish to finish what was begun and to write it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType


@dataclass
class Stop:
    """Whether a signal came, and which."""

    event: threading.Event = field(default_factory=threading.Event)
    signal: int | None = None


@contextmanager
def stopping() -> Iterator[Stop]:
    """Within this block the first signal sets the event; a second one ends at once, as usual.

    Only the main thread can be told of signals; in another one everything stays as it was.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}

    def heard(number: int, _: FrameType | None) -> None:
        stop.signal = number
        stop.event.set()
        restore()

    def restore() -> None:
        for one, handler in before.items():
            signal.signal(one, handler if handler is not None else signal.SIG_DFL)

    for one in before:
        signal.signal(one, heard)
    try:
        yield stop
    finally:
        restore()
