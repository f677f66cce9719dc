"""The files below a folder that a pattern means, streamed: at any time one folder's names are in memory."""

import fnmatch
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from pellucid.files import results_in
from pellucid.runner.sources.places import is_local, join, listing

ALL = ("**", "*")
"""Everything below a folder."""


class Pattern:
    """A glob below a folder, part by part; where a walk stands in it is a set of numbers of parts."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        self.parts, self.last = parts, len(parts) - 1
        self._match = [re.compile(fnmatch.translate(part)).match for part in parts]
        self.start = self._closed({0})

    def _closed(self, states: set[int]) -> frozenset[int]:
        """`**` may stand for no folder at all."""
        for state in sorted(states):
            while self.parts[state] == "**" and state < self.last:
                state += 1
                states.add(state)
        return frozenset(states)

    def _fits(self, state: int, name: str) -> bool:
        hidden = name.startswith(".") and not self.parts[state].startswith(".")
        return not hidden and (self.parts[state] == "**" or self._match[state](name) is not None)

    def accepts(self, states: frozenset[int], name: str) -> bool:
        """Whether a file is meant."""
        return self.last in states and self._fits(self.last, name)

    def entered(self, states: frozenset[int], name: str) -> frozenset[int]:
        """Where the walk stands within a folder; nowhere if nothing below it can be meant."""
        inside = {
            state if self.parts[state] == "**" else state + 1 for state in states if self._fits(state, name)
        }
        return self._closed({state for state in inside if state <= self.last})


def walk(folder: str, suffixes: Collection[str], parts: tuple[str, ...] = ALL) -> Iterator[list[str]]:
    """The paths below a folder of the files of these suffixes that a pattern means, sorted, in pieces.

    Hidden files and results of earlier explanations are left out, as `find_pictures` does.

    Args:
        folder: an absolute path, or a URL.
        suffixes: in small letters, with their dot.
        parts: the pattern, one part for each folder.

    Raises:
        FileMissing: there is no such folder.
        InvalidValue: a folder cannot be read.
    """
    pattern = Pattern(parts)
    yield from _below(folder, "", frozenset(suffixes), pattern, pattern.start, ())


def _below(
    root: str,
    inner: str,
    suffixes: frozenset[str],
    pattern: Pattern,
    states: frozenset[int],
    above: tuple[str, ...],
) -> Iterator[list[str]]:
    folder = join(root, inner) if inner else root
    names = listing(folder)
    ours: set[str] = set()
    if is_local(folder):
        above = (*above, os.path.realpath(folder))
        if ".pellucid-results" in names:
            ours = results_in(Path(folder))
    piece: list[str] = []
    for name in names:
        if not name.endswith("/"):
            if (
                os.path.splitext(name)[1].lower() in suffixes
                and pattern.accepts(states, name)
                and name not in ours
            ):
                piece.append(inner + name)
                if len(piece) == _PIECE:
                    yield piece
                    piece = []
        elif inside := pattern.entered(states, name[:-1]):
            if above and os.path.realpath(join(folder, name)) in above:
                continue  # a link to a folder that holds it
            if piece:
                yield piece
                piece = []
            yield from _below(root, inner + name, suffixes, pattern, inside, above)
    if piece:
        yield piece


_PIECE = 1 << 14
