"""How much may be spent: seconds or passes."""

import re
from dataclasses import dataclass

from pellucid.errors import InvalidType, InvalidValue

_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """The most that may be spent: `seconds`, or `passes` of the model; None is no limit."""

    seconds: float | None = None
    passes: int | None = None

    @classmethod
    def of(cls, given: "str | int | float | Budget | None") -> "Budget":
        """From "60s", "2min", "500" or a number: a number alone is passes.

        Raises:
            InvalidValue: another text, or nothing to spend.
            InvalidType: neither text nor a number.

        Example:
            >>> Budget.of("2min"), Budget.of(500)
            (Budget(seconds=120.0, passes=None), Budget(seconds=None, passes=500))
        """
        if given is None or isinstance(given, Budget):
            return given or cls()
        if isinstance(given, bool) or not isinstance(given, (str, int, float)):
            raise InvalidType(f"budget must be text such as '60s', or a number of passes; got {given!r}.")
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|passes)?\s*", str(given))
        amount = float(found[1]) if found else 0.0
        if found is None or amount <= 0:
            raise InvalidValue(
                f"budget must be seconds, as '60s' or '2min', or a number of passes, as 500; got {given!r}."
            )
        if found[2] in _UNITS:
            return cls(seconds=amount * _UNITS[found[2]])
        return cls(passes=max(1, int(amount)))

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"{self.seconds:g} s"
        return "no limit" if self.passes is None else f"{self.passes} passes"
