"""Registries: entries by name, to which installed packages add theirs by an entry point.

A package that brings a method says so in its pyproject.toml; importing what is named registers it:

    [project.entry-points."pellucid.methods"]
    my-method = "my_package.my_method"
"""

import re
import threading
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from importlib import metadata
from typing import Any, Protocol, TypeVar, runtime_checkable

from pellucid.errors import InvalidValue, PluginWarning

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*(\+\+)?")


def check_name(kind: str, name: str) -> None:
    """Refuses a name that is not in kebab-case.

    Raises:
        InvalidValue: it is not.
    """
    if not _NAME.fullmatch(name):
        raise InvalidValue(f"The name of a {kind} must be in kebab-case, such as my-{kind}; got {name!r}.")


@runtime_checkable
class Entry(Protocol):
    """What a registry holds: a function under a name."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def family(self) -> str: ...  # noqa: D102
    @property
    def function(self) -> Callable[..., Any]: ...  # noqa: D102


E = TypeVar("E", bound=Entry)


class Registry(MutableMapping[str, E]):
    """Entries by name, listed by family and name, those of installed plugins among them.

    Plugins are imported when the registry is first listed or asked for a name that it does not know. No lock
    is held meanwhile: threads that ask at the same time all go through the plugins, and Python imports each
    module once. A plugin that cannot be imported is left out, with one `PluginWarning`.
    """

    def __init__(self, group: str) -> None:
        self.group = group
        self._entries: dict[str, E] = {}
        self._complete = False
        self._failed: dict[metadata.EntryPoint, object] = {}
        self._thread = threading.local()

    def add(self, entry: E) -> None:
        """Adds an entry; the same function again, as when a notebook's cell is run again, replaces it.

        Raises:
            InvalidValue: another function has this name.
        """
        known = self._entries.setdefault(entry.name, entry)
        if _place(known) != _place(entry):
            raise InvalidValue(
                f"{entry.name!r} is registered twice: by {'.'.join(_place(known))} "
                f"and by {'.'.join(_place(entry))}. Give one of them another name."
            )
        self._entries[entry.name] = entry

    def __getitem__(self, name: str) -> E:
        if name not in self._entries:
            self._load_plugins()
        return self._entries[name]

    def __setitem__(self, name: str, entry: E) -> None:
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        entries = dict(self._entries)  # another thread may add one meanwhile
        return iter(sorted(entries, key=lambda name: (entries[name].family, name)))

    def __len__(self) -> int:
        self._load_plugins()
        return len(self._entries)

    def _load_plugins(self) -> None:
        """Imports all plugins of the group; of a plugin that asks while it is imported, none."""
        if self._complete or getattr(self._thread, "loading", False):
            return
        self._thread.loading = True
        try:
            for point in metadata.entry_points(group=self.group):
                self._load(point)
        finally:
            self._thread.loading = False
        self._complete = True

    def _load(self, point: metadata.EntryPoint) -> None:
        try:
            point.load()
        except Exception as error:  # whatever a stranger's module raises
            for name, entry in list(self._entries.items()):
                if f"{entry.function.__module__}.".startswith(f"{point.module}."):
                    self._entries.pop(name, None)
            mine = object()
            if self._failed.setdefault(point, mine) is not mine:
                return  # another thread has said so
            source = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
            warnings.warn(
                f"The plugin {point.name!r} ({point.value}) of {source} could not be imported and is left "
                f"out: {type(error).__name__}: {error}",
                PluginWarning,
                stacklevel=2,
            )


def _place(entry: Entry) -> tuple[str, str]:
    return entry.function.__module__, entry.function.__qualname__
