"""Maps as matplotlib figures, with axes and colour bars; pyplot and its global state are not used."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pellucid.render import heat
from pellucid.render.drawing import error_picture, map_alone, over_picture
from pellucid.render.panel import Panel
from pellucid.render.sheet import number
from pellucid.render.words import predicted, reliability, remark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot(panels: Sequence[Panel]) -> "Figure":
    """One row per image: the picture, the map alone with its numbers, and the map over the picture.

    The colour bar is in the units of the explained output: the map's own numbers, not [0, 1]. Sampled maps
    have a fourth column, their standard error, with a colour bar of its own.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count, columns = len(panels), 3 if all(panel.stderr is None for panel in panels) else 4
    tallest = max(panel.rgb.height / panel.rgb.width for panel in panels)
    height = min(max(3.3 * tallest, 1.5), 6) + 0.6  # inches: a panel of 3.3 and its title
    figure = Figure(figsize=(3.5 * columns, height * count), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(count, columns, squeeze=False)
    for panel, (left, middle, right, *errors) in zip(panels, axes, strict=True):
        both = panel.has_negative
        limit = panel.limit(signed=both) or 1.0
        left.imshow(panel.rgb)
        left.set_title(_wrapped(predicted(panel.prediction) or panel.name))
        middle.imshow(map_alone(panel, signed=both))
        middle.set_title(_wrapped(remark(panel) or f"{panel.method}, {panel.output}"))
        _bar(figure, middle, -limit if both else 0.0, limit, heat.default_cmap(panel.per_pixel, signed=both))
        right.imshow(over_picture(panel))
        right.set_title(_wrapped(f"{panel.label}: {panel.output} {number(panel.score)}"))
        for place in errors:
            place.imshow(error_picture(panel))
            told = reliability(panel)
            place.set_title(_wrapped(f"± standard error: {told}" if told else "± standard error"))
            _bar(figure, place, 0.0, panel.error_limit, heat.ERROR)
        for place in (left, middle, right, *errors):
            place.title.set_fontsize(10)
            place.set_axis_off()
    return figure


def _bar(figure: "Figure", place: "Axes", low: float, high: float, cmap: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colours = ScalarMappable(Normalize(low, high), heat.colormap(cmap))
    bar = figure.colorbar(colours, ax=place, shrink=0.85, pad=0.02)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.outline.set_visible(False)


def _wrapped(text: str) -> str:
    from textwrap import fill

    # Labels are plain text: a dollar sign must not start mathematics.
    return fill(text, 38).replace("$", r"\$")
