"""Names that were other ones before: for one release the old name is refused with the new one."""

from typing import Any, ClassVar


class Renamed:
    """A class some of whose attributes have new names, or whole new places ("pellucid.probe.run_with").

    Example:
        >>> class Method(Renamed):
        ...     _renamed = {"settle": "resolve_options"}
        >>> Method().settle({})
        Traceback (most recent call last):
            ...
        AttributeError: 'Method.settle' is 'Method.resolve_options' now.
    """

    _renamed: ClassVar[dict[str, str]] = {}

    def __getattr__(self, name: str) -> Any:
        """Called for a name that is not there.

        Raises:
            AttributeError: always; it says the new name of an old one.
        """
        kind = type(self).__name__
        if name in type(self)._renamed:
            new = type(self)._renamed[name]
            raise AttributeError(f"'{kind}.{name}' is {new if '.' in new else f'{kind}.{new}'!r} now.")
        raise AttributeError(f"{kind!r} object has no attribute {name!r}")
