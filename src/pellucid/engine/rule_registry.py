"""The rules by name: those that are built in, and a user's own."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from torch import Tensor

from pellucid.engine.sharing import Operands, Rule, Shared
from pellucid.errors import InvalidType, InvalidValue

Sharing = Callable[[Operands, Tensor], Shared]
"""A rule at work: (linear map, relevance of its output) -> what that relevance becomes."""

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """A registered rule: a subclass of `Rule`, or a function that is one.

    `numbers` are the names of those that may follow its own, as in "gamma:0.5" or "alpha-beta:2:1".
    """

    source: Callable[..., Any]
    numbers: tuple[str, ...]

    def with_numbers(self, **numbers: float) -> Sharing:
        """The rule with its numbers."""
        if isinstance(self.source, type):
            made: Sharing = self.source(**numbers)
            return made
        return partial(self.source, **numbers) if numbers else self.source


RULES: dict[str, Entry] = {}
"""The rules by name."""

RESERVED: set[str] = set()
"""Names that are no rule's, because a composite may begin with them."""


def rule(name: str) -> Callable[[T], T]:
    """Registers a rule of relevance propagation, which composites may then name: "epsilon-plus;first=NAME".

    What is decorated is a subclass of `pellucid.Rule`, or a function `(on, relevance) -> Shared` that uses
    `on.share`. Numbers may follow the name, as in "NAME:0.5": those parameters that have a number as default,
    which of a class may be the fields of a dataclass, with `@rule` above `@dataclass`.

    Args:
        name: in kebab-case.

    Raises:
        InvalidValue: a name that is none, or is taken. The same class or function, defined again as in a
            notebook's cell, replaces the one before.
        InvalidType: neither a subclass of `Rule` nor a function, or parameters without a number as default.

    Example:
        >>> import torch
        >>> @rule("square")
        ... def square(on, relevance, power=2.0):
        ...     return on.share([(on.a.abs() ** power, on.weight.abs() ** power)], None, relevance)
        >>> on = Operands(torch.nn.functional.linear, torch.tensor([[1.0, -3.0]]), torch.ones(1, 2))
        >>> read_rule("square:1")(on, torch.tensor([[4.0]])).inputs.round()
        tensor([[1., 3.]])
        >>> del RULES["square"]
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise InvalidValue(f"A rule's name must be in kebab-case, such as 'my-rule'; got {name!r}.")
    if name in RESERVED:
        raise InvalidValue(f"A rule's name must not be that of a composite; got {name!r}: take another.")

    def register(source: T) -> T:
        entry = Entry(source, _numbers(name, source))
        if name in RULES and _origin(RULES[name].source) != _origin(source):
            raise InvalidValue(
                f"A rule named {name!r} is registered already, by {'.'.join(_origin(RULES[name].source))}: "
                "take another name."
            )
        RULES[name] = entry
        return source

    return register


def _origin(source: Callable[..., Any]) -> tuple[str, str]:
    return source.__module__, source.__qualname__


def _numbers(name: str, source: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters of a rule that take a number."""
    if isinstance(source, type):
        if not issubclass(source, Rule):
            raise InvalidType(f"The rule {name!r} must be a subclass of pellucid.Rule or a function.")
    elif not inspect.isfunction(source):
        raise InvalidType(
            f"The rule {name!r} must be a subclass of pellucid.Rule or a function; got {source!r}."
        )
    parameters = list(inspect.signature(source).parameters.values())
    if not isinstance(source, type):
        parameters = parameters[2:]  # (on, relevance)
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise InvalidType(
                f"The rule {name!r} must have a default for each of its numbers; {parameter.name!r} has none."
            )
    return tuple(p.name for p in parameters if type(p.default) in (int, float))


def entry_of(text: str) -> Entry:
    """The registered rule with whose name a text begins.

    Raises:
        InvalidValue: there is none; the message names those there are.
    """
    name = text.strip().partition(":")[0]
    if name not in RULES:
        raise InvalidValue(f"A rule must be one of {', '.join(RULES)}; got {text!r}.")
    return RULES[name]


def read_rule(text: str) -> Sharing:
    """A rule, out of its name and numbers.

    Example:
        >>> read_rule("gamma:0.5")
        Gamma(gamma=0.5)

    Raises:
        InvalidValue: no rule of that name, or numbers that it does not take.
    """
    entry, (name, *numbers) = entry_of(text), text.strip().split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = [-1.0]
    if len(values) > len(entry.numbers) or any(not 0 <= value < float("inf") for value in values):
        form = "".join(f":{number.upper()}" for number in entry.numbers)
        raise InvalidValue(
            f"The rule {name} must be written {name}{form}, with numbers of at least 0; got {text!r}."
        )
    return entry.with_numbers(**dict(zip(entry.numbers, values, strict=False)))
