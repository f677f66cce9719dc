"""Explanations as HTML that needs nothing else: no scripts, no network, no extension. All text is escaped."""

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from io import BytesIO
from typing import Literal

from PIL import Image

from pellucid.explanation import Explanation
from pellucid.render.sheet import color_bar, number
from pellucid.render.views import fitted_to, known, percent, remark

_SHOWN = 8  # images of a batch; a notebook cell or a page should stay readable
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
.pellucid figcaption img{margin-bottom:4px;border-radius:0}
.pellucid figcaption{color:#5f6368;font-size:12.5px;margin-top:4px;overflow-wrap:anywhere}
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


def fragment(explanation: Explanation) -> str:
    """What a notebook shows: picture, overlay, map and error side by side; numbers and warnings in words.

    The first eight images of a batch are shown, with a longer side of 480 pixels.
    """
    cost = explanation.cost
    facts = [
        explanation.model,
        *([f"layer {', '.join(explanation.layer)}"] if explanation.layer else []),
        f"{cost.forward} forward, {cost.backward} backward, {number(cost.seconds)} s",
        explanation.precision,
        explanation.paper,
    ]
    images = range(min(len(explanation), _SHOWN))
    rows = "".join(_row(fitted_to(explanation[index], _SIDE)) for index in images)
    rest = len(explanation) - _SHOWN
    more = f'<p class="quiet">and {rest} more</p>' if rest > 0 else ""
    return (
        f'{_STYLE}<div class="pellucid"><p class="head">{escape(explanation.method)}</p>'
        f'<p class="quiet">{escape(" · ".join(filter(None, facts)))}</p>'
        f"{warning_list(explanation.warnings)}{rows}{more}</div>"
    )


def page(title: str, body: str) -> str:
    """A whole page around `body`, which is HTML already; `title` is text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        "<style>body{margin:0;background:#f3f4f6}body>.pellucid{margin:24px auto}"
        "@media(max-width:1040px){body>.pellucid{margin:0;border-radius:0}}</style>\n"
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def warning_list(warnings: Iterable[str]) -> str:
    """Warnings as a marked list; nothing for none."""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f'<ul class="warn">{items}</ul>' if items else ""


def _row(explanation: Explanation) -> str:
    """The figures of an explanation of one image: picture, map over it, map, and its standard error."""
    picture = explanation.pictures[0]
    signed = explanation.has_negative()
    best = "; ".join(f"{p.label} {percent(p.probability)}" for p in explanation.prediction[0])
    explained = f"{explanation.labels[0]}: {explanation.output} {number(float(explanation.score[0]))}"
    bar = ""
    if signed:
        limit = explanation.limit(signed=True)
        ends = f"from {number(-limit)} to {number(limit)}"
        bar = f'<img alt="{ends}" src="{data_uri(color_bar(limit, 640, 26))}">'
    sampled = explanation.stderr is not None
    note = remark(explanation) or ("red: for, blue: against" if signed else "the map alone")
    note = escape(" · ".join(filter(None, (note, "" if sampled else known(explanation)))))
    over = explanation.outlined() if explanation.segmented else explanation.overlay()
    error = ""
    if sampled:
        caption = escape(" · ".join(filter(None, ("± standard error", known(explanation)))))
        error = _figure(explanation.uncertainty(), f"standard error of the map: {explained}", caption)
    return (
        '<div class="row">'
        f"{_figure(picture.rgb, picture.name, escape(best or picture.name))}"
        f"{_figure(over, f'overlay: {explained}', escape(explained))}"
        f"{_figure(explanation.map(), f'map: {explained}', f'{bar}{note}')}"
        f"{error}</div>"
    )


def _figure(image: Image.Image, alt: str, caption: str) -> str:
    """A figure; `alt` is text, `caption` HTML."""
    source = data_uri(image, "JPEG")
    return f'<figure><img alt="{escape(alt)}" src="{source}"><figcaption>{caption}</figcaption></figure>'
