"""Sizes of figures for print: how wide, how fine, and letters of one size."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from pellucid.errors import InvalidValue
from pellucid.render.blocks import Length
from pellucid.render.sheet import Metrics

Width = Literal["column", "page"] | int | float
WIDTHS = {"column": 8.8, "page": 18.0}
"""Centimetres of one column, and of both, of a journal's page."""
POINTS = 72 / 2.54
"""Points in a centimetre."""
_NARROWEST = 2.6  # centimetres of a picture, of which more go beside each other otherwise


@dataclass(frozen=True)
class Paper:
    """What a figure is drawn for.

    Attributes:
        width: in centimetres; None is what its pictures need.
        dpi: dots per inch of the pictures in it, and of the whole in a PNG.
        size: of all letters, in points.
    """

    width: Length | None = None
    dpi: Length = 300.0
    size: Length = 7.0

    @classmethod
    def of(cls, width: Width | str | None, dpi: Length | None) -> "Paper":
        """From a name or centimetres, as a user writes them.

        Raises:
            InvalidValue: a width that is neither "column" nor "page" nor 2 to 200 cm; dpi outside 30 to 2400.
        """
        wide = WIDTHS.get(width, width) if isinstance(width, str) else width
        try:
            wide = None if wide is None else float(wide)
        except ValueError:
            wide = float("nan")
        if wide is not None and not 2 <= wide <= 200:
            raise InvalidValue(
                f'width must be "column" ({WIDTHS["column"]} cm), "page" ({WIDTHS["page"]:g} cm) or 2 to 200 '
                f"centimetres; got {width!r}."
            )
        if dpi is not None and not (isfinite(dpi) and 30 <= dpi <= 2400):
            raise InvalidValue(f"dpi must be from 30 to 2400 dots per inch; got {dpi}.")
        return cls(wide, dpi or cls.dpi)

    def across(self, most: int) -> int:
        """How many pictures go beside each other."""
        return most if self.width is None else max(1, min(most, int(self.width / _NARROWEST)))

    def metrics(self, across: int, *, left: Length = 0, aspect: Length = 1.0) -> tuple[Metrics, Length]:
        """The sizes with which so many pictures fill the width, and the width of each column, in points.

        Args:
            across: how many.
            left: what titles of rows take.
            aspect: of the widest picture, its width over its longer side.
        """
        gap = 0.8 * self.size
        wide = 4.4 * across if self.width is None else self.width
        column = max(1.0, (wide * POINTS - left - (across - 1) * gap) / across)
        cell = column / max(aspect, 0.6)
        return Metrics(cell, self.size, gap, self.dpi / 72, in_print=True), column
