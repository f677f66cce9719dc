"""The files below a folder that a pattern means, streamed: at any time one folder's names are in memory."""

import fnmatch
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from pellucid.files import RESULTS, results_in
from pellucid.runner.sources.places import is_local, join, listing

ALL = ("**", "*")
"""Everything below a folder."""


class Pattern:
    """A glob below a folder, part by part; where a walk stands in it is a set of numbers of parts."""

    def __init__(self, parts: tuple[str, ...], suffixes: Collection[str]) -> None:
        self.parts, self.last = parts, len(parts) - 1
        visible = ["" if part.startswith(".") else r"(?!\.)" for part in parts]
        forms = [".*" if part == "**" else fnmatch.translate(part) for part in parts]
        self._match = [re.compile(f"{a}{b}", re.DOTALL).match for a, b in zip(visible, forms, strict=True)]
        endings = "|".join(sorted(map(re.escape, suffixes)))
        self.accepts = re.compile(f"(?={visible[-1]}{forms[-1]}).+(?i:{endings})\\Z", re.DOTALL).match
        """Whether a file is meant, where the walk stands at the last part."""
        self.start = self._closed({0})

    def _closed(self, states: set[int]) -> frozenset[int]:
        """`**` may stand for no folder at all."""
        for state in sorted(states):
            while self.parts[state] == "**" and state < self.last:
                state += 1
                states.add(state)
        return frozenset(states)

    def entered(self, states: frozenset[int], name: str) -> frozenset[int]:
        """Where the walk stands within a folder; nowhere if nothing below it can be meant."""
        inside = {
            state if self.parts[state] == "**" else state + 1
            for state in states
            if self._match[state](name) is not None
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
    pattern = Pattern(parts, suffixes)
    yield from _below(folder, "", pattern, pattern.start, ())


def _below(
    root: str, inner: str, pattern: Pattern, states: frozenset[int], above: tuple[str, ...]
) -> Iterator[list[str]]:
    folder = join(root, inner) if inner else root
    names = listing(folder)
    ours: set[str] = set()
    if is_local(folder):
        above = (*above, os.path.realpath(folder))
        if RESULTS in names:
            ours = results_in(Path(folder))
    accepts, wanted = pattern.accepts, pattern.last in states
    start = 0
    for stop in (*(i for i, name in enumerate(names) if name[-1] == "/"), len(names)):
        for first in range(start, stop if wanted else 0, _PIECE):
            some = names[first : min(first + _PIECE, stop)]
            if piece := [inner + name for name in some if accepts(name) and name not in ours]:
                yield piece
        start = stop + 1
        if stop == len(names) or not (inside := pattern.entered(states, names[stop][:-1])):
            continue
        if above and os.path.realpath(join(folder, names[stop])) in above:
            continue  # a link to a folder that holds it
        yield from _below(root, inner + names[stop], pattern, inside, above)


_PIECE = 1 << 14
