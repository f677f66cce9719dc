"""The pictures of one panel: its map over the picture or alone, outlines, masks, and standard errors."""

from dataclasses import replace

from PIL import Image

from pellucid.errors import InvalidValue
from pellucid.images import Box
from pellucid.render import heat, superpixels
from pellucid.render.panel import Panel
from pellucid.render.sheet import color_bar, fitted, under_each_other

TOP = 8
"""Segments that are tinted and numbered unless said otherwise."""


def overlay(
    panel: Panel,
    *,
    cmap: str | None = None,
    alpha: float = 0.7,
    fade: bool = True,
    signed: bool | None = None,
) -> Image.Image:
    """The evidence over the picture; None draws evidence against if there is any. See `heat.overlay`."""
    signed = panel.has_negative if signed is None else signed
    return heat.overlay(
        panel.shown(signed=signed), panel.rgb, panel.box, cmap=cmap, alpha=alpha, fade=fade, signed=signed
    )


def map_alone(panel: Panel, *, cmap: str | None = None, signed: bool | None = None) -> Image.Image:
    """The evidence alone, on the canvas of its picture."""
    signed = panel.has_negative if signed is None else signed
    cmap = cmap or heat.default_cmap(panel.per_pixel, signed=signed)
    return heat.draw_map(panel.shown(signed=signed), panel.rgb, panel.box, cmap=cmap, signed=signed)


def outlined(panel: Panel, *, top: int = TOP) -> Image.Image:
    """The picture with its segments' outlines, the `top` strongest tinted, their coefficients written.

    Raises:
        InvalidValue: the method explains no segments.
    """
    if panel.segments is None:
        raise InvalidValue(
            f"outlines need a method that explains segments, such as lime; {panel.method} does not."
        )
    return superpixels.outlined(panel.segments, top=top)


def over_picture(panel: Panel) -> Image.Image:
    """The picture with what was found on it: the outlines of segments, else an overlay."""
    return overlay(panel) if panel.segments is None else outlined(panel)


def view(panel: Panel) -> Image.Image:
    """The picture that suits the map: of segments their outlines, of pixels the map, else an overlay."""
    return map_alone(panel) if panel.per_pixel and panel.segments is None else over_picture(panel)


def error_picture(panel: Panel) -> Image.Image:
    """The standard error of a sampled map on the canvas of its picture, up to `error_limit`."""
    shown = (panel.error_map / panel.error_limit).clamp(max=1).float()
    return heat.draw_map(shown, panel.rgb, panel.box, cmap=heat.ERROR)


def uncertainty(panel: Panel) -> Image.Image:
    """The standard error above its scale."""
    image = error_picture(panel)
    size = max(7, min(image.size) // 17)
    bar = color_bar(panel.error_limit, image.width, size, heat.ERROR, signed=False)
    return under_each_other([image, bar])


def fitted_to(panel: Panel, side: int) -> Panel:
    """The panel on a picture whose longer side is `side` pixels.

    Whatever is drawn on it is as sharp at that size as can be, and costs no more than that size needs.
    """
    rgb, box, old = fitted(panel.rgb, side), panel.box, panel.rgb
    x, y = rgb.width / old.width, rgb.height / old.height
    box = Box(box.left * x, box.top * y, box.right * x, box.bottom * y)
    segments = panel.segments and replace(panel.segments, rgb=rgb, box=box)
    return replace(panel, rgb=rgb, box=box, segments=segments)
