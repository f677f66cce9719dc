"""Whether Hugging Face's hub can be reached: asked once before a download, instead of many tries."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

PATIENCE = 3.0
"""Seconds in which the hub must answer."""


def reachable(address: str) -> bool:
    """Whether a server takes a connection; behind a proxy, which alone could tell, it is taken to."""
    if getproxies():
        return True
    parts = urlsplit(address)
    found = threading.Event()

    def call() -> None:  # looking a name up can take much longer than a connection may
        try:
            port = parts.port or (80 if parts.scheme == "http" else 443)
            socket.create_connection((parts.hostname or "", port), PATIENCE).close()
            found.set()
        except OSError:
            return

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    caller.join(PATIENCE)
    return found.is_set()


@contextmanager
def hub_if_reachable() -> Iterator[str | None]:
    """Within it libraries read the hub's cache alone where the hub cannot be reached: the reason, or None."""
    try:
        from huggingface_hub import constants
    except ImportError:  # what needs it will say so
        yield None
        return
    if constants.HF_HUB_OFFLINE or reachable(constants.ENDPOINT):
        yield None
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield f"{urlsplit(constants.ENDPOINT).hostname} cannot be reached, and it is not in the local cache"
    finally:
        constants.HF_HUB_OFFLINE = False
