"""A formula in LaTeX with its symbols, as a docstring gives it under `Formula:`."""

import re
from dataclasses import dataclass

from pellucid.docstrings import read
from pellucid.errors import InvalidValue

COMMON = {
    "S": "the score that is explained",
    "x": "the model's input",
    "x'": "the baseline",
    "A_k": "channel k of the layer's activations",
    "i": "a position",
    "j": "a position",
    "c": "a channel of the input",
}
"""Symbols that mean the same in all formulas, unless one says otherwise."""
GREEK = "alpha|beta|gamma|delta|epsilon|lambda|mu|xi|pi|sigma|tau|phi|psi|omega|Pi|Sigma|Omega|nabla|triangle"
_NAMED = re.compile(r"\\(?:text|mathrm|mathsf|mathcal|mathbb|operatorname)\{[^{}]*\}")
_SYMBOL = re.compile(rf"\\(?:{GREEK})(?![A-Za-z])'*|\\[A-Za-z]+|[A-Za-z]'*")
_BLOCK = re.compile(r"^Formula:\n(?:    [^$\n].*\n)+\n?((?:    .+\n)*)", re.MULTILINE)
_INLINE = re.compile(r"\$(.+?)\$")
_PLAIN = {r"\nabla", r"\triangle"}
"""Signs that are read as words: what they stand for is school mathematics."""


@dataclass(frozen=True)
class Formula:
    """A formula and what its symbols mean.

    Attributes:
        latex: the formula, for a display of its own.
        symbols: each symbol in LaTeX, and its meaning.
    """

    latex: str
    symbols: tuple[tuple[str, str], ...]

    @property
    def lines(self) -> tuple[str, ...]:
        r"""Its parts, which stand a wide space apart in one line or below each other in several.

        Example:
            >>> Formula(r"a = b,\qquad b = 1", ()).lines
            ('a = b,', 'b = 1')
        """
        return tuple(part.strip() for part in re.split(r"\\q?quad(?![A-Za-z])", self.latex))

    @property
    def undefined(self) -> set[str]:
        """The symbols that nothing defines, be it in the meaning of another, as in "$n$ of $N$".

        Example:
            >>> Formula(r"\\sum_k w_k A_k", (("w_k", "a weight"),)).undefined
            {'A'}
        """
        given = [latex for symbol, meaning in self.symbols for latex in (symbol, *_INLINE.findall(meaning))]
        return tokens(self.latex) - {token for latex in given for token in tokens(latex)}


def tokens(latex: str) -> set[str]:
    """The letters of a formula, with their primes; words and commands are none.

    Example:
        >>> sorted(tokens(r"\\mathrm{ReLU}(\\alpha_k x')"))
        ['\\\\alpha', 'k', "x'"]
    """
    found = _SYMBOL.findall(_NAMED.sub(" ", latex))
    return {t for t in found if not t.startswith("\\") or re.match(rf"\\(?:{GREEK})(?![A-Za-z])", t)} - _PLAIN


def formula_of(doc: str) -> Formula:
    """The formula of a method's or metric's docstring: `formula_of(get_method("grad-cam").doc)`.

    Under `Formula:` stands the LaTeX, then after an empty line each symbol with its meaning. Symbols of
    `COMMON` that it uses are added.

    Raises:
        InvalidValue: it has none.

    Example:
        >>> found = formula_of("Sum.\\n\\nFormula:\\n    \\\\sum_k w_k A_k\\n\\n    $w_k$: a weight.\\n")
        >>> found.latex, found.symbols[0]
        ('\\\\sum_k w_k A_k', ('w_k', 'a weight'))
        >>> found.symbols[1]
        ('A_k', "channel k of the layer's activations")
    """
    section = read(doc).sections.get("Formula")
    if section is None:
        raise InvalidValue("A docstring must give its formula under the heading Formula; this one has none.")
    latex, _, symbols = section.partition("\n\n")
    lines = [" ".join(point.split()) for point in re.split(r"\n(?=\$)", symbols) if point.strip()]
    own = [re.fullmatch(r"\$(.+?)\$: (.+?)\.?", line) for line in lines]
    given = Formula(latex, tuple((found[1], found[2]) for found in own if found))
    common = [(s, meaning) for s, meaning in COMMON.items() if s.partition("_")[0] in given.undefined]
    return Formula(latex, (*given.symbols, *common))


def on_screen(doc: str) -> str:
    r"""A docstring for a terminal, where its first line is the formula: the symbols, without the LaTeX.

    Example:
        >>> print(on_screen("Sum.\n\nFormula:\n    L = w_k\n\n    $w_k$: a weight.\n\nCost:\n    None."))
        Sum.
        <BLANKLINE>
        Symbols:
            w_k: a weight.
        <BLANKLINE>
        Cost:
            None.
    """

    def plain(found: re.Match[str]) -> str:
        symbols = re.sub(r"[${}]|\\(?:mathrm|bar|left|right)(?![A-Za-z])", "", found[1]).replace("\\", "")
        return f"Symbols:\n{symbols}" if symbols else ""

    return _BLOCK.sub(plain, doc)
