"""SIGINT and SIGTERM, understood as the wish to finish what was begun and to write it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Within this block the first signal sets the event; a second one ends at once, as usual.

    Only the main thread can be told of signals; in another one everything stays as it was.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}

    def heard(_: int, __: FrameType | None) -> None:
        stop.set()
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
