"""A watch as a callback of Lightning's Trainer and of transformers' Trainer, imported when asked for."""

import sys
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from pellucid.errors import ExtraMissing

_LIGHTNING = ("lightning.pytorch", "pytorch_lightning")


@runtime_checkable
class Watching(Protocol):
    """What is told of a trainer's steps."""

    def begin(self, step: int, trained: Any) -> None:
        """Training begins, or goes on, at a step."""

    def after(self, step: int, trained: Any) -> None:
        """Some batch was done, and so many optimiser steps."""

    def close(self) -> None:
        """Training is over."""


def lightning_callback(watch: Watching) -> Any:
    """A Lightning `Callback`, of whichever of its two packages is in use; of both where both are.

    Raises:
        ExtraMissing: neither is installed.
    """
    used = [name for name in _LIGHTNING if sys.modules.get(name) is not None]
    bases = tuple(import_module(name).Callback for name in used) or (_first_callback(),)

    class PellucidMonitor(*bases):  # type: ignore[misc]
        """Takes a look every so many optimiser steps."""

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            watch.begin(int(trainer.global_step), pl_module)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            watch.after(int(trainer.global_step), pl_module)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            watch.close()

    return PellucidMonitor()


def _first_callback() -> Any:
    for name in _LIGHTNING:
        try:
            return import_module(name).Callback
        except ImportError:
            continue
    raise ExtraMissing("A callback for Lightning needs the package lightning: pip install lightning.")


def transformers_callback(watch: Watching) -> Any:
    """A `TrainerCallback` of transformers.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise ExtraMissing(
            f"A callback for transformers' Trainer needs transformers ({error}): pip install pellucid[hf]."
        ) from None

    class PellucidMonitor(TrainerCallback):  # type: ignore[misc]
        """Takes a look every so many optimiser steps."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.begin(int(state.global_step), kwargs.get("model"))

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.after(int(state.global_step), kwargs.get("model"))

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.close()

    return PellucidMonitor()
