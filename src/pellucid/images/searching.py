"""Which pictures are meant: files, folders and globs, but for results of earlier explanations."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from pellucid.choices import SUFFIXES
from pellucid.errors import FileMissing
from pellucid.files import results_in


def find_pictures(sources: Iterable[str | Path], *, left_out: list[str] | None = None) -> list[str]:
    """The pictures that `sources` name, in order and once each.

    Files and `sample:NAME` stay as they are, also a file that is missing: `open_picture` then says so, and
    the others of a batch go on. A folder gives the pictures anywhere below it, a glob (`**` too) those it
    matches, sorted; neither gives hidden files, nor what the command line wrote there as results, of which
    it keeps a list in a hidden file beside them. These are added to `left_out`.

    Raises:
        FileMissing: a folder or glob holds no picture, or nothing but results.

    Example:
        >>> find_pictures(["sample:cat", "cat.jpg", "sample:cat"])
        ['sample:cat', 'cat.jpg']
    """
    found: list[str] = []
    for source in map(str, sources):
        folder = os.path.isdir(source)
        if not folder and (os.path.exists(source) or not glob.has_magic(source)):
            found.append(source)
            continue
        pattern = os.path.join(glob.escape(source), "**") if folder else source
        matches = sorted(
            match
            for match in glob.iglob(pattern, recursive=True)
            if os.path.splitext(match)[1].lower() in SUFFIXES and os.path.isfile(match)
        )
        results = {folder: results_in(Path(folder)) for folder in set(map(os.path.dirname, matches))}
        ours = [m for m in matches if os.path.basename(m) in results[os.path.dirname(m)]]
        if left_out is not None:
            left_out += [one for one in ours if one not in left_out]
        if ours and len(ours) == len(matches):
            raise FileMissing(
                f"{source}: no picture but results of earlier explanations, which are left out; to explain "
                "one of them, name it."
            )
        matches = [match for match in matches if match not in set(ours)]
        if not matches:
            raise FileMissing(
                f"{source}: no picture {'in this folder' if folder else 'matches'}; "
                f"looked for {', '.join(sorted(SUFFIXES))}"
            )
        found += matches
    return list(dict.fromkeys(found))
