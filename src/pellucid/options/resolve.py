"""How the options of a method or a metric are read: from text as on the command line, and against its own."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pellucid.errors import InvalidType, InvalidValue
from pellucid.options.types import Option


def resolve(
    owner: str,
    options: Sequence[Option],
    given: Mapping[str, Any],
    named_elsewhere: Callable[[str, Mapping[str, Option]], str] = lambda name, known: "",
) -> dict[str, Any]:
    """All options: those given, checked, and the defaults of the others.

    Args:
        owner: the method or metric, for the errors.
        options: those that it has.
        given: what the user gave.
        named_elsewhere: a sentence on an option of another library.

    Raises:
        InvalidType: an option that it does not have; the message names those it has.
        InvalidValue: a value that an option does not take.

    Example:
        >>> resolve("rise", [Option("samples", int, 4000)], {"samples": "20"})
        {'samples': 20}
    """
    known = {option.name: option for option in options}
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = named_elsewhere(name, known) or (f"Did you mean {close[0]!r}?" if close else "")
            raise InvalidType(
                f"{owner} has no option {name!r}.{hint and ' ' + hint} "
                f"It takes: {', '.join(known) or 'none'}."
            )
    return {
        name: option.check(given[name]) if name in given else option.default for name, option in known.items()
    }


def parse(spec: str) -> tuple[str, dict[str, str]]:
    """A name and its options as written on the command line.

    Example:
        >>> parse("smooth-grad:samples=20,noise=0.1")
        ('smooth-grad', {'samples': '20', 'noise': '0.1'})

    Raises:
        InvalidValue: an option without a value.
    """
    name, _, rest = spec.partition(":")
    options: dict[str, str] = {}
    for part in filter(None, re.split(r",(?=[\w-]+=)", rest)):
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise InvalidValue(
                f"Options must be written NAME=VALUE, as in smooth-grad:samples=20; got {part!r}."
            )
        options[key.strip().replace("-", "_")] = value.strip()
    return name.strip(), options
