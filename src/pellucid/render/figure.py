"""Explanations as matplotlib figures, with axes and colour bars; pyplot and its global state are not used."""

from typing import TYPE_CHECKING

from pellucid.explanation import Explanation
from pellucid.render import heat
from pellucid.render.sheet import number
from pellucid.render.views import error_map, known, predicted, remark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot(explanation: Explanation) -> "Figure":
    """One row per image: the picture, the map alone with its numbers, and the map over the picture.

    The colour bar is in the units of the explained output: the map's own numbers, not [0, 1]. A sampled map
    has a fourth panel, its standard error, with a colour bar of its own.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count, panels = len(explanation), 3 if explanation.stderr is None else 4
    tallest = max(p.rgb.height / p.rgb.width for p in explanation.pictures)
    height = min(max(3.3 * tallest, 1.5), 6) + 0.6  # inches: a panel of 3.3 and its title
    figure = Figure(figsize=(3.5 * panels, height * count), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(count, panels, squeeze=False)
    for index, (left, middle, right, *errors) in enumerate(axes):
        both = explanation.has_negative(index)
        limit = explanation.limit(index, signed=both) or 1.0
        left.imshow(explanation.pictures[index].rgb)
        left.set_title(_wrapped(predicted(explanation.prediction[index]) or explanation.pictures[index].name))
        middle.imshow(explanation.map(index, signed=both))
        middle.set_title(
            _wrapped(remark(explanation, index) or f"{explanation.method}, {explanation.output}")
        )
        _bar(figure, middle, -limit if both else 0.0, limit, explanation.default_cmap(both))
        over = explanation.outlined if explanation.segmented else explanation.overlay
        right.imshow(over(index))
        score = number(float(explanation.score[index]))
        right.set_title(_wrapped(f"{explanation.labels[index]}: {explanation.output} {score}"))
        for panel in errors:
            panel.imshow(error_map(explanation, index))
            told = known(explanation, index)
            panel.set_title(_wrapped(f"± standard error: {told}" if told else "± standard error"))
            _bar(figure, panel, 0.0, explanation.error_limit(index), heat.ERROR)
        for panel in (left, middle, right, *errors):
            panel.title.set_fontsize(10)
            panel.set_axis_off()
    return figure


def _bar(figure: "Figure", panel: "Axes", low: float, high: float, cmap: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colours = ScalarMappable(Normalize(low, high), heat.colormap(cmap))
    bar = figure.colorbar(colours, ax=panel, shrink=0.85, pad=0.02)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.outline.set_visible(False)


def _wrapped(text: str) -> str:
    from textwrap import fill

    # Labels are plain text: a dollar sign must not start mathematics.
    return fill(text, 38).replace("$", r"\$")
