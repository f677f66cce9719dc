"""Which methods keep the course of a mask, so that a film can be made of it."""

from collections.abc import Mapping
from typing import Any

from pellucid.errors import InvalidValue
from pellucid.methods import METHODS, Method


def keeps_course(method: Method, options: Mapping[str, Any]) -> bool:
    """Whether a method with these options keeps the course of a mask: all that optimise one, unwrapped.

    Example:
        >>> keeps_course(METHODS["i-gos"], {}), keeps_course(METHODS["i-gos"], {"smooth": 2})
        (True, False)
    """
    return method.family == "mask" and not (options.get("smooth") or options.get("augment"))


def no_course(requested: str) -> InvalidValue:
    """The error of what a film was requested of and keeps no course."""
    names = ", ".join(method.name for method in METHODS.values() if method.family == "mask")
    return InvalidValue(
        f"A video needs a method that optimises a mask ({names}), without smooth or augment; got {requested}."
    )
