"""Functions compiled by torch.compile, run as they were written while operations are replaced."""

import os
import sys
import threading
from typing import Any

import torch


class Eager:
    """While anybody is within it, functions compiled by torch.compile run as they were written.

    PyTorch has one such switch per process: the first to come sets it, the last to go puts it back. Compiled
    modules need no switch, as a shadow has none.
    """

    def __init__(self) -> None:
        self.lock, self.within = threading.Lock(), 0
        self.stance: Any = None

    def __enter__(self) -> None:
        with self.lock:
            if self.stance is None and "torch._dynamo" in sys.modules:
                self.stance = torch.compiler.set_stance("force_eager")
                self.stance.__enter__()
            self.within += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.within -= 1
            if not self.within and self.stance is not None:
                self.stance.__exit__(None, None, None)
                self.stance = None

    def forget(self) -> None:
        """In a forked child, whose parent's other threads are not there."""
        self.lock, self.within = threading.Lock(), 0
        if self.stance is not None:
            self.stance.__exit__(None, None, None)
            self.stance = None


EAGER = Eager()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=EAGER.forget)
