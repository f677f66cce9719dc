"""How results are drawn, as the commands were asked."""

from dataclasses import dataclass
from typing import Any, cast

from pellucid.cli.drawing import DrawingOptions
from pellucid.render.paper import Paper
from pellucid.render.style import Drawing, Style


@dataclass(frozen=True)
class Look:
    """How results are drawn, checked before anything is run; `saving` are the options of `save`."""

    drawing: Drawing
    width: str | None = None
    dpi: float | None = None
    caption: bool | None = None

    def __post_init__(self) -> None:
        Style.of(self.drawing)
        Paper.of(self.width, self.dpi)

    @classmethod
    def of(cls, given: DrawingOptions) -> "Look":
        """As a command was asked to draw.

        Raises:
            InvalidValue: an option that does not hold.
        """
        asked = dict(vars(given))
        rest = {name: asked.pop(name) for name in ("width", "dpi", "caption")}
        return cls(cast(Drawing, asked), **rest)

    @property
    def shared(self) -> bool:
        """Whether maps have to wait for each other to know their scale, and whether it has two sides."""
        known = self.drawing.get("vmin") is not None and self.drawing.get("vmax") is not None
        return self.drawing.get("scale") == "shared" and not known

    def saving(self, **changes: Any) -> dict[str, Any]:
        """The keywords of `save`: those that were asked for, with changes."""
        width: str | float | None = self.width
        if width is not None and width not in ("column", "page"):
            width = float(width)
        asked = {**self.drawing, "width": width, "dpi": self.dpi, "caption": self.caption, **changes}
        return {name: value for name, value in asked.items() if value is not None}
