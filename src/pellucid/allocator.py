"""Memory that is kept from one pass to the next: on a CPU with Linux, the cheapest speed there is.

Left alone, glibc gives the memory of activations back to the system at the end of a pass, and every page of
it is mapped and cleared anew in the next: half of the time of a forward pass of EfficientNet-Lite0.
"""

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Their numbers in glibc's malloc.h."""
BLOCK = 31 * 2**20
"""Blocks of 32 MiB and more never lie on the heap, unless some of it is free."""
REGION = 2**31
"""As much of the heap as is kept: addresses only, until something is written there."""


class Region:
    """A part of the heap that stays this process's own while held, and all of it goes back after that.

    Nothing of the allocator is set. The heap is given back from its end on, so a single block at its end,
    never written to, keeps everything below it: the free memory there serves one pass after another.
    """

    def __init__(self) -> None:
        self._end: int | None = None

    def hold(self) -> None:
        """Takes the region, once; where there is no glibc, or no such room, nothing happens."""
        libc = _glibc()
        if self._end is not None or libc is None:
            return
        libc.free(libc.malloc(BLOCK))  # glibc learns from it that blocks so large belong on the heap
        blocks = [libc.malloc(BLOCK) for _ in range(REGION // BLOCK + 1)]
        self._end = blocks.pop()
        for block in blocks:
            libc.free(block)

    def release(self) -> None:
        """Lets go of it, also of what lies below a small block that somebody has put there meanwhile."""
        libc = _glibc()
        if self._end is not None and libc is not None:
            libc.free(self._end)
            libc.malloc_trim(0)
        self._end = None


def keep_memory() -> bool:
    """Lets glibc keep the memory of activations for good, for the next call too.

    Within a call that runs a model more than once Pellucid keeps it anyway, and gives it back at the end.
    This is for many short calls: it makes Grad-CAM of one picture after another faster. The command line does
    it for its own process. A library must not decide it for its host, which from then on holds the most
    memory that it ever used: call it at the top of a script or notebook.

    Returns:
        Whether it took effect: on Linux with glibc only. Elsewhere nothing changes.

    Example:
        >>> import pellucid
        >>> kept = pellucid.keep_memory()

    Cost:
        No pass. It holds for the rest of the process; the environment variables MALLOC_MMAP_MAX_=0
        MALLOC_TRIM_THRESHOLD_=2147483647 MALLOC_TOP_PAD_=268435456 do the same from outside.
    """
    libc = _glibc()
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**28}
    return libc is not None and all(libc.mallopt(what, value) == 1 for what, value in settings.items())


@cache
def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return None
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes, libc.malloc_trim.argtypes = [ctypes.c_void_p], [ctypes.c_size_t]
    return libc
