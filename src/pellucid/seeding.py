"""torch's random numbers on the CPU from a seed on, and as they were afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within it the CPU's generator goes on from the seed; outside, nothing happened.

    >>> before = torch.get_rng_state()
    >>> with seeded(0):
    ...     first = torch.rand(1, dtype=torch.float32, device="cpu")
    >>> bool(torch.get_rng_state().equal(before)), round(float(first), 4)
    (True, 0.4963)
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
