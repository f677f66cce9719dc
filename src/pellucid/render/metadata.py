"""What a picture shows, written into its file, and read from it again: PNG, JPEG, WebP, PDF, SVG and HTML."""

import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from io import BytesIO
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


def save_pixels(
    file: Path, image: Image.Image, provenance: Provenance, dpi: int | float | None = None
) -> None:
    """Writes a picture, by its suffix, with what it shows; a WebP loses nothing, a JPEG next to nothing.

    Raises:
        InvalidValue: more pixels than the format can hold.
    """
    kind = file.suffix.lower()
    most, options = _PIXELS[kind]
    if most is not None and max(image.size) > most:
        raise InvalidValue(
            f"A {kind} picture has at most {most} pixels to a side; this one is {image.width} x "
            f"{image.height}: save it as .png."
        )
    if dpi is not None:
        options = {**options, "dpi": (dpi, dpi)}
    if kind == ".png":
        info = PngInfo()
        for name, text in _fields(provenance).items():
            info.add_text(name, text)
        info.add_text(KEY, _json(provenance))
        image.save(file, **options, pnginfo=info)
    else:
        image.convert("RGB").save(file, **options, exif=_exif(provenance))


_PIXELS: dict[str, tuple[int | None, dict[str, Any]]] = {
    ".png": (None, {"format": "PNG"}),
    ".jpg": (65_500, {"format": "JPEG", "quality": 95, "subsampling": 0}),
    ".jpeg": (65_500, {"format": "JPEG", "quality": 95, "subsampling": 0}),
    ".webp": (16_383, {"format": "WEBP", "lossless": True}),
}
PIXELS = tuple(_PIXELS)
"""Suffixes of pictures made of pixels."""


def save_figure(file: Path, figure: "MapFigure", provenance: Provenance) -> None:
    """Writes a figure, `.pdf`, `.svg` or of pixels, with what it shows."""
    if file.suffix.lower() in (".jpg", ".jpeg", ".webp"):
        drawn = BytesIO()
        figure.savefig(drawn, format="png", dpi=figure.dpi, bbox_inches=None, facecolor="white")
        with Image.open(drawn) as image:
            save_pixels(file, image, provenance, figure.dpi)
        return
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


_DESCRIPTION, _SOFTWARE, _EXIF, _COMMENT = 0x010E, 0x0131, 0x8769, 0x9286
_ASCII = b"ASCII\0\0\0"
_LONGEST = 60_000
"""Of what a JPEG can hold besides its pixels, which is 64 KiB."""


def _exif(provenance: Provenance) -> Image.Exif:
    """The same for files that hold no texts by name; of more results than there is room for, in short."""
    fields, held = _fields(provenance), _json(provenance).encode()
    exif = Image.Exif()
    exif[_DESCRIPTION] = fields["Description"].encode("ascii", "replace").decode()[: _LONGEST // 10]
    exif[_SOFTWARE] = fields["Software"]
    if len(held) < _LONGEST - len(exif[_DESCRIPTION]):
        exif.get_ifd(_EXIF)[_COMMENT] = _ASCII + held
    return exif


def _from_exif(path: Path) -> str | None:
    with Image.open(path) as image:
        found = image.getexif().get_ifd(_EXIF).get(_COMMENT, b"")
    return bytes(found).removeprefix(_ASCII).decode() if found else None


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


_READERS: dict[str, Callable[[Path], str | None]] = {
    ".png": _from_png,
    **dict.fromkeys((".jpg", ".jpeg", ".webp"), _from_exif),
    ".pdf": _from_pdf,
    ".svg": _from_svg,
    ".html": _from_html,
}
SUFFIXES = tuple(_READERS)
