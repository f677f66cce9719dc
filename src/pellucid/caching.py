"""Properties that are computed once, without a lock."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class cached_property(Generic[T]):  # noqa: N801
    """`functools.cached_property` as it is from Python 3.12 on: no lock.

    Python 3.11's holds one lock per property, of all instances, while it is computed: sessions of other
    threads would wait for ours, and a child that is forked meanwhile for ever.

    Example:
        >>> class Square:
        ...     side = 3
        ...     @cached_property
        ...     def area(self):
        ...         return self.side**2
        >>> square = Square()
        >>> square.area, square.__dict__
        (9, {'area': 9})
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function, self.name, self.__doc__ = function, function.__name__, function.__doc__

    def __set_name__(self, owner: type[Any], name: str) -> None:
        """The name under which the value is kept, where attributes are found before properties."""
        self.name = name

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> T:
        """The value, computed at the first call."""
        if instance is None:
            return self  # type: ignore[return-value]
        values = instance.__dict__
        if self.name not in values:
            values[self.name] = self.function(instance)
        value: T = values[self.name]
        return value
