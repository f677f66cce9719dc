"""The pictures of one panel: its map over the picture or alone, outlines, masks, and standard errors.

Pictures of few pixels are drawn enlarged, each pixel a square, so that lines and letters are in proportion.
"""

from dataclasses import replace

from PIL import Image

from pellucid.errors import InvalidValue
from pellucid.images import Box
from pellucid.render import heat, superpixels
from pellucid.render.blocks import (
    CRISP,
    QUIET,
    Block,
    Length,
    Scale,
    color_bar,
    fitted,
    paint,
    photo,
    stacked,
    words,
)
from pellucid.render.panel import Panel
from pellucid.render.style import Style
from pellucid.render.text import number
from pellucid.render.words import reliability, remark

TOP = 8
"""Segments that are tinted and numbered unless said otherwise."""
_ENLARGED = 400
"""The longer side that a picture of few pixels is enlarged to, or a little less, to have whole pixels."""


def enlarged(panel: Panel) -> Panel:
    """The panel; one of a picture of few pixels on that picture enlarged."""
    small = max(panel.rgb.size) <= CRISP and not panel.fitted
    return fitted_to(panel, _ENLARGED) if small else panel


def overlay(panel: Panel, style: Style | None = None) -> Image.Image:
    """The evidence over the picture. See `heat.overlay`."""
    style, panel = style or Style(), enlarged(panel)
    drawn = panel.drawn(style, over=True)
    return heat.overlay(
        drawn.values,
        panel.rgb,
        panel.box,
        cmap=drawn.scale.cmap,
        alpha=style.alpha,
        fade=style.fade,
        signed=drawn.signed,
        interpolation=drawn.interpolation,
    )


def map_alone(panel: Panel, style: Style | None = None) -> Image.Image:
    """The evidence alone, on the canvas of its picture."""
    panel = enlarged(panel)
    drawn = panel.drawn(style)
    return heat.draw_map(
        drawn.values,
        panel.rgb,
        panel.box,
        cmap=drawn.scale.cmap,
        signed=drawn.signed,
        interpolation=drawn.interpolation,
    )


def contours(panel: Panel, levels: tuple[float, ...], cmap: str | None) -> Image.Image:
    """Level lines of the evidence for the target, on the picture."""
    panel = enlarged(panel)
    drawn = panel.drawn(Style(signed=False))
    return heat.contours(
        drawn.values, panel.rgb, panel.box, levels=levels, cmap=cmap, interpolation=drawn.interpolation
    )


def masked(panel: Panel, share: Length, fill: heat.Fill) -> Image.Image:
    """The picture where the top `share` of the evidence is."""
    panel = enlarged(panel)
    values = panel.heat(percentile=100.0)  # clipping would move evidence between pixels
    return heat.masked(values, panel.rgb, panel.box, share=share, fill=fill)


def boxed(panel: Panel, share: Length) -> Image.Image:
    """The picture with the box of the strongest `share` of the evidence."""
    panel = enlarged(panel)
    return heat.boxed(panel.rgb, panel.bounding_box(share))


def outlined(panel: Panel, *, top: int = TOP, limit: Length | None = None) -> Image.Image:
    """The picture with its segments' outlines, the `top` strongest tinted, their coefficients written.

    Raises:
        InvalidValue: the method explains no segments.
    """
    if panel.segments is None:
        raise InvalidValue(
            f"outlines need a method that explains segments, such as lime; {panel.method} does not."
        )
    segments = enlarged(panel).segments or panel.segments
    return superpixels.outlined(segments, top=top, limit=limit, letters=panel.letters)


def over_picture(panel: Panel, style: Style | None = None) -> Image.Image:
    """The picture with what was found on it: the outlines of segments, else an overlay."""
    style = style or Style()
    return outlined(panel, limit=style.vmax) if _in_outlines(panel, style) else overlay(panel, style)


def view(panel: Panel, style: Style | None = None) -> Image.Image:
    """The picture that suits the map: of segments their outlines, of pixels the map, else an overlay."""
    return map_alone(panel, style) if stands_alone(panel) else over_picture(panel, style)


def _in_outlines(panel: Panel, style: Style) -> bool:
    """Whether segments are tinted in the colours of outlines, and no others were asked for."""
    return panel.segments is not None and style.cmap is None


def stands_alone(panel: Panel) -> bool:
    """Whether the map is too fine to lie over its picture."""
    return panel.per_pixel and panel.segments is None


def scale_of(panel: Panel, style: Style | None = None, *, over: bool | None = None) -> Scale:
    """What the colours of a panel's view mean; of segments, tints by their weights."""
    over = not stands_alone(panel) if over is None else over
    style = style or Style()
    if over and panel.segments is not None and _in_outlines(panel, style):
        limit = style.vmax or float(panel.segments.coefficients.abs().max())
        return Scale(-limit, limit, heat.SIGNED, True)
    return panel.scale(style, over=over)


def error_picture(panel: Panel) -> Image.Image:
    """The standard error of a sampled map on the canvas of its picture, up to `error_limit`."""
    panel = enlarged(panel)
    shown = (panel.error_map / panel.error_limit).clamp(max=1).float()
    crisp = max(shown.shape) <= CRISP
    return heat.draw_map(
        shown, panel.rgb, panel.box, cmap=heat.ERROR, interpolation="nearest" if crisp else "bilinear"
    )


def error_scale(panel: Panel) -> Scale:
    """What the colours of `error_picture` mean."""
    return Scale(0.0, panel.error_limit, heat.ERROR, False)


def uncertainty(panel: Panel) -> Image.Image:
    """The standard error above its scale."""
    image = error_picture(panel)
    bar = color_bar(error_scale(panel), image.width, _text_size(image))
    return paint(stacked([photo(image, *image.size), bar], gap=2))


def captioned(panel: Panel, image: Image.Image, scale: Scale) -> Image.Image:
    """A picture of a panel above its scale and what it shows: class, method, model, layer and score."""
    size = _text_size(image)
    return paint(
        stacked([photo(image, *image.size), below(panel, scale, image.width, size)], margin=size / 2)
    )


def below(panel: Panel, scale: Scale, width: Length, size: Length) -> Block:
    """A panel's scale and all that it shows."""
    blocks = [
        color_bar(scale, width, size, size),
        words(panel.label, width, size, bold=True),
        words(about(panel), width, size, colour=QUIET),
    ]
    padded = stacked(blocks, gap=size / 3)
    return Block(width, padded.height + size / 2, padded.at(0, size / 2))


def about(panel: Panel, *, method: bool = True) -> str:
    """What a map shows, in words: method and model, layer, score, how sure it is, and remarks."""
    parts = (
        *((panel.method, panel.model) if method else ()),
        f"layer {', '.join(panel.layer)}" if panel.layer else "",
        f"{panel.output} {number(panel.score)}",
        reliability(panel),
        remark(panel),
    )
    return " · ".join(filter(None, parts))


def _text_size(image: Image.Image) -> int:
    return max(9, min(image.size) // 22)


def fitted_to(panel: Panel, side: Length, letters: int | None = None) -> Panel:
    """The panel on a picture whose longer side is `side` pixels, or a little less where pixels stay whole.

    Whatever is drawn on it is as sharp at that size as can be, and costs no more than that size needs.
    """
    rgb, box, old = fitted(panel.rgb, side), panel.box, panel.rgb
    x, y = rgb.width / old.width, rgb.height / old.height
    box = Box(box.left * x, box.top * y, box.right * x, box.bottom * y)
    segments = panel.segments and replace(panel.segments, rgb=rgb, box=box)
    return replace(panel, rgb=rgb, box=box, segments=segments, fitted=True, letters=letters)
