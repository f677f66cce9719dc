"""Explanations of texts and rows as bars and as HTML that needs nothing else. All text is escaped."""

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from pellucid.lime.records import Feature, LabelExplanation
from pellucid.render.html import warning_list
from pellucid.render.text import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOR, AGAINST = "#b2182b", "#2166ac"
_SHOWN = 30  # bars of a figure or a fragment; the rest are in the numbers
_FAINTEST = 0.03  # share of the largest weight below which a word is left untinted

_STYLE = """
<style>
.pellucid.lime{font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#1a1a1a;
  background:#fff;padding:14px 16px;border-radius:8px;max-width:860px;box-sizing:border-box}
.pellucid.lime h3{margin:0;font-size:16px;font-weight:600}
.pellucid.lime section+section{margin-top:22px;padding-top:16px;border-top:1px solid #e2e4e7}
.pellucid.lime .quiet{color:#5f6368;font-size:12.5px;margin:2px 0 10px}
.pellucid.lime>.quiet{margin:14px 0 0}
.pellucid.lime .text{font-size:15px;line-height:1.75;margin:0 0 12px;white-space:pre-wrap;
  overflow-wrap:anywhere}
.pellucid.lime mark{color:inherit;border-radius:3px;padding:1px 2px;margin:0 -2px}
.pellucid.lime table{border-collapse:collapse;width:100%;margin:0}
.pellucid.lime td{padding:2px 0;border:0;background:none;text-align:left;vertical-align:middle;font-size:13px}
.pellucid.lime td.name{width:34%;padding-right:12px;overflow-wrap:anywhere}
.pellucid.lime td.value{width:10%;padding-right:12px;color:#5f6368;white-space:nowrap}
.pellucid.lime td.weight{width:9.5em;padding-left:12px;white-space:nowrap;text-align:right;
  font-variant-numeric:tabular-nums}
.pellucid.lime td.weight small{color:#5f6368}
.pellucid.lime svg{display:block;width:100%;height:16px}
.pellucid.lime ul.warn{margin:0 0 12px;padding:8px 12px 8px 28px;background:#fff4e0;
  border-left:3px solid #e8940c;border-radius:3px;color:#5a3b00}
</style>"""


def bars(features: Sequence[Feature], shown: Sequence[LabelExplanation]) -> "Figure":
    """One panel per label: its weights, the largest on top, with lines of one standard error."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = [max(1, len(one.chosen[:_SHOWN])) for one in shown]
    heights = [0.3 * count + 1.0 for count in counts]  # inches: a bar each, and title and axis
    figure = Figure(figsize=(7.5, sum(heights)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, one in zip(panels, shown, strict=True):
        chosen = one.chosen[:_SHOWN]
        weights = one.coefficients[chosen].tolist()
        errors = [_finite(error) for error in one.stderr[chosen].tolist()]
        places = range(len(chosen))
        panel.barh(places, weights, color=[FOR if w > 0 else AGAINST for w in weights], height=0.68)
        panel.errorbar(weights, places, xerr=errors, fmt="none", ecolor="#1a1a1a", elinewidth=1, capsize=2)
        names = [_wrapped(features[index].name) for index in chosen]
        panel.set_yticks(places, names, fontsize=9)
        panel.invert_yaxis()
        panel.margins(x=0.06)
        panel.axvline(0, color="#1a1a1a", linewidth=0.8)
        panel.set_title(f"{_wrapped(one.name)}: {_numbers(one)}", fontsize=10, loc="left")
        panel.tick_params(axis="y", length=0)
        panel.tick_params(axis="x", labelsize=8, length=2)
        panel.spines[["top", "right", "left"]].set_visible(False)
    panels[-1].set_xlabel("weight ± standard error: red for, blue against", fontsize=9)
    return figure


def fragment(
    features: Sequence[Feature],
    shown: Sequence[LabelExplanation],
    *,
    text: str | None,
    warnings: Sequence[str],
    about: str,
) -> str:
    """What a notebook shows: for each label the text with its words tinted, and the weights as bars.

    Args:
        features: the d words or conditions.
        shown: the surrogate of each label.
        text: the explained text; None for a row.
        warnings: a list of sentences above.
        about: how it was made, in a line below.
    """
    sections = "".join(_section(features, one, text) for one in shown)
    return (
        f'{_STYLE}<div class="pellucid lime">{warning_list(warnings)}{sections}'
        f'<p class="quiet">{escape(about)}; weight ± standard error: red for, blue against</p></div>'
    )


def _section(features: Sequence[Feature], one: LabelExplanation, text: str | None) -> str:
    tinted = "" if text is None else f'<p class="text">{_tinted(features, one, text)}</p>'
    ends = [abs(float(one.coefficients[i])) + _finite(float(one.stderr[i])) for i in one.chosen]
    limit = max(ends, default=0.0) or 1.0
    rows = "".join(_row(features[index], one, index, limit) for index in one.chosen[:_SHOWN])
    return (
        f'<section><h3>{escape(one.name)}</h3><p class="quiet">{_numbers(one)}</p>{tinted}'
        f"<table>{rows}</table></section>"
    )


def _row(feature: Feature, one: LabelExplanation, index: int, limit: float) -> str:
    weight, error = float(one.coefficients[index]), float(one.stderr[index])
    value = f'<td class="value">{escape(feature.value)}</td>' if feature.value else ""
    shown = f"{error:.2g}" if math.isfinite(error) else "?"
    return (
        f'<tr><td class="name">{escape(feature.name)}</td>{value}'
        f"<td>{_bar(weight / limit, _finite(error) / limit)}</td>"
        f'<td class="weight">{number(weight)} <small>± {shown}</small></td></tr>'
    )


def _bar(weight: float, error: float) -> str:
    """A bar from the middle, of a weight in [-1, 1], with a line of one standard error."""
    end, colour = 100 + 100 * weight, FOR if weight > 0 else AGAINST
    left, width = min(100.0, end), abs(end - 100)
    low, high = max(0.0, end - 100 * error), min(200.0, end + 100 * error)
    return (
        '<svg viewBox="0 0 200 16" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect x="{left:.2f}" y="2" width="{width:.2f}" height="12" fill="{colour}"/>'
        f'<path d="M{low:.2f} 8H{high:.2f}M100 0V16" stroke="#1a1a1a" vector-effect="non-scaling-stroke"/>'
        "</svg>"
    )


def _tinted(features: Sequence[Feature], one: LabelExplanation, text: str) -> str:
    """The text, its words on red or blue, as strong as their weight."""
    largest = float(one.coefficients.abs().max()) or 1.0
    at, parts = 0, []
    weighed = [
        (span, float(one.coefficients[index]))
        for index, feature in enumerate(features)
        for span in feature.spans
    ]
    for (start, end), weight in sorted(weighed):
        strength = abs(weight) / largest
        if strength < _FAINTEST:
            continue
        colour = FOR if weight > 0 else AGAINST
        alpha = f"{round(0.55 * 255 * strength):02x}"  # at most 55 %: black letters stay readable
        parts.append(escape(text[at:start]))
        style, word = f"background:{colour}{alpha}", escape(text[start:end])
        parts.append(f'<mark style="{style}" title="{number(weight)}">{word}</mark>')
        at = end
    return "".join(parts) + escape(text[at:])


def _numbers(one: LabelExplanation) -> str:
    return (
        f"model {number(one.prediction)}, surrogate {number(one.local_prediction)}, "
        f"R² {number(round(one.r2, 2))}"
    )


def _finite(error: float) -> float:
    """A standard error to draw: nothing where it is unknown."""
    return error if math.isfinite(error) else 0.0


def _wrapped(text: str) -> str:
    from textwrap import fill

    # Names are plain text: a dollar sign must not start mathematics.
    return fill(text, 38).replace("$", r"\$")
