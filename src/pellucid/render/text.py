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


def unbroken(text: str) -> str:
    """Text in which no line ends between a number and its unit, or between a quantity and its number.

    >>> unbroken("sum off by 20 %, 300 samples").replace(chr(160), "~")
    'sum off by~20~%, 300~samples'
    """
    return _BEFORE_NUMBER.sub(rf"\1{_NO_BREAK}", _BEFORE_UNIT.sub(_NO_BREAK, text))


@cache
def typeface(size: int | float, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib brings it: the same letters on every machine."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}", size)
