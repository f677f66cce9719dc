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
