"""One operation of a model, as handlers see it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Call:
    """One operation on tensors that depend on the input.

    `name` is the operation's, whichever way it was called; `where` the module that called it; `in_place` says
    that `function` changes its first argument.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    in_place: bool
    where: str

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, by its place or its name."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)

    def run(self) -> Any:
        """What the model's own operation gives, in the graph as it stands."""
        if not self.in_place:
            return self.function(*self.args, **self.kwargs)
        copy = self.args[0].clone()
        made = self.function(copy, *self.args[1:], **self.kwargs)
        return copy if made is None else made  # x[i] = y gives nothing

    def value(self) -> Any:
        """The same outside the graph."""
        with torch.no_grad():
            return self.run()


Handler = Callable[[Call], Any]


@dataclass
class Tag:
    """What is known of a tensor that depends on the input; each kind of replacement adds to it."""

    notes: dict[str, Any] = field(default_factory=dict)
