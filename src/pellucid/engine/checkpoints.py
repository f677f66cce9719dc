"""Gradient checkpointing left out: what a model would run again on the way back is kept instead.

Run again, it would run without the modes under which it ran first. torch.utils.checkpoint has two ways to
do it. One keeps tensors by hooks, which are passed by (`run_unpacked`). The other is a custom autograd
function, whose parts no one can look into and of which torch.autograd.grad wants nothing (`as_written`).

An older PyTorch does not say whose hooks are on: there `as_written` gives a checkpoint other hooks.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, local
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils import checkpoint
from torch.utils.checkpoint import CheckpointFunction

T = TypeVar("T")
_autograd = torch._C._autograd
_top_hooks = getattr(_autograd, "_top_saved_tensors_default_hooks", None)
_here = local()
_lock = Lock()
_users = 0


def saved_elsewhere() -> bool:
    """Whether tensors that are kept for the way back go through hooks, as under a checkpoint."""
    if _top_hooks is not None:
        return _top_hooks(True) is not None
    if _autograd._saved_tensors_hooks_get_disabled_error_message() is not None:
        return False
    try:
        _autograd._saved_tensors_hooks_disable("")  # refused, in this thread, where there are hooks
    except RuntimeError:
        return True
    finally:
        _autograd._saved_tensors_hooks_enable()
    return False


def checkpointed() -> bool:
    """Whether these hooks are a checkpoint's, and not a user's own, such as save_on_cpu.

    To be asked within `as_written`.
    """
    if _top_hooks is None:
        return False
    hooks = _top_hooks(True)
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
            if _top_hooks is None:
                checkpoint._checkpoint_hook.__enter__ = _enter  # type: ignore[method-assign]
        _users += 1
    _here.depth = getattr(_here, "depth", 0) + 1
    try:
        yield
    finally:
        _here.depth -= 1
        with _lock:
            _users -= 1
            if not _users:
                _restore()


def _apply(function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
    """A checkpoint as a thread sees it: plain for ours, as PyTorch's own for all others."""
    if getattr(_here, "depth", 0):
        return function(*args)
    return super(CheckpointFunction, CheckpointFunction).apply(function, preserve_rng_state, *args)


def _enter(hooks: saved_tensors_hooks) -> None:
    """A checkpoint's hooks as a thread sees them: for ours, hooks that keep tensors as they are."""
    if getattr(_here, "depth", 0):
        hooks.pack_hook = hooks.unpack_hook = _same
    saved_tensors_hooks.__enter__(hooks)


def _restore() -> None:
    """PyTorch's own, as it was."""
    if "apply" in vars(CheckpointFunction):
        del CheckpointFunction.apply
    if _top_hooks is None and "__enter__" in vars(checkpoint._checkpoint_hook):
        del checkpoint._checkpoint_hook.__enter__


def _forget() -> None:
    """In a forked child, whose parent's other threads are not there."""
    global _lock, _users
    _lock, _users = Lock(), 0
    _here.depth = 0
    _restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _same(tensor: Tensor) -> Tensor:
    return tensor
