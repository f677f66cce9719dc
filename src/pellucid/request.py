"""A request: one method with its options, as a user writes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.errors import InvalidType
from pellucid.methods import Method, get_method
from pellucid.options.resolve import parse
from pellucid.options.written import titled


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

    @classmethod
    def several(cls, specs: str | Sequence[str | tuple[str, Mapping[str, Any]]]) -> "list[Request]":
        """From one of these or a list: names with options, "name:option=value", or (name, options)."""
        listed = [specs] if isinstance(specs, str) else specs
        return [cls.of(one) if isinstance(one, str) else cls.of(*one) for one in listed]

    @property
    def title(self) -> str:
        """The method and the options it was given, as on the command line."""
        return titled(self.method.name, self.given)
