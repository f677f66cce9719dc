"""Properties that are computed once, without a lock."""

import functools
from typing import Any, Self, TypeVar, overload

T = TypeVar("T")


class cached_property(functools.cached_property[T]):  # noqa: N801
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

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...

    def __get__(self, instance: object, owner: type[Any] | None = None) -> Any:
        """The value, computed at the first call."""
        if instance is None:
            return self
        if self.attrname is None:
            raise TypeError("a cached property needs a name: it must be made in a class")
        values = instance.__dict__
        if self.attrname not in values:
            values[self.attrname] = self.func(instance)
        return values[self.attrname]
