"""Text as it is drawn: numbers for people, letters of one face, lines that break where they may."""

import re
from collections.abc import Sequence
from functools import cache

from PIL import ImageFont

_NO_BREAK = "\N{NO-BREAK SPACE}"
_BREAKS = "-_/,:+" + _NO_BREAK
_SPACE = re.compile(r"[ \t\r\f\v]+")
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|ms|s|MB|cm|pt|samples?|steps?)(?!\w))")
_BEFORE_NUMBER = re.compile(r"\b(R²|by|to|logit|probability|loss) (?=[<±−-]?\d)")


def number(value: int | float, digits: int = 3) -> str:
    """A number for people: three digits, and a real minus sign.

    >>> number(-0.0312), number(12.0), number(0.0312, 1)
    ('−0.0312', '12', '0.03')
    """
    return f"{value:.{digits}g}".replace("-", "−")


def in_short(names: Sequence[str], most: int = 3) -> str:
    """Names, each once, the first few of many.

    >>> in_short(["cat", "dog", "cat"]), in_short(list("abcde"))
    ('cat, dog', 'a, b, c and 2 more')
    """
    names = list(dict.fromkeys(names))
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def wrap(text: str, width: int | float, font: ImageFont.FreeTypeFont) -> list[str]:
    """Lines no wider than `width`, broken at spaces; a word too wide alone, after a hyphen or the like.

    A number and its unit stay together, as everything around a no-break space does.
    """
    lines: list[str] = []
    for paragraph in unbroken(text).splitlines() or [""]:
        line = ""
        for word in filter(None, _SPACE.split(paragraph)):
            if line and font.getlength(f"{line} {word}") <= width:
                line = f"{line} {word}"
                continue
            if line:
                lines.append(line)
            line = word
            while font.getlength(line) > width and len(line) > 1:
                fits = max(n for n in range(1, len(line)) if n == 1 or font.getlength(line[:n]) <= width)
                fits = max((n for n in range(2, fits + 1) if line[n - 1] in _BREAKS), default=fits)
                lines.append(line[:fits].strip(_NO_BREAK))
                line = line[fits:].strip(_NO_BREAK)
        lines.append(line)
    return lines


def cut(text: str, room: float, font: ImageFont.FreeTypeFont) -> str:
    """As much of a text as fits, with dots where something is missing."""
    if font.getlength(text) <= room:
        return text
    fits = max((n for n in range(len(text)) if font.getlength(f"{text[:n]}…") <= room), default=0)
    return f"{text[:fits].rstrip()}…"


def unbroken(text: str) -> str:
    """Text in which no line ends between a number and its unit, or between a quantity and its number.

    >>> unbroken("sum off by 20 %, 300 samples").replace(chr(160), "~")
    'sum off by~20~%, 300~samples'
    """
    return _BEFORE_NUMBER.sub(rf"\1{_NO_BREAK}", _BEFORE_UNIT.sub(_NO_BREAK, text))


def typeface(size: int | float, bold: bool, text: str = "") -> ImageFont.FreeTypeFont:
    """The letters of a text: DejaVu Sans as matplotlib brings it, the same on every machine; see `face`."""
    return loaded(face(text, bold), size)


@cache
def loaded(path: str, size: int | float) -> ImageFont.FreeTypeFont:
    """The letters of a font's file."""
    return ImageFont.truetype(path, size)


def face(text: str, bold: bool) -> str:
    """The file of DejaVu Sans; where that lacks letters of the text, of an installed face that has all."""
    usual = _usual(bold)
    if not _lacks(usual, text):
        return usual
    return next((path for path in _installed(bold) if not _lacks(path, text)), usual)


def legible(text: str) -> str:
    """The text; letters that no face has are written as Python writes them, instead of as an empty box.

    >>> legible("tiger \U000f0000")
    'tiger \\U000f0000'
    """
    lacking = _lacks(face(text, bold=False), text)
    return "".join(c.encode("unicode_escape").decode() if c in lacking else c for c in text)


@cache
def _usual(bold: bool) -> str:
    import matplotlib

    return f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf"


@cache
def _installed(bold: bool) -> tuple[str, ...]:
    """Upright fonts of this machine, those of the wanted weight first.

    TrueType files alone: of others, and of collections, a PDF cannot hold the letters.
    """
    from matplotlib.font_manager import fontManager

    found = [one for one in fontManager.ttflist if one.style == "normal" and one.fname.endswith(".ttf")]
    heavy = {one.fname: str(one.weight) in {"bold", "600", "700", "800", "900"} for one in found}
    return tuple(sorted(heavy, key=lambda path: (heavy[path] != bold, path)))


def _lacks(path: str, text: str) -> set[str]:
    """The letters of a text that a font does not have."""
    return {c for c in set(text) if ord(c) not in _letters(path) and not c.isspace()}


@cache
def _letters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # removed since matplotlib listed it, or damaged
        return frozenset()
