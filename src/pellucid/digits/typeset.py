"""Formulas as MathML, which browsers set by themselves: no script, no fonts, no network."""

import re
from html import escape

from markupsafe import Markup

_NEEDED = {
    r"\arg": r"\operatorname{arg}",
    r"\setminus": r"\backslash",
    r"\big\lVert": r"\lVert",
    r"\big\rVert": r"\rVert",
}
"""What the converter does not know, or sets as a sign that common fonts lack."""

_NAMES = re.compile("|".join(rf"{re.escape(name)}(?![A-Za-z])" for name in _NEEDED))
_PARTS = re.compile(r"\$(.+?)\$|`(.+?)`")


def mathml(latex: str, *, display: bool = False) -> Markup:
    r"""A formula in MathML.

    Example:
        >>> print(mathml(r"A_k").partition(">")[2])
        <mrow><msub><mi>A</mi><mi>k</mi></msub></mrow></math>
    """
    from latex2mathml.converter import convert

    known = _NAMES.sub(lambda found: _NEEDED[found[0]], latex)
    return Markup(convert(known, display="block" if display else "inline"))


def sentence(text: str) -> Markup:
    """Text whose formulas between dollars are set, and whose code between backquotes is marked.

    Example:
        >>> str(sentence("less than `width`"))
        'less than <code>width</code>'
    """
    parts, last = [], 0
    for found in _PARTS.finditer(text):
        parts.append(escape(text[last : found.start()]))
        parts.append(mathml(found[1]) if found[1] else f"<code>{escape(found[2])}</code>")
        last = found.end()
    return Markup("".join([*parts, escape(text[last:])]))
