"""What keeps a look from being noticed: random states put back, one process that looks."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

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
