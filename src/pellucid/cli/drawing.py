"""How the commands draw maps: the options they share."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from pellucid.choices import Interpolation, ScaleOf
from pellucid.cli import completing

_option = partial(typer.Option, rich_help_panel="The pictures")


@dataclass(frozen=True)
class DrawingOptions:
    """How maps are drawn."""

    cmap: Annotated[
        str | None,
        _option(
            metavar="NAME",
            autocompletion=completing.colour_maps,
            help="Colour map, any of matplotlib's.",
            show_default="by the map",
        ),
    ] = None
    scale: Annotated[
        ScaleOf,
        _option(
            help="Colours of each map by its own evidence, or shared by all pictures of one method.",
        ),
    ] = "own"
    vmin: Annotated[
        float | None,
        _option(
            metavar="NUMBER",
            help="Evidence in the first colour; below 0 shows evidence against.",
            show_default="0, or minus --vmax",
        ),
    ] = None
    vmax: Annotated[
        float | None,
        _option(
            metavar="NUMBER",
            help="Evidence in the last colour.",
            show_default="by --percentile",
        ),
    ] = None
    percentile: Annotated[
        float | None,
        _option(
            metavar="NUMBER",
            help="Percentile of the evidence that gets the last colour.",
            show_default="100, or 99 of pixels",
        ),
    ] = None
    interpolation: Annotated[
        Interpolation | None,
        _option(
            help="Between the cells of a map; nearest shows the cells.",
            show_default="bicubic for coarse maps",
        ),
    ] = None
    caption: Annotated[
        bool | None,
        _option(
            "--caption/--no-caption",
            help="Colour bar, class, method, model, layer and score below the maps.",
            show_default="in grids, PDF and SVG",
        ),
    ] = None
    width: Annotated[
        str | None,
        _option(
            metavar="WIDTH",
            help="For print: column (8.8 cm), page (18 cm) or centimetres.",
            show_default=False,
        ),
    ] = None
    dpi: Annotated[
        float | None,
        _option(
            metavar="NUMBER",
            help="Dots per inch, for print; a PNG is drawn for print with it, too.",
            show_default="300",
        ),
    ] = None
