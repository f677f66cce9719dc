"""Options as they are stored and as they are written on the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor


def titled(name: str, given: Mapping[str, Any]) -> str:
    """A method or metric and the options it was given, as on the command line.

    Example:
        >>> titled("smooth-grad", {"samples": 20}), titled("saliency", {})
        ('smooth-grad:samples=20', 'saliency')
    """
    shown = ",".join(f"{option}={_as_text(value)}" for option, value in given.items())
    return name + (f":{shown}" if shown else "")


def plain(value: Any) -> Any:
    """An option as it is stored: modules by their class, tuples as lists."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__} {tuple(value.shape)}"
    if isinstance(value, Path):
        return str(value)
    if not isinstance(value, str | int | float | list | tuple | None):  # a module, a callable, a picture
        return getattr(value, "__name__", type(value).__name__)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _as_text(value: Any) -> str:
    """An option as it is written on the command line."""
    stored = plain(value)
    return ",".join(map(str, stored)) if isinstance(stored, list) else str(stored)
