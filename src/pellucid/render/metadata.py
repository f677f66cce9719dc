"""What a picture shows, written into its file, and read from it again: PNG, PDF, SVG and HTML."""

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pellucid.errors import FileMissing, InvalidValue
from pellucid.files import by_suffix

if TYPE_CHECKING:
    from pellucid.render.canvas import MapFigure

KEY = "pellucid"
"""The name of a PNG's text that holds the provenance, as JSON."""
Provenance = Mapping[str, Any]


def save_png(file: Path, image: Image.Image, provenance: Provenance) -> None:
    """Writes a picture with what it shows."""
    info = PngInfo()
    for name, text in _fields(provenance).items():
        info.add_text(name, text)
    info.add_text(KEY, _json(provenance))
    image.save(file, "PNG", pnginfo=info)


def save_figure(file: Path, figure: "MapFigure", provenance: Provenance) -> None:
    """Writes a figure, `.pdf`, `.svg` or `.png`, with what it shows."""
    fields, held = _fields(provenance), _json(provenance)
    kind = file.suffix.lower()
    match kind:
        case ".pdf":
            metadata: dict[str, Any] = {
                "Title": fields["Title"],
                "Subject": fields["Description"],
                "Creator": fields["Software"],
                "Keywords": held,
                "CreationDate": None,  # the same picture is the same file
            }
        case ".svg":
            metadata = {
                "Title": fields["Title"],
                "Description": fields["Description"],
                "Creator": fields["Software"],
                "Keywords": [held],
                "Date": None,
            }
        case _:
            metadata = {**fields, KEY: held}
    figure.savefig(
        file, format=kind[1:], dpi=figure.dpi, bbox_inches=None, facecolor="white", metadata=metadata
    )


def read(path: Path) -> dict[str, Any]:
    """The provenance that a file of Pellucid's holds.

    Raises:
        FileMissing: there is no such file.
        InvalidValue: another suffix, or a file that holds none.
    """
    reader = by_suffix(path, _READERS)
    if not path.is_file():
        raise FileMissing(f"There must be a file at {str(path)!r}, and there is none: check the path.")
    try:
        found = reader(path)
        held = json.loads(found) if found else None
    except (OSError, ValueError, SyntaxError):
        held = None
    if not isinstance(held, dict):
        raise InvalidValue(
            f"{str(path)!r} must be a file that Pellucid saved; it holds nothing of what it shows: save it "
            "again, since programs that change pictures leave that out."
        )
    return held


def _fields(provenance: Provenance) -> dict[str, str]:
    """The same for people, in short."""
    return {
        "Title": str(provenance["title"]),
        "Description": str(provenance["description"]),
        "Software": f"pellucid {provenance['versions'].get('pellucid', '')}".strip(),
    }


def _json(provenance: Provenance) -> str:
    return json.dumps(provenance)  # ASCII, which every format holds as it is


def _from_png(path: Path) -> str | None:
    with Image.open(path) as image:
        image.load()
        found = image.info.get(KEY)
    return found if isinstance(found, str) else None


_KEYWORDS = re.compile(rb"/Keywords \(((?:\\.|[^\\()])*)\)", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


def _from_pdf(path: Path) -> str | None:
    found = _KEYWORDS.search(path.read_bytes())
    if found is None:
        return None
    return _ESCAPED.sub(lambda one: _LETTERS.get(one[1], one[1]), found[1]).decode("latin-1")


def _from_svg(path: Path) -> str | None:
    for element in ElementTree.parse(path).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"):
        if element.text and element.text.startswith("{"):
            return element.text
    return None


class _Data(HTMLParser):
    """Finds the element of a page that holds its numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.text = False, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script" and ("id", "data") in attrs

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        self.text += data if self.inside else ""


def _from_html(path: Path) -> str | None:
    page = _Data()
    page.feed(path.read_text(encoding="utf-8"))
    return page.text or None


_READERS = {".png": _from_png, ".pdf": _from_pdf, ".svg": _from_svg, ".html": _from_html}
SUFFIXES = tuple(_READERS)
