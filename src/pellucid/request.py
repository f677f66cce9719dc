"""A request: one method with its options, as a user writes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pellucid.errors import InvalidType
from pellucid.methods import Method, get_method
from pellucid.options.resolve import parse


@dataclass(frozen=True)
class Request:
    """One method with the options it was given, and all its options resolved."""

    method: Method
    given: Mapping[str, Any]
    options: Mapping[str, Any]

    @classmethod
    def of(cls, spec: str, given: Mapping[str, Any] | None = None) -> "Request":
        """From a name, or as on the command line: "smooth-grad:samples=20", with further options.

        Raises:
            InvalidType: something else than a name.
            InvalidValue: an unknown method, or an option that does not hold.
        """
        if not isinstance(spec, str):
            raise InvalidType(
                f"A method must be a name, such as 'grad-cam'; got {type(spec).__name__}: "
                "pellucid.compare takes a list of several."
            )
        name, written = parse(spec)
        method = get_method(name)
        given = {**written, **(given or {})}
        return cls(method, given, method.resolve_options(given))

    @property
    def title(self) -> str:
        """The method and the options it was given, as on the command line."""
        shown = ",".join(f"{name}={_as_text(value)}" for name, value in self.given.items())
        return self.method.name + (f":{shown}" if shown else "")


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
