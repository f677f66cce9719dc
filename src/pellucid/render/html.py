"""Maps as HTML that needs nothing else: no scripts, no network, no extension. All text is escaped."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from typing import Literal

from PIL import Image

from pellucid.render.drawing import fitted_to, map_alone, over_picture, uncertainty
from pellucid.render.panel import Panel
from pellucid.render.sheet import color_bar, number
from pellucid.render.words import percent, reliability, remark

SHOWN = 8
"""Images of a batch in a fragment: a notebook cell or a page should stay readable."""
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


def fragment(
    panels: Iterable[Panel], *, title: str, facts: Sequence[str], warnings: Sequence[str], more: int = 0
) -> str:
    """What a notebook shows: picture, overlay, map and error side by side; numbers and warnings in words.

    Args:
        panels: the images, shown with a longer side of 480 pixels.
        title: the heading.
        facts: a line of words below it.
        warnings: a list of sentences.
        more: how many images there are besides.
    """
    rows = "".join(_row(fitted_to(panel, _SIDE)) for panel in panels)
    rest = f'<p class="quiet">and {more} more</p>' if more > 0 else ""
    return (
        f'{_STYLE}<div class="pellucid"><p class="head">{escape(title)}</p>'
        f'<p class="quiet">{escape(" · ".join(filter(None, facts)))}</p>'
        f"{warning_list(warnings)}{rows}{rest}</div>"
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


def _row(panel: Panel) -> str:
    """The figures of one image: picture, map over it, map, and its standard error."""
    signed = panel.has_negative
    best = "; ".join(f"{p.label} {percent(p.probability)}" for p in panel.prediction)
    explained = f"{panel.label}: {panel.output} {number(panel.score)}"
    bar = ""
    if signed:
        limit = panel.limit(signed=True)
        ends = f"from {number(-limit)} to {number(limit)}"
        bar = f'<img alt="{ends}" src="{data_uri(color_bar(limit, 640, 26))}">'
    sampled = panel.stderr is not None
    note = remark(panel) or ("red: for, blue: against" if signed else "the map alone")
    note = escape(" · ".join(filter(None, (note, "" if sampled else reliability(panel)))))
    error = ""
    if sampled:
        caption = escape(" · ".join(filter(None, ("± standard error", reliability(panel)))))
        error = _figure(uncertainty(panel), f"standard error of the map: {explained}", caption)
    return (
        '<div class="row">'
        f"{_figure(panel.rgb, panel.name, escape(best or panel.name))}"
        f"{_figure(over_picture(panel), f'overlay: {explained}', escape(explained))}"
        f"{_figure(map_alone(panel), f'map: {explained}', f'{bar}{note}')}"
        f"{error}</div>"
    )


def _figure(image: Image.Image, alt: str, caption: str) -> str:
    """A figure; `alt` is text, `caption` HTML."""
    source = data_uri(image, "JPEG")
    return f'<figure><img alt="{escape(alt)}" src="{source}"><figcaption>{caption}</figcaption></figure>'
