"""A card: one method's map of one picture, its scales, and what is known of it."""

import re

from pellucid.entries import Entry
from pellucid.methods import get_method
from pellucid.render.curves import curves
from pellucid.render.html import data_uri
from pellucid.render.layer import Layer, error_layer, overlay_layer, raw_layer
from pellucid.render.panel import Panel
from pellucid.render.superpixels import Weighted, outline_path
from pellucid.render.text import number
from pellucid.render.words import remark
from pellucid.report.album import Album
from pellucid.report.facts import facts
from pellucid.report.records import Card, Course, Outlines, Stage, Standing

_WEIGHTS = 8  # segments whose weights are written on the picture
_LINES = 18  # of text would fill a picture's shorter side
_CHART = 240, 84  # the frame of a course's lines
_LINK = re.compile(r"(?P<kind>arXiv|doi):(?P<id>[^\s,;]+)")
_HOSTS = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}


def card(
    entry: Entry, index: int, album: Album, standing: Standing | None, said: frozenset[str] = frozenset()
) -> Card:
    """The card of one image; warnings that are `said` beside are left out."""
    explanation = entry.explanation
    panel = explanation.panel(index)
    link = _LINK.search(explanation.paper)
    height, width = explanation.raw.shape[-2:]
    channels = (
        f", sum of {explanation.raw.shape[1]} channels"
        if explanation.per_pixel and explanation.raw.shape[1] > 1
        else ""
    )
    return Card(
        title=entry.title,
        formula=get_method(explanation.method).summary,
        seen=album.place(explanation.pictures[index], explanation.boxes[index]),
        overlay=_stage(overlay_layer(panel)),
        raw=_stage(raw_layer(panel)),
        error=None if panel.stderr is None else _stage(error_layer(panel)),
        outlines=None if panel.segments is None else _outlines(panel.segments),
        course=_course(panel),
        cells=f"{height} × {width}{channels}",
        remark=remark(panel),
        warnings=[text for text in explanation.notes[index] if text not in said] if explanation.notes else [],
        facts=facts(explanation, panel, index),
        options=" ".join(f"{name}={value}" for name, value in explanation.options.items()),
        paper=explanation.paper,
        link=_HOSTS[link["kind"]] + link["id"] if link else "",
        standing=standing,
    )


def _stage(layer: Layer) -> Stage:
    low = number(-layer.limit) if layer.signed else "0"
    high = number(layer.limit)
    return Stage(
        data_uri(layer.image), layer.blend, layer.cmap, layer.signed, low, high, layer.limit, layer.crisp
    )


def _outlines(segments: Weighted) -> Outlines:
    height, width = segments.labels.shape
    size = round(min(segments.rgb.size) / _LINES)
    return Outlines(outline_path(segments.labels), (width, height), segments.weights(_WEIGHTS, size))


def _course(panel: Panel) -> Course | None:
    drawn = curves(panel.trace, panel.output)
    if drawn is None:
        return None
    width, height = _CHART
    lines = []
    for name, values in drawn.lines.items():
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn.points(name, width, height))
        lines.append((name, points, number(float(values[0])), number(float(values[-1]))))
    return Course(
        _CHART,
        drawn.last,
        lines,
        [(round(height * (1 - drawn.height(tick)), 1), number(tick)) for tick in drawn.ticks],
        [(round(width * step / max(1, drawn.last), 1), step) for step in drawn.step_ticks],
    )
