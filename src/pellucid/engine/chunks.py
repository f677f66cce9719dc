"""How many inputs are run together, and what happens when memory runs out."""

from collections.abc import Callable

import torch

from pellucid.errors import InvalidValue


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on an accelerator or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def batch_limit(batch_size: int | str, device: torch.device) -> int:
    """The most samples run together: few on a CPU, where each sample of a larger batch takes longer.

    There 4 was best of 1, 2, 4, 8 and 16 both for a forward pass and for one with its gradient: the pages of
    larger activations are mapped anew for every layer.

    Raises:
        InvalidValue: neither "auto" nor at least 1.
    """
    if batch_size == "auto":
        return 4 if device.type == "cpu" else 64
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise InvalidValue(f"batch_size must be 'auto' or at least 1; got {batch_size!r}.")
    return batch_size


def gradient_batch_limit(batch_size: int | str, device: torch.device) -> int:
    """The most perturbed inputs whose gradients are taken together.

    On a CPU 8 with channels last were best of 1, 2, 4, 8 and 16, for which images of their own are too many
    to share one probe.
    """
    return 8 if batch_size == "auto" and device.type == "cpu" else batch_limit(batch_size, device)


def in_chunks(total: int, size: int, step: Callable[[int, int], None]) -> None:
    """Calls `step(start, stop)` over range(total); when memory runs out, halves the chunk and goes on.

    A step that fails must not have kept anything.

    Example:
        >>> in_chunks(5, 2, lambda start, stop: print(start, stop))
        0 2
        2 4
        4 5
    """
    start = 0
    while start < total:
        stop = min(start + size, total)
        try:
            step(start, stop)
        except Exception as error:
            if not out_of_memory(error) or size == 1:
                raise
            size = max(1, size // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        else:
            start = stop
