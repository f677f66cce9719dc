"""What keeps a look from being noticed: random states put back, one process that looks."""

import os
import random
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as _hooks

from pellucid.engine.references import LEAF_TYPES, cell_content, parts_of
from pellucid.errors import ModelError

_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")
"""What launchers tell a process before it has joined the others; it is the first if all are 0."""


@contextmanager
def same_random_states(device: torch.device) -> Iterator[None]:
    """After it PyTorch's, NumPy's and Python's sources of random numbers are as they were before.

    The engine leaves them alone; what a user's preprocessing, target or method draws is put back here.

    Example:
        >>> with same_random_states(torch.device("cpu")):
        ...     state = random.getstate()
        ...     _ = random.random(), np.random.rand(), torch.default_generator.seed()
        >>> random.getstate() == state
        True
    """
    on_gpu = device.type == "cuda" and torch.cuda.is_initialized()
    cpu, gpu = torch.get_rng_state(), torch.cuda.get_rng_state(device) if on_gpu else None
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if gpu is not None:
            torch.cuda.set_rng_state(gpu, device)
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def same_hook_state(module: object) -> Iterator[None]:
    """After it what forward hooks have collected or counted is what it was before.

    A look runs hooks, as any pass does: some change what a layer gives. One that appends activations to a
    list which the loss then reads would find those of the look there. So whatever a hook's closure, its
    object or the globals that it names hold is put back; PyTorch's own objects and modules are left alone, as
    the engine runs copies of these.

    Example:
        >>> layer, seen = nn.Identity(), []
        >>> _ = layer.register_forward_hook(lambda *_: seen.append(1))
        >>> with same_hook_state(layer):
        ...     _ = layer(torch.ones(1)), layer(torch.ones(1))
        >>> seen
        []
    """
    parts = list(module.modules()) if isinstance(module, nn.Module) else []
    homes = [getattr(part, kind) for part in parts for kind in ("_forward_hooks", "_forward_pre_hooks")]
    homes += [_hooks._global_forward_hooks, _hooks._global_forward_pre_hooks]
    found: dict[int, tuple[Any, Callable[[], None]]] = {}
    for hook in [hook for home in homes for hook in home.values()]:
        _keep(hook, found)
    try:
        yield
    finally:
        for _, put_back in found.values():
            put_back()


def _keep(value: Any, found: dict[int, tuple[Any, Callable[[], None]]], objects: int = 1) -> None:
    """Notes how a value is put back as it is now, and what it holds.

    Of objects only so many are followed one behind the other: what lies deeper is not a hook's own, and may
    be in use by other threads.
    """
    if id(value) in found or type(value) in LEAF_TYPES or isinstance(value, nn.Module):
        return
    inner = list(parts_of(value))
    put_back: Callable[[], None] = _nothing
    if isinstance(value, types.FunctionType):
        cells = [(cell, held) for cell in value.__closure__ or () for held in cell_content(cell)]
        names = {name for name in value.__code__.co_names if name in value.__globals__}
        known = {name: value.__globals__[name] for name in names}
        inner += [held for held in known.values() if isinstance(held, dict | list | set)]
        put_back = partial(_fill_function, value, cells, known)
    elif isinstance(value, dict | list | set):
        put_back = partial(_fill, value, copy(value))
    elif not isinstance(value, types.MethodType | partial | weakref.ref | tuple | frozenset):
        if not (inner and objects and isinstance(getattr(value, "__dict__", None), dict)):
            return
        objects -= 1
        put_back = partial(_fill, vars(value), dict(vars(value)))
    found[id(value)] = value, put_back
    for item in inner:
        _keep(item, found, objects)


def _nothing() -> None:
    """What only leads to others has nothing to put back."""


def _fill(home: Any, contents: Any) -> None:
    """Puts contents back into a dict, list or set, where they have changed."""
    same = len(home) == len(contents) and all(
        a is b for a, b in zip(_items(home), _items(contents), strict=True)
    )
    if not same:
        home.clear()
        (home.extend if isinstance(home, list) else home.update)(contents)


def _items(home: Any) -> Iterator[Any]:
    return chain.from_iterable(home.items()) if isinstance(home, dict) else iter(home)


def _fill_function(function: Any, cells: Any, known: dict[str, Any]) -> None:
    """Puts back what a function's closure holds, and the globals that it names."""
    for cell, held in cells:
        cell.cell_contents = held
    for name, held in known.items():
        if function.__globals__.get(name) is not held:
            function.__globals__[name] = held


def first_process() -> bool:
    """Whether this is the first of the processes that train together, or the only one."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def refuse_sharded(module: object) -> None:
    """Refuses a model whose weights lie in pieces on several processes.

    Raises:
        ModelError: it is one; a pass on one process would wait for the others for ever.
    """
    if not isinstance(module, nn.Module):
        return
    sharded = {"FullyShardedDataParallel", "FSDPModule"}
    kinds = {kind.__name__ for part in module.modules() for kind in type(part).__mro__}
    if kinds & sharded or any(type(weight).__name__ == "DTensor" for weight in module.parameters()):
        raise ModelError(
            "The model's weights must be whole on the first process; they are sharded (FSDP or DTensor), and "
            "a pass on one process would wait for the others: explain a checkpoint, or train with DDP."
        )


def is_lazy(module: object) -> bool:
    """Whether some weights have no shape yet, so that the model cannot be run before training has begun."""
    return isinstance(module, nn.Module) and any(
        isinstance(weight, nn.parameter.UninitializedParameter) for weight in module.parameters()
    )
