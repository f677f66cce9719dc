"""What a check of axioms found: a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pellucid.methods.definition import Axiom

HEADS: dict[Axiom, str] = {
    "completeness": "complete",
    "sensitivity": "sensitive",
    "dummy": "dummy",
    "implementation invariance": "invariant",
    "linearity": "linear",
    "symmetry": "symmetric",
}
"""What the columns are called."""


@dataclass(frozen=True)
class Row:
    """One axiom of one method.

    Attributes:
        method: with the options it was given.
        axiom: its name.
        promised: whether the method's theory proves it.
        held: whether it holds here; None where that cannot be checked.
        error: relative; None where there is none.
        note: what else to know, in words.
    """

    method: str
    axiom: Axiom
    promised: bool
    held: bool | None
    error: float | None
    note: str

    @property
    def cell(self) -> str:
        """As tables show it; in brackets where the axiom is not promised.

        >>> Row("rise", "dummy", False, False, 0.312, "").cell
        '(✗ 31%)'
        """
        mark = {True: "✓", False: "✗", None: "–"}[self.held]
        shown = mark if self.error is None or self.held is None else f"{mark} {_percent(self.error)}"
        return shown if self.promised else f"({shown})"

    @property
    def broken(self) -> bool:
        """Whether it was promised, and does not hold."""
        return self.promised and self.held is False


@dataclass(frozen=True)
class AxiomReport:
    """Which axioms methods keep on one model and picture, and which they promise.

    Attributes:
        model, picture, label: what was explained.
        tolerance: the relative error up to which an axiom holds.
        rows: one for each method and axiom, in the order asked.
    """

    model: str
    picture: str
    label: str
    tolerance: float
    rows: tuple[Row, ...]

    @property
    def broken(self) -> list[Row]:
        """What was promised and does not hold."""
        return [row for row in self.rows if row.broken]

    @property
    def methods(self) -> dict[str, list[Row]]:
        """The rows of each method."""
        titles = dict.fromkeys(row.method for row in self.rows)
        return {title: [row for row in self.rows if row.method == title] for title in titles}

    @property
    def title(self) -> str:
        """What was explained, in words."""
        return f"{self.picture}: {self.label}, by {self.model}"

    @property
    def legend(self) -> str:
        """How the table is read."""
        return (
            f"✓ holds within {self.tolerance:.0%}, or within a map's standard error; ✗ does not; – cannot be "
            "checked; in brackets: not promised. The number is the relative error."
        )

    @property
    def remarks(self) -> list[str]:
        """What to know of promises that are broken or could not be checked, and of those that nearly were."""
        about: dict[tuple[str, str], list[str]] = {}
        for row in self.rows:
            if row.promised and row.note and (row.held is None or row.broken):
                about.setdefault((row.axiom, row.note), []).append(row.method)
        return [f"{', '.join(methods)}, {axiom}: {note}" for (axiom, note), methods in about.items()]

    def __str__(self) -> str:
        cells = [["method", *HEADS.values()]]
        cells += [[title, *(row.cell for row in rows)] for title, rows in self.methods.items()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
        return "\n".join([self.title, "", *table, "", self.legend, *self.remarks])

    def _repr_html_(self) -> str:
        def line(tag: str, texts: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts) + "</tr>"

        head = line("th", ["method", *HEADS.values()])
        body = "".join(line("td", [title, *(r.cell for r in rows)]) for title, rows in self.methods.items())
        texts = "".join(f"<p>{escape(text)}</p>" for text in (self.legend, *self.remarks))
        return f"<p><b>{escape(self.title)}</b></p><table>{head}{body}</table>{texts}"


def _percent(share: float) -> str:
    """A share in as few digits as tell.

    >>> _percent(2e-6), _percent(0.00312), _percent(0.347), _percent(37.0)
    ('0%', '0.3%', '35%', '>999%')
    """
    if share < 5e-4:
        return "0%"
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}" if share < 9.995 else ">999%"
