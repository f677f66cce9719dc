"""Maps as HTML that needs nothing else: no scripts, no network, no extension. All text is escaped."""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from itertools import islice
from typing import Any, Literal

from PIL import Image

from pellucid.render.blocks import Scale, ramp
from pellucid.render.drawing import (
    about,
    error_picture,
    error_scale,
    fitted_to,
    map_alone,
    over_picture,
    scale_of,
    view,
)
from pellucid.render.panel import Panel
from pellucid.render.text import number, unbroken
from pellucid.render.words import percent, reliability, remark

SHOWN = 8
"""Images of a batch in full in a fragment: a notebook cell or a page should stay readable."""
FOLDED = 200
"""Images of a batch in a fragment at all, those beyond `SHOWN` small and folded."""
_SMALL = 200  # pixels of a picture among those
_SIDE = 480  # pixels of a picture in a fragment

_STYLE = """
<style>
.pellucid{font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#1a1a1a;background:#fff;
  padding:12px 14px;border-radius:8px;max-width:1000px;box-sizing:border-box}
.pellucid *{box-sizing:border-box}
.pellucid .head{margin:0 0 2px;font-size:16px;font-weight:600}
.pellucid .quiet{color:#5f6368;font-size:12.5px;margin:0 0 8px;overflow-wrap:anywhere}
.pellucid .row{display:flex;flex-wrap:wrap;gap:12px;margin:10px 0}
.pellucid figure{margin:0;flex:1 1 200px;min-width:0;max-width:320px}
.pellucid img{width:100%;height:auto;display:block;border-radius:3px}
.pellucid figcaption{color:#5f6368;font-size:12.5px;margin-top:4px;overflow-wrap:anywhere}
.pellucid figcaption img{height:7px;width:100%;margin:2px 0 0}
.pellucid .ends{display:flex;justify-content:space-between;font-size:11.5px;margin-bottom:3px}
.pellucid .ends i{font-style:normal}
.pellucid b{color:#1a1a1a;font-weight:600}
.pellucid summary{cursor:pointer;margin:6px 0}
.pellucid .small figure{flex:1 1 120px;max-width:160px}
.pellucid .compared figure{flex:1 1 150px;max-width:220px}
.pellucid .verdict{margin:8px 0;padding:6px 12px;border-left:3px solid #5f6368;max-width:720px}
.pellucid .verdict p{margin:2px 0}
.pellucid ul.warn{margin:8px 0;padding:8px 12px 8px 28px;background:#fff4e0;border-left:3px solid #e8940c;
  border-radius:3px;color:#5a3b00}
</style>"""


def data_uri(image: Image.Image, format: Literal["PNG", "JPEG"] = "PNG") -> str:
    """A picture as a `data:` address: PNG for maps and lines, JPEG (quality 90) for photographs."""
    stream = BytesIO()
    if format == "JPEG":
        image.convert("RGB").save(stream, format, optimize=True, quality=90)
    else:
        image.save(stream, format, optimize=True)
    return f"data:image/{format.lower()};base64,{b64encode(stream.getvalue()).decode('ascii')}"


def fragment(
    panels: Iterable[Panel], *, title: str, facts: Sequence[str], warnings: Sequence[str], count: int
) -> str:
    """What a notebook shows: picture, overlay, map and error side by side; numbers and warnings in words.

    Of many images the first are shown like this, more of them small, with their names, in a list that
    folds, and the rest are counted.

    Args:
        panels: the images, shown with a longer side of 480 pixels; no more are drawn than are shown.
        title: the heading.
        facts: a line of words below it.
        warnings: a list of sentences.
        count: how many images there are.
    """
    one = iter(panels)
    rows = "".join(_row(fitted_to(panel, _SIDE), named=count > 1) for panel in islice(one, min(count, SHOWN)))
    small = "".join(
        _small(fitted_to(panel, _SMALL)) for panel in islice(one, max(0, min(count, FOLDED) - SHOWN))
    )
    more = (
        f"<details><summary>{min(count, FOLDED) - SHOWN} more pictures</summary>"
        f'<div class="row small">{small}</div></details>'
        if small
        else ""
    )
    rest = (
        f'<p class="quiet">and {count - FOLDED} more: [{FOLDED}:] of it has them</p>'
        if count > FOLDED
        else ""
    )
    return (
        f'{_STYLE}<div class="pellucid"><p class="head">{escape(title)}</p>'
        f'<p class="quiet">{escape(" · ".join(filter(None, facts)))}</p>'
        f"{warning_list(warnings)}{rows}{more}{rest}</div>"
    )


def comparison(
    pictures: Iterable[tuple[str, Sequence[tuple[str, Panel]]]],
    *,
    title: str,
    facts: Sequence[str],
    verdicts: Sequence[tuple[str, Sequence[str]]],
    warnings: Sequence[str],
    more: int = 0,
) -> str:
    """What a notebook shows of several results for the same pictures: of each picture the view of every
    result.

    Args:
        pictures: for each its name, and its titled panels, of which the first brings the picture.
        title: the heading.
        facts: a line of words below it.
        verdicts: what each is about, and what it says in sentences.
        warnings: a list of sentences.
        more: how many pictures there are besides.
    """
    rows = []
    for name, results in pictures:
        shown = [(title, fitted_to(panel, _SIDE // 2)) for title, panel in results]
        first = shown[0][1]
        best = "; ".join(f"{p.label} {percent(p.probability)}" for p in first.prediction[:2])
        figures = "".join(
            _figure(
                view(panel),
                f"{title}: {panel.label}",
                f"<b>{escape(title)}</b><br>{_scale(scale_of(panel))}{_words(about(panel, method=False))}",
            )
            for title, panel in shown
        )
        photo = _figure(first.rgb, name, f"<b>{escape(name)}</b><br>{_words(best)}")
        rows.append(f'<div class="row compared">{photo}{figures}</div>')
    rest = (
        f'<p class="quiet">and {more} more pictures: .save("report.html") shows all</p>' if more > 0 else ""
    )
    return (
        f'{_STYLE}<div class="pellucid"><p class="head">{escape(title)}</p>'
        f'<p class="quiet">{escape(" · ".join(filter(None, facts)))}</p>'
        f"{''.join(_verdict(*one) for one in verdicts)}"
        f"{warning_list(warnings)}{''.join(rows)}{rest}</div>"
    )


def _verdict(about: str, sentences: Sequence[str]) -> str:
    """What a verdict says."""
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return f'<div class="verdict"><b>{escape(about)}</b>{said}</div>'


def page(title: str, body: str, data: Mapping[str, Any] | None = None) -> str:
    """A whole page around `body`, which is HTML already; `title` is text, `data` numbers for programs."""
    held = "" if data is None else json.dumps(data).replace("<", "\\u003c")
    numbers = f'<script type="application/json" id="data">{held}</script>\n' if held else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        "<style>body{margin:0;background:#f3f4f6}body>.pellucid{margin:24px auto}"
        "@media(max-width:1040px){body>.pellucid{margin:0;border-radius:0}}</style>\n"
        f"</head>\n<body>\n{body}\n{numbers}</body>\n</html>\n"
    )


def warning_list(warnings: Iterable[str]) -> str:
    """Warnings as a marked list; nothing for none."""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f'<ul class="warn">{items}</ul>' if items else ""


def _row(panel: Panel, *, named: bool) -> str:
    """The figures of one image: picture, map over it, map, and its standard error."""
    signed = panel.has_negative
    best = "; ".join(f"{p.label} {percent(p.probability)}" for p in panel.prediction)
    explained = f"{panel.label}: {panel.output} {number(panel.score)}"
    sampled = panel.stderr is not None
    note = remark(panel) or ("red: for, blue: against" if signed else "the map alone")
    note = " · ".join(filter(None, (note, "" if sampled else reliability(panel))))
    error = ""
    if sampled:
        caption = _words(" · ".join(filter(None, ("± standard error", reliability(panel)))))
        error = _figure(
            error_picture(panel),
            f"standard error of the map: {explained}",
            f"{_scale(error_scale(panel))}{caption}",
        )
    name = f"<b>{escape(panel.name)}</b><br>" if named else ""
    scale = _scale(scale_of(panel, over=False))
    return (
        '<div class="row">'
        f"{_figure(panel.rgb, panel.name, f'{name}{_words(best or panel.name)}')}"
        f"{_figure(over_picture(panel), f'overlay: {explained}', _words(explained))}"
        f"{_figure(map_alone(panel), f'map: {explained}', scale + _words(note))}"
        f"{error}</div>"
    )


def _small(panel: Panel) -> str:
    """The view of one image of many, with its name and what was explained."""
    explained = f"{panel.label}: {panel.output} {number(panel.score)}"
    return _figure(view(panel), panel.name, f"<b>{escape(panel.name)}</b><br>{_words(explained)}")


def _scale(scale: Scale) -> str:
    """A colour bar with the evidence at its ends."""
    ends = f"from {number(scale.low)} to {number(scale.high)}"
    zero = "<i>0</i>" if scale.signed else ""
    return (
        f'<img alt="{ends}" src="{data_uri(ramp(scale, 256, 1))}">'
        f'<span class="ends"><i>{number(scale.low)}</i>{zero}<i>{number(scale.high)}</i></span>'
    )


def _words(text: str) -> str:
    """Text as HTML, no line of which ends between a number and its unit."""
    return escape(unbroken(text))


def _figure(image: Image.Image, alt: str, caption: str) -> str:
    """A figure; `alt` is text, `caption` HTML."""
    source = data_uri(image, "JPEG")
    return f'<figure><img alt="{escape(alt)}" src="{source}"><figcaption>{caption}</figcaption></figure>'
