"""A folder of looks: what was asked, a line of JSON for each look, its maps, its sheet, and one page."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pellucid.bundle import read_bundle, write_bundle
from pellucid.errors import InvalidValue, PellucidError
from pellucid.files import atomic_write, make_folder, mark_results, written_to
from pellucid.monitor.board import About, Board
from pellucid.monitor.looks import History, Look
from pellucid.monitor.page import page

REQUEST, INDEX, PAGE, LOOKS = "watch.json", "looks.jsonl", "index.html", "looks"
VERSION = 1
"""Of the files in a folder."""


class Folder:
    """Writes looks to a folder, and reads those that are there already.

    - `watch.json`: what was asked.
    - `looks.jsonl`: a line for each look: its numbers, and its files; or why there is none.
    - `looks/step-0000100.npz`: the maps, `looks/step-0000100.png`: the sheet. Nothing is overwritten: a
      second look at a step is called `step-0000100-2`.
    - `index.html`: the page, which shows the sheets and plays them as a film.

    Args:
        path: the folder, made where it is not there.
        request: what was asked, as JSON; a folder of another request is refused.
        about: what is the same of all looks.

    Raises:
        InvalidValue: the folder holds looks of another request, or cannot be read.
        NotWritten: it cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str], request: Mapping[str, Any], about: About) -> None:
        self.path, self.about = Path(path), about
        self.request = {"version": VERSION, **request}
        known = self._known_request()
        if known is None:
            make_folder(self.path / LOOKS)
            with atomic_write(self.path / REQUEST) as file:
                file.write_text(json.dumps(self.request, indent=2) + "\n", encoding="utf-8")
        else:
            self._check(known)
            self._end_line()
        self.sheets = {entry["step"]: entry["sheet"] for entry in self.lines() if "sheet" in entry}

    def _known_request(self) -> dict[str, Any] | None:
        file = self.path / REQUEST
        if not file.is_file():
            return None
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = None
        if not isinstance(known, dict):
            raise InvalidValue(
                f"{str(file)!r} must say which request the looks in its folder are of, and cannot be read: "
                "choose another folder, or remove this one."
            )
        return known

    def _check(self, known: Mapping[str, Any]) -> None:
        names = [name for name in self.request if known.get(name) != self.request[name]]
        if names:
            told = "; ".join(
                f"{name} {_short(known.get(name))}, not {_short(self.request[name])}" for name in names
            )
            raise InvalidValue(
                f"The folder {str(self.path)!r} must be new or hold looks of this very request; it holds "
                f"those of another ({told}): choose another folder, or remove this one."
            )

    def _end_line(self) -> None:
        """Ends a line that was cut off when training was killed, so that the next one stands alone."""
        index = self.path / INDEX
        if index.is_file() and (data := index.read_bytes()) and not data.endswith(b"\n"):
            with written_to(index), index.open("ab") as file:
                file.write(b"\n")

    def lines(self) -> Iterator[dict[str, Any]]:
        """The whole lines of the index."""
        index = self.path / INDEX
        for line in index.read_text(encoding="utf-8").splitlines() if index.is_file() else ():
            try:
                entry = json.loads(line)
            except ValueError:  # cut off
                continue
            if isinstance(entry, dict):
                yield entry

    def looks(self) -> Iterator[Look]:
        """The looks that are there already; one whose maps are damaged is left out."""
        for entry in self.lines():
            try:
                tensors, _ = read_bundle(self.path / entry["maps"])
                look = Look.of(entry, tensors["maps"])
            except (KeyError, TypeError, PellucidError):
                continue
            if len(look.pictures) == len(self.about.names):
                yield look

    def take(self, look: Look, history: History) -> None:
        """Writes one look, and the page anew.

        Raises:
            NotWritten: there is no room, or no permission.
        """
        name = self._free(f"step-{look.step:07d}")
        maps, sheet = f"{LOOKS}/{name}.npz", f"{LOOKS}/{name}.png"
        make_folder(self.path / LOOKS)
        with atomic_write(self.path / maps) as file:
            write_bundle(file, {"maps": look.maps}, {"step": look.step})
        with atomic_write(self.path / sheet) as file:
            Board(self.about, history.looks).draw(look).save(file, compress_level=3)
        mark_results([self.path / sheet])
        self._append({**look.to_dict(), "maps": maps, "sheet": sheet})
        self.sheets[look.step] = sheet
        self._write_page(history)

    def fail(self, step: int, text: str) -> None:
        """Notes why there is no look at a step."""
        self._append({"step": step, "error": text})

    def close(self) -> None:
        """There is nothing to close."""

    def _free(self, name: str) -> str:
        """The name, or the name with the first number that is free."""
        numbered = name
        count = 1
        while any((self.path / LOOKS / f"{numbered}{suffix}").exists() for suffix in (".npz", ".png")):
            count += 1
            numbered = f"{name}-{count}"
        return numbered

    def _append(self, entry: Mapping[str, Any]) -> None:
        index = self.path / INDEX
        with written_to(index), index.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def _write_page(self, history: History) -> None:
        with atomic_write(self.path / PAGE) as file:
            file.write_text(page(self.about, history, self.sheets), encoding="utf-8")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}…"
