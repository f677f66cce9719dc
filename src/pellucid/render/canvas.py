"""Blocks as matplotlib figures: real text, vectors where they are, the same in PDF, SVG and on a screen.

Importing this module imports matplotlib's figures; it is imported where one is drawn.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from threading import RLock
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from pellucid.render.blocks import RULE, Bar, Block, Length, Photo, Rule, Scale, Words
from pellucid.render.heat import colormap
from pellucid.render.text import face

_FACE = "DejaVu Sans"
_ASCENT = 0.928  # of that face, in sizes: from the top of a line to its baseline
_PRINTED: dict[Any, Any] = {
    "pdf.fonttype": 42,  # TrueType, which can be searched, copied and edited
    "ps.fonttype": 42,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "pellucid",  # names inside that are the same every time
    "text.usetex": False,
    "path.sketch": None,
}
_BOLD = re.compile(r"font(?:-weight)?: (?:[a-z]+ )*(?:bold|[6-9]00)\b")
_SETTINGS = RLock()  # matplotlib's settings are the process's


class MapFigure(Figure):
    """A figure whose files hold their fonts, and which a notebook shows as a picture and nothing else."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """As matplotlib's; `.pdf` has TrueType fonts, `.svg` real text and the letters it needs."""
        suffix = Path(fname).suffix[1:] if isinstance(fname, str | PathLike) else ""
        with printed():
            if (options.get("format") or suffix).lower() != "svg":
                super().savefig(fname, **options)
                return
            stream = BytesIO()
            super().savefig(stream, **(options | {"format": "svg"}))
        text = with_fonts(stream.getvalue().decode("utf-8"))
        if isinstance(fname, str | PathLike):
            Path(fname).write_text(text, encoding="utf-8")
        else:
            fname.write(text.encode("utf-8"))

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        self.savefig(stream, format="png", dpi=self.dpi)
        return stream.getvalue()


@contextmanager
def printed() -> Iterator[None]:
    """Within this block matplotlib writes text as print needs it; its settings are then as before."""
    with _SETTINGS, matplotlib.rc_context(_PRINTED):
        yield


def figure(block: Block, dpi: Length) -> MapFigure:
    """A figure exactly as large as the block, whose unit is a point; pyplot and its state are not used."""
    made = MapFigure(figsize=(block.width / 72, block.height / 72), dpi=dpi, facecolor="white", layout=None)
    FigureCanvasAgg(made)
    width, height = block.width, block.height
    for item in block.items:
        match item:
            case Photo():
                axes = made.add_axes(_place(item, block))
                axes.imshow(
                    np.asarray(item.image.convert("RGB")), interpolation="none", aspect="auto", origin="upper"
                )
                axes.set_axis_off()
            case Words():
                align = {"l": "left", "m": "center", "r": "right"}[item.anchor]
                made.text(
                    item.x / width,
                    1 - (item.y + _ASCENT * item.size) / height,
                    item.text,
                    fontproperties=_properties(item),
                    color=item.colour,
                    ha=align,
                    va="baseline",
                    parse_math=False,
                    usetex=False,
                )
            case Rule():
                line = matplotlib.lines.Line2D(
                    [item.x / width, (item.x + item.width) / width],
                    [1 - item.y / height] * 2,
                    linewidth=0.5,
                    linestyle="-",
                    color=RULE,
                )
                made.add_artist(line)
            case Bar():
                axes = made.add_axes(_place(item, block), label="<colorbar>")
                colours = ScalarMappable(_norm(item.scale), colormap(item.scale.cmap))
                bar = made.colorbar(colours, cax=axes, orientation="horizontal", ticks=[])
                bar.outline.set_visible(False)
                bar.minorticks_off()
    return made


def _place(item: Photo | Bar, block: Block) -> tuple[Length, Length, Length, Length]:
    """Left, bottom, width and height in shares of the figure, whose origin is below."""
    return (
        item.x / block.width,
        1 - (item.y + item.height) / block.height,
        item.width / block.width,
        item.height / block.height,
    )


def _properties(item: Words) -> FontProperties:
    weight = "bold" if item.bold else "normal"
    other = item.face if item.face != face("", item.bold) else ""
    return FontProperties(family=_FACE, style="normal", weight=weight, size=item.size, fname=other or None)


def _norm(scale: Scale) -> Normalize:
    if scale.signed and scale.low < 0 < scale.high:
        return TwoSlopeNorm(0, scale.low, scale.high)
    return Normalize(scale.low, scale.high if scale.high > scale.low else scale.low + 1)


def with_fonts(svg: str) -> str:
    """An SVG with those letters of its faces inside that it writes, so that it looks the same everywhere."""
    bodies = {True: "", False: ""}
    for style, text in re.findall(r"<text\b([^>]*)>([^<]*)</text>", svg):
        bodies[bool(_BOLD.search(style))] += text
    faces = "".join(
        f'@font-face{{font-family:"{_FACE}";font-weight:{"bold" if bold else "normal"};'
        f"src:url(data:font/ttf;base64,{_subset(text, bold)})}}"
        for bold, text in bodies.items()
        if text
    )
    head, tag, rest = svg.partition("<defs>")
    return f'{head}{tag}<style type="text/css">{faces}</style>{rest}' if faces else svg


def _subset(text: str, bold: bool) -> str:
    """The letters of a text as a TrueType font, in base 64."""
    from html import unescape

    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    font = TTFont(f"{matplotlib.get_data_path()}/fonts/ttf/{name}", recalcTimestamp=False)
    options = Options(hinting=False, layout_features=["kern"], notdef_outline=True)
    options.drop_tables += ["FFTM"]  # a time stamp, of whose loss fontTools warns otherwise
    subsetter = Subsetter(options)
    subsetter.populate(text=unescape(text))
    subsetter.subset(font)
    stream = BytesIO()
    font.save(stream)
    return b64encode(stream.getvalue()).decode("ascii")
