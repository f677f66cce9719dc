"""How the commands draw maps: the options they share."""

from typing import Annotated

import typer

from pellucid.choices import Interpolation, ScaleOf
from pellucid.cli import completing

_PICTURES = "The pictures"

Cmap = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=completing.colour_maps,
        help="Colour map, any of matplotlib's.",
        rich_help_panel=_PICTURES,
        show_default="by the map",
    ),
]
Scale = Annotated[
    ScaleOf,
    typer.Option(
        help="Colours of each map by its own evidence, or shared by all pictures of one method.",
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
