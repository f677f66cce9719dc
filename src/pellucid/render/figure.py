"""Explanations as matplotlib figures, with axes and colour bars; pyplot and its global state are not used."""

from typing import TYPE_CHECKING

from pellucid.explanation import Explanation
from pellucid.render import heat
from pellucid.render.sheet import number
from pellucid.render.views import predicted, remark

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(explanation: Explanation) -> "Figure":
    """One row per image: the picture, the map alone with its numbers, and the overlay.

    The colour bar is in the units of the explained output: the map's own numbers, not [0, 1].
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    count = len(explanation)
    tallest = max(p.rgb.height / p.rgb.width for p in explanation.pictures)
    height = min(max(3.3 * tallest, 1.5), 6) + 0.6  # inches: a panel of 3.3 and its title
    figure = Figure(figsize=(10.5, height * count), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(count, 3, squeeze=False)
    for index, (left, middle, right) in enumerate(axes):
        both = explanation.has_negative(index)
        cmap = explanation.default_cmap(both)
        limit = explanation.limit(index, signed=both) or 1.0
        left.imshow(explanation.pictures[index].rgb)
        left.set_title(_wrapped(predicted(explanation.prediction[index]) or explanation.pictures[index].name))
        middle.imshow(explanation.map(index, signed=both))
        middle.set_title(
            _wrapped(remark(explanation, index) or f"{explanation.method}, {explanation.output}")
        )
        norm = Normalize(-limit if both else 0, limit)
        bar = figure.colorbar(ScalarMappable(norm, heat.colormap(cmap)), ax=middle, shrink=0.85, pad=0.02)
        bar.ax.tick_params(labelsize=8, length=2)
        bar.outline.set_visible(False)
        right.imshow(explanation.overlay(index, signed=both))
        score = number(float(explanation.score[index]))
        right.set_title(_wrapped(f"{explanation.labels[index]}: {explanation.output} {score}"))
        for panel in (left, middle, right):
            panel.title.set_fontsize(10)
            panel.set_axis_off()
    return figure


def _wrapped(text: str) -> str:
    from textwrap import fill

    # Labels are plain text: a dollar sign must not start mathematics.
    return fill(text, 38).replace("$", r"\$")
