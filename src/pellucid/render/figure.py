"""Maps as matplotlib figures, colour bars in the units of the score; pyplot's state is not used."""

from dataclasses import replace
from typing import TYPE_CHECKING

from pellucid.render.blocks import Block, stacked
from pellucid.render.drawing import (
    below,
    error_picture,
    error_scale,
    fitted_to,
    map_alone,
    over_picture,
    scale_of,
    view,
)
from pellucid.render.panel import Panel
from pellucid.render.paper import WIDTHS, Paper
from pellucid.render.sheet import Cell, Metrics, grid
from pellucid.render.style import Style
from pellucid.render.text import number
from pellucid.render.views import Maps, shared, sheet
from pellucid.render.words import predicted, reliability, remark

if TYPE_CHECKING:
    from pellucid.render.canvas import MapFigure

SIDE_BY_SIDE = 8
"""Of more images than that a figure shows one picture each."""
_WIDE = 5.8  # centimetres of a picture on a screen, where no width was asked for
SCREEN = Paper(dpi=150, size=8.0)


def plot(maps: Maps, style: Style, *, captions: bool, paper: Paper) -> "MapFigure":
    """One row per image: the picture, the map alone with its numbers, and the map over the picture.

    The colour bar is in the units of the explained output: the map's own numbers, not [0, 1]. Sampled maps
    have a fourth column, their standard error, with a colour bar of its own. Of more than eight images
    there is one picture each, in a grid.
    """
    if len(maps.names) > SIDE_BY_SIDE:
        return drawn(sheet([maps], style=style, captions=captions, paper=paper), paper)
    style = shared(style, [maps])
    panels = list(maps.panels())
    columns = 3 if all(panel.stderr is None for panel in panels) else 4
    wide = paper if paper.width is not None else replace(paper, width=columns * _WIDE)
    aspect = max(width / max(width, height) for width, height in maps.sizes)
    metrics, width = wide.metrics(columns, aspect=aspect)
    rows = [_row(panel, style, captions, metrics) for panel in panels]
    return drawn(grid(rows, metrics=metrics, width=width), paper)


def one(panel: Panel, style: Style, *, captions: bool, paper: Paper) -> "MapFigure":
    """The view of one image, as wide as asked, and what it shows below."""
    wide = paper if paper.width is not None else replace(paper, width=WIDTHS["column"])
    width, height = panel.rgb.size
    metrics, column = wide.metrics(1, aspect=width / max(width, height))
    fitted = fitted_to(panel, metrics.side, metrics.letters)
    block = grid([[Cell(view(fitted, style), ready=True)]], metrics=metrics, width=column)
    if captions:
        caption = below(panel, scale_of(panel, style), column, metrics.size)
        block = stacked([block, caption])
    return drawn(block, paper)


def drawn(block: Block, paper: Paper) -> "MapFigure":
    """A block as a figure."""
    from pellucid.render.canvas import figure

    return figure(block, paper.dpi)


def _row(full: Panel, style: Style, captions: bool, metrics: Metrics) -> list[Cell]:
    panel = fitted_to(full, metrics.side, metrics.letters)
    images = [panel.rgb, map_alone(panel, style), over_picture(panel, style)]
    if panel.stderr is not None:
        images.append(error_picture(panel))
    if not captions:
        return [Cell(image, ready=True) for image in images]
    layer = f"layer {', '.join(panel.layer)}" if panel.layer else ""
    caption = reliability(panel)
    texts = [
        " · ".join(filter(None, (panel.name, predicted(panel.prediction)))),
        " · ".join(filter(None, (panel.method, panel.model, layer, remark(panel)))),
        " · ".join(
            filter(
                None,
                (
                    f"{panel.label}: {panel.output} {number(panel.score)}",
                    "" if panel.stderr is not None else caption,
                ),
            )
        ),
        " · ".join(filter(None, ("± standard error", caption))),
    ]
    scales = [
        None,
        scale_of(panel, style, over=False),
        scale_of(panel, style, over=True),
        error_scale(panel) if panel.stderr is not None else None,
    ]
    return [
        Cell(image, text, scale, ready=True)
        for image, text, scale in zip(images, texts, scales, strict=False)
    ]
