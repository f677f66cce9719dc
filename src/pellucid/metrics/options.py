"""Options that metrics share."""

from typing import Annotated

from pellucid.errors import InvalidValue
from pellucid.options.types import Kind, Option


def _positive(name: str, value: object) -> int:
    number = Option(name, int, 1).check(value)
    if number < 1:
        raise InvalidValue(f"{name} must be at least 1; got {number}.")
    return int(number)


Count = Annotated[int, Kind("int", _positive)]
"""A whole number from 1 on."""


def _share(name: str, value: object) -> float:
    number = float(Option(name, float, 1.0).check(value))
    if not 0 < number <= 1:
        raise InvalidValue(f"{name} must be a share, above 0 and at most 1; got {number:g}.")
    return number


Share = Annotated[float, Kind("float", _share)]
"""A share: above 0, at most 1."""


def _magnitude(name: str, value: object) -> float:
    number = float(Option(name, float, 1.0).check(value))
    if number < 0:
        raise InvalidValue(f"{name} must be at least 0; got {number:g}.")
    return number


Magnitude = Annotated[float, Kind("float", _magnitude)]
"""A number from 0 on."""


def _above_zero(name: str, value: object) -> float:
    number = _magnitude(name, value)
    if number == 0:
        raise InvalidValue(f"{name} must be above 0.")
    return number


Positive = Annotated[float, Kind("float", _above_zero)]
"""A number above 0."""
