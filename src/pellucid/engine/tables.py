"""Tables of handlers: which function says what happens at which operation."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

from pellucid.engine.calls import Call, Handler
from pellucid.engine.operations import Operations

R = TypeVar("R", bound=Operations)

Handle = Callable[[R, Call], Any]
"""`handle(run, call)`: what an operation of a run gives, with a way back of its own."""


class Table(Generic[R]):
    """Handlers by the names of operations, of one family of them or of several families together.

    A handler is a plain function of the run, which holds all state, and of the call.

    Example:
        >>> families = Table[Operations]()
        >>> @families.on("relu", "relu6")
        ... def rectify(run, call):
        ...     return call.run()
        >>> sorted(Table(families))
        ['relu', 'relu6']
    """

    def __init__(self, *families: "Table[R]") -> None:
        self.handlers: dict[str, Handle[R]] = {}
        self.fallback: Handle[R] | None = None  # of operations that it does not have
        for family in families:
            self.fallback = family.fallback or self.fallback
            for name, handle in family.handlers.items():
                self._add(name, handle)

    def on(self, *names: str) -> Callable[[Handle[R]], Handle[R]]:
        """Registers a function for operations of these names.

        Raises:
            AssertionError: one of them has a handler already.
        """

        def register(handle: Handle[R]) -> Handle[R]:
            for name in names:
                self._add(name, handle)
            return handle

        return register

    def otherwise(self, handle: Handle[R]) -> Handle[R]:
        """Registers a function for all operations that no table has."""
        self.fallback = handle
        return handle

    def other(self, run: R, call: Call) -> Any:
        """What an operation gives that the table does not have: by its fallback, else as it is."""
        return call.run() if self.fallback is None else self.fallback(run, call)

    def _add(self, name: str, handle: Handle[R]) -> None:
        if name in self.handlers:
            raise AssertionError(f"two handlers of {name!r}: {self.handlers[name]} and {handle}")
        self.handlers[name] = handle

    def __iter__(self) -> Iterator[str]:
        return iter(self.handlers)

    def overridden_by(self, other: "Table[R]") -> "Table[R]":
        """The table with another's handlers in the place of its own."""
        table = Table[R]()
        table.handlers = {**self.handlers, **other.handlers}
        table.fallback = other.fallback or self.fallback
        return table

    def bound(self, run: R) -> dict[str, Handler]:
        """The handlers of one run, as `Operations.handlers` holds them."""
        return {name: partial(handle, run) for name, handle in self.handlers.items()}
