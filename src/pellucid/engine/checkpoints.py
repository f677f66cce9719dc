"""Gradient checkpointing left out: what a model would run again on the way back is kept instead.

Run again, it would run without the modes under which it ran first. torch.utils.checkpoint has two ways to
do it. One keeps tensors by hooks, which are passed by (`run_unpacked`). The other is a custom autograd
function, whose parts no one can look into and of which torch.autograd.grad wants nothing (`as_written`).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, local
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import CheckpointFunction

T = TypeVar("T")
_here = local()
_lock = Lock()
_users = 0


def saved_elsewhere() -> bool:
    """Whether tensors that are kept for the way back go through hooks, as under a checkpoint."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def checkpointed() -> bool:
    """Whether these hooks are a checkpoint's, and not a user's own, such as save_on_cpu."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return hooks is not None and hooks[0].__module__ == CheckpointFunction.__module__


def run_unpacked(run: Callable[[], T]) -> T:
    """What `run` gives; what it keeps for the way back is kept as it is."""
    with saved_tensors_hooks(_same, _same):
        return run()


@contextmanager
def as_written() -> Iterator[None]:
    """Within it checkpoints with use_reentrant=True, in this thread, run their function and nothing else."""
    global _users
    with _lock:
        if not _users:
            CheckpointFunction.apply = _apply
        _users += 1
    _here.depth = getattr(_here, "depth", 0) + 1
    try:
        yield
    finally:
        _here.depth -= 1
        with _lock:
            _users -= 1
            if not _users:
                del CheckpointFunction.apply


def _apply(function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
    """A checkpoint as a thread sees it: plain for ours, as PyTorch's own for all others."""
    if getattr(_here, "depth", 0):
        return function(*args)
    return super(CheckpointFunction, CheckpointFunction).apply(function, preserve_rng_state, *args)


def _forget() -> None:
    """In a forked child, whose parent's other threads are not there."""
    global _lock, _users
    _lock, _users = Lock(), 0
    _here.depth = 0
    if "apply" in vars(CheckpointFunction):
        del CheckpointFunction.apply


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _same(tensor: Tensor) -> Tensor:
    return tensor
