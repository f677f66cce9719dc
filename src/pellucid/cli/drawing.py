"""How the commands draw maps: the options they share, and what they make of them."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from pellucid.images import Interpolation
from pellucid.render.paper import Paper
from pellucid.render.style import Drawing, ScaleOf, Style

_PICTURES = "The pictures"

Cmap = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Colour map, any of matplotlib's.",
        rich_help_panel=_PICTURES,
        show_default="by the map",
    ),
]
Scale = Annotated[
    ScaleOf,
    typer.Option(
        help="Colours of each map by its own evidence, or shared by maps that are drawn together.",
        rich_help_panel=_PICTURES,
    ),
]
Vmin = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER",
        help="Evidence in the first colour; below 0 shows evidence against.",
        rich_help_panel=_PICTURES,
        show_default="0, or minus --vmax",
    ),
]
Vmax = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER",
        help="Evidence in the last colour.",
        rich_help_panel=_PICTURES,
        show_default="by --percentile",
    ),
]
Percentile = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER",
        help="Percentile of the evidence that gets the last colour.",
        rich_help_panel=_PICTURES,
        show_default="100, or 99 of pixels",
    ),
]
Between = Annotated[
    Interpolation | None,
    typer.Option(
        help="Between the cells of a map; nearest shows the cells.",
        rich_help_panel=_PICTURES,
        show_default="bicubic for coarse maps",
    ),
]
Dpi = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER",
        help="Dots per inch, for print; a PNG is drawn for print with it, too.",
        rich_help_panel=_PICTURES,
        show_default="300",
    ),
]
Width = Annotated[
    str | None,
    typer.Option(
        metavar="WIDTH",
        help="For print: column (8.8 cm), page (18 cm) or centimetres.",
        rich_help_panel=_PICTURES,
        show_default=False,
    ),
]
Caption = Annotated[
    bool | None,
    typer.Option(
        "--caption/--no-caption",
        help="Colour bar, class, method, model, layer and score below the maps.",
        rich_help_panel=_PICTURES,
        show_default="in grids, PDF and SVG",
    ),
]


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

    @property
    def shared(self) -> bool:
        """Whether maps have to wait for each other to know their scale."""
        return self.drawing.get("scale") == "shared" and self.drawing.get("vmax") is None

    def saving(self, **changes: Any) -> dict[str, Any]:
        """The keywords of `save`: those that were asked for, with changes."""
        width: str | float | None = self.width
        if width is not None and width not in ("column", "page"):
            width = float(width)
        asked = {**self.drawing, "width": width, "dpi": self.dpi, "caption": self.caption, **changes}
        return {name: value for name, value in asked.items() if value is not None}


def drawn(
    cmap: str | None,
    scale: ScaleOf,
    vmin: float | None,
    vmax: float | None,
    percentile: float | None,
    interpolation: Interpolation | None,
) -> Drawing:
    """The options of drawing that a command was given."""
    return {
        "cmap": cmap,
        "scale": scale,
        "vmin": vmin,
        "vmax": vmax,
        "percentile": percentile,
        "interpolation": interpolation,
    }
