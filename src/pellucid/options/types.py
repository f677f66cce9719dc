"""The options of methods: their types, and how values come from Python or from the command line's text."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any, Literal, get_args, get_origin

from torch import nn

from pellucid.errors import InvalidType, InvalidValue
from pellucid.layers import read_layout


@dataclass(frozen=True)
class Kind:
    """A type that only options have, as the metadata of an `Annotated`: its words, and how a value is read.

    `read(name, value)` gives the value as the method takes it, from Python or from the command line's text.
    `about` says what an option of this type means, where a docstring refers to the type.
    """

    words: str
    read: Callable[[str, Any], Any]
    about: str = ""


def _layers(name: str, value: Any) -> Any:
    for part in value if isinstance(value, (list, tuple)) else [value]:
        if not isinstance(part, (str, nn.Module)):
            raise InvalidType(
                f"{name} must be 'auto', a dotted name, a module, or a list of these; "
                f"got {type(part).__name__}."
            )
    return value


def _layout(name: str, value: Any) -> str | None:
    if value is None or value == "None":
        return None
    if not isinstance(value, str):
        raise InvalidType(f"{name} must be text, such as 'NHWC' or 'NTC:1:7x7'; got {type(value).__name__}.")
    return str(read_layout(value))


def _count(name: str, value: Any) -> int | str:
    if value == "auto":
        return "auto"
    number = Option(name, int, 0).check(value)
    if number < 1:
        raise InvalidValue(f"{name} must be 'auto' or at least 1; got {number}.")
    return int(number)


LayerOption = Annotated[
    str | nn.Module | list[str | nn.Module] | tuple[str | nn.Module, ...], Kind("layer", _layers)
]
LayoutOption = Annotated[str | None, Kind("layout", _layout)]
"""How a named layer holds its grid: "NCHW", "NHWC", "NTC", "NTC:1" (a prefix token), "NTC:1:7x7", "TNC"."""
Samples = Annotated[int | Literal["auto"], Kind("int | auto", _count)]
"""How many random draws: a number, or "auto" to draw until the map has converged."""
Tolerance = Annotated[
    float,
    Kind(
        "float",
        lambda name, value: Option(name, float, 0.0).check(value),
        'of samples="auto": the relative standard error of the top decile, and how far from 1 the rank '
        "correlation of the samples' halves may be.",
    ),
]
"""When samples="auto" has converged."""
Size = Annotated[int | Literal["auto"], Kind("int | auto", _count)]
"""A number of pixels, or "auto" for one that follows from the input's size."""
Steps = Annotated[int | Literal["auto"], Kind("int | auto", _count)]
"""How many points of a path: a number, or "auto" for as many as make the map complete."""


@dataclass(frozen=True)
class Option:
    """One keyword-only option of a method."""

    name: str
    type: Any
    default: Any

    @property
    def kind(self) -> str:
        """Its type in words: "int", "mean | max", "layer"."""
        if self._kind is not None:
            return self._kind.words
        if get_origin(self.type) is Literal:
            return " | ".join(map(str, get_args(self.type)))
        return str(getattr(self.type, "__name__", self.type))

    @property
    def about(self) -> str:
        """What every option of its type means; empty where only its method can say."""
        return self._kind.about if self._kind is not None else ""

    @property
    def _kind(self) -> Kind | None:
        return next((m for m in getattr(self.type, "__metadata__", ()) if isinstance(m, Kind)), None)

    def check(self, value: Any) -> Any:
        """`value` as this option takes it; text is read as the command line gives it.

        Raises:
            InvalidValue, InvalidType: naming the option, what it takes and what came.
        """
        if self._kind is not None:
            return self._kind.read(self.name, value)
        if get_origin(self.type) is Literal:
            if value not in get_args(self.type):
                raise InvalidValue(f"{self.name} must be one of {self.kind}; got {value!r}.")
            return value
        if self.type is bool:
            words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
            value = words.get(value.lower(), value) if isinstance(value, str) else value
            if not isinstance(value, bool):
                raise InvalidType(f"{self.name} must be true or false; got {value!r}.")
            return value
        if isinstance(value, bool) or not isinstance(value, (Real, str)):
            raise InvalidType(f"{self.name} must be of type {self.kind}; got {value!r}.")
        if self.type is str:
            return str(value)
        try:
            number = float(value)
        except ValueError:
            raise InvalidValue(f"{self.name} must be a number ({self.kind}); got {value!r}.") from None
        if not -float("inf") < number < float("inf"):
            raise InvalidValue(f"{self.name} must be finite; got {value!r}.")
        if self.type is int and not number.is_integer():
            raise InvalidValue(f"{self.name} must be a whole number; got {value!r}.")
        return self.type(number)
