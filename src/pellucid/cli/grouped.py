"""Options that commands share, as one parameter: a dataclass whose fields are the options."""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command with options in the place of each parameter whose default is such a dataclass."""
    groups: dict[str, type] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        if not is_dataclass(parameter.default):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[name] = type(parameter.default)
        parameters += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
            )
            for field in fields(parameter.default)
        ]

    @wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            own = {field.name for field in fields(group)} & given.keys()
            given[name] = group(**{option: given.pop(option) for option in own})
        command(**given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run
