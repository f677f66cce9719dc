"""Memory that is kept from one pass to the next: on a CPU with Linux, the cheapest speed there is.

Left alone, glibc gives the memory of activations back to the system at the end of a pass, and every page of
it is mapped and cleared anew in the next: half of the time of a forward pass of EfficientNet-Lite0.
"""

import ctypes
import sys
from functools import cache
from threading import current_thread, main_thread

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Their numbers in glibc's malloc.h."""
BLOCK = 31 * 2**20
"""Blocks of 32 MiB and more never lie on the heap, unless some of it is free."""
REGION = 3 * 2**29
"""As much of the heap as is held: addresses only, until something is written there."""
_MADV_HUGEPAGE, _PAGE = 14, 4096


class Region:
    """A part of the heap that stays this process's own while it is held.

    Nothing of the allocator is set. The heap is given back from its end on, so a single block at its end,
    never written to, keeps everything below it: the free memory there serves one pass after another. Large
    pages, where the system has them, make the first pass cheap too.
    """

    def __init__(self) -> None:
        self._end: int | None = None

    def hold(self) -> None:
        """Takes the region, once; where there is no glibc, or no such room, nothing happens.

        Nor in threads beside the main one: each has a heap of its own, of which glibc gives nothing back.
        """
        libc = _glibc()
        if self._end is not None or libc is None or current_thread() is not main_thread():
            return
        libc.free(libc.malloc(BLOCK))  # glibc learns from it that blocks so large belong on the heap
        blocks = [libc.malloc(BLOCK) for _ in range(REGION // BLOCK + 1)]
        self._end = blocks.pop()
        first, end = blocks[0] or 0, self._end or 0
        if 0 < end - first < REGION + BLOCK:  # they lie in a row
            start = -(-first // _PAGE) * _PAGE
            libc.madvise(start, (end - start) // _PAGE * _PAGE, _MADV_HUGEPAGE)
        for block in blocks:
            libc.free(block)

    def release(self) -> None:
        """Lets go of it: glibc may give it back as far as no block of the host's own lies behind."""
        libc = _glibc()
        if libc is not None:
            libc.free(self._end)
        self._end = None


def keep_memory() -> bool:
    """Lets glibc keep the memory of activations for good, for the next call too.

    Within a call that runs a model more than once Pellucid keeps it anyway, until the call ends. This is for
    many short calls. The command line does it for its own process. A library must not decide it for its host,
    which from then on holds the most memory that it ever used: call it at the top of a script or notebook.

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


def give_back() -> None:
    """Gives free memory back to the system once, wherever in the heaps it lies.

    Work that goes on for hours in several threads takes more and more, in pieces that do not fit together.
    """
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return None
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc
