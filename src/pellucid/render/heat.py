"""Maps into colours, and colours over pictures. All pictures are RGB `PIL.Image`s."""

import difflib
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.errors import InvalidValue
from pellucid.images import Box, Interpolation, place
from pellucid.render.scale import top_share

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

Fill = Literal["dim", "grey", "blur"]

HEAT = "turbo"
FINE = "inferno"  # dark where nothing is: fine grain stays readable
SIGNED = "signed"
ERROR = "viridis"  # unlike any colours of evidence
# ColorBrewer's RdBu reversed, with a pure white middle: zero is white, for is red, against is blue.
_SIGNED_ANCHORS = (
    "#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#ffffff",
    "#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f",
)  # fmt: skip
_GREY = "#80868b"  # an outline that shows on pale pictures
COLOURS = 256
"""Steps of a colour map: evidence below a step's half has the colour of zero in a map of both signs."""
_UNSEEN = 0.5  # brightness of what the model did not see


def colormap(name: str) -> "Colormap":
    """A colour map by its matplotlib name, or `"signed"`, ours: blue, white at zero, red.

    Raises:
        InvalidValue: no such colour map; the message offers close names.
    """
    import matplotlib
    from matplotlib.colors import LinearSegmentedColormap

    if name == SIGNED:
        return LinearSegmentedColormap.from_list(SIGNED, _SIGNED_ANCHORS, N=257)
    if name not in matplotlib.colormaps:
        close = difflib.get_close_matches(name.lower(), [SIGNED, *map(str, matplotlib.colormaps)], 3, 0.5)
        hint = (
            f"did you mean {' or '.join(close)}?" if close else "for example turbo, jet, viridis or signed."
        )
        raise InvalidValue(f"cmap must be a matplotlib colour map; got {name!r}: {hint}")
    # 257 colours have one exactly in the middle, which a diverging map needs for zero.
    return matplotlib.colormaps[name].resampled(257)


def default_cmap(per_pixel: bool, *, signed: bool) -> str:
    """The colour map of a map that stands alone: one of the input's pixels, or of a layer's cells."""
    return SIGNED if signed else FINE if per_pixel else HEAT


def colours(
    values: Float[Tensor, "H W"], cmap: str | None = None, *, signed: bool = False
) -> UInt8[Tensor, "H W 3"]:
    """RGB of values in [0, 1], or in [-1, 1] if `signed`; then 0 gets the middle of the map."""
    steps = np.linspace(0, 1, COLOURS + 1)
    table = colormap(cmap or (SIGNED if signed else HEAT))(steps, bytes=True)[:, :3]
    positions = values.detach().cpu().float().numpy()
    shifted = (positions + 1) / 2 if signed else positions
    return torch.from_numpy(table[(shifted * COLOURS).round().clip(0, COLOURS).astype(np.uint16)])


def draw_map(
    values: Float[Tensor, "H W"],
    rgb: Image.Image,
    box: Box,
    *,
    cmap: str | None = None,
    signed: bool = False,
    interpolation: Interpolation = "bilinear",
) -> Image.Image:
    """The map alone, on the canvas of its picture, which shows faintly where the model did not see it."""
    placed, seen = _on_picture(values, box, rgb, interpolation)
    painted = Image.fromarray(colours(placed, cmap, signed=signed).numpy())
    return framed(Image.composite(painted, _pale(rgb, 0.25), seen), box, _GREY)


def overlay(
    values: Float[Tensor, "H W"],
    rgb: Image.Image,
    box: Box,
    *,
    cmap: str | None = None,
    alpha: float = 0.7,
    fade: bool = True,
    signed: bool = False,
    interpolation: Interpolation = "bilinear",
) -> Image.Image:
    """Colours over the picture, at the picture's own resolution.

    Heat: the colour's opacity is `alpha` at the strongest evidence and falls to 0 with it, so that the
    picture stays itself where there is no evidence. Signed maps tint a pale grey copy of the picture, which
    has no red and blue of its own: zero tints nothing. `fade=False` gives every value the opacity `alpha`;
    with `cmap="jet", alpha=0.5` that is the classic look. What the model did not see is dimmed (paler still
    around signed maps), and what it saw is outlined where it is not the whole.

    Args:
        values: (H, W) in [0, 1], or [-1, 1] if `signed`, over the model's input.
        rgb: the picture.
        box: the part of the picture that became the input.
        cmap: a name for `colormap`; None is turbo, or for signed maps blue-white-red.
        alpha: largest opacity, in [0, 1].
        fade: whether the picture shows through where there is little evidence.
        signed: whether `values` are signed, zero having the middle colour.
        interpolation: between the cells of `values`.

    Raises:
        InvalidValue: `alpha` outside [0, 1], or an unknown colour map.
    """
    if not 0 <= alpha <= 1:
        raise InvalidValue(f"alpha must be between 0 (picture only) and 1 (colours only); got {alpha}.")
    placed, seen = _on_picture(values, box, rgb, interpolation)
    painted = Image.fromarray(colours(placed, cmap, signed=signed).numpy())
    if signed and fade:
        ink = Image.blend(Image.new("RGB", rgb.size, "white"), painted, alpha)
        tinted = ImageChops.multiply(_pale(rgb, 0.45), ink)
        return framed(Image.composite(tinted, _pale(rgb, 0.25), seen), box, _GREY)
    opacity = alpha * fading(placed) if fade else torch.full_like(placed, alpha)
    laid = Image.composite(painted, rgb, opacity_mask(opacity))
    return framed(Image.composite(laid, dimmed(rgb), seen), box, "white")


def masked(
    values: Float[Tensor, "H W"], rgb: Image.Image, box: Box, *, share: float = 0.5, fill: Fill = "dim"
) -> Image.Image:
    """The picture where the top `share` of the evidence is; the rest dimmed, grey or blurred.

    Raises:
        InvalidValue: an unknown `fill`, or `share` outside (0, 1].
    """
    placed, _ = _on_picture(values, box, rgb)
    shown = opacity_mask(top_share(placed, share).float()).filter(
        ImageFilter.GaussianBlur(max(rgb.size) / 400)
    )
    return Image.composite(rgb, _filled(rgb, fill), shown)


def contours(
    values: Float[Tensor, "H W"],
    rgb: Image.Image,
    box: Box,
    *,
    levels: tuple[float, ...] = (0.25, 0.5, 0.75),
    cmap: str | None = None,
    interpolation: Interpolation = "bilinear",
) -> Image.Image:
    """Level lines of a heatmap on the picture, each in the colour of its level with a dark edge."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    if not levels or not all(0 < level < 1 for level in levels):
        raise InvalidValue(f"levels must lie between 0 and 1, as a heatmap's values do; got {levels}.")
    placed, seen = _on_picture(values, box, rgb, interpolation)
    base = framed(Image.composite(rgb, dimmed(rgb), seen), box, "white")
    heat = placed.numpy()
    drawn = sorted(level for level in set(levels) if heat.min() < level < heat.max())
    if not drawn or min(rgb.size) < 2:
        return base
    width, height = rgb.size
    dots = 100.0
    figure = Figure(figsize=(width / dots, height / dots), dpi=dots)
    canvas: Any = FigureCanvasAgg(figure)  # its drawing has no types
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_axis_off()
    thickness = 72 / dots * max(1.5, min(rgb.size) / 150)  # in points
    lines = axes.contour(heat, levels=drawn, colors=[colormap(cmap or HEAT)(level) for level in drawn])
    lines.set(
        linewidth=thickness, path_effects=[withStroke(linewidth=1.8 * thickness, foreground="#000000a0")]
    )
    pixels, size = canvas.print_to_buffer()
    layer = Image.frombytes("RGBA", size, pixels)
    base.paste(layer, mask=layer.getchannel("A"))
    return base


def boxed(rgb: Image.Image, box: Box | None, *, colour: str = "#ffd400") -> Image.Image:
    """The picture with one rectangle drawn just inside `box`; without a box, a copy."""
    drawn = rgb.copy()
    if box is not None:
        corners = _corners(box, rgb.size)
        stroke = line_width(rgb.size) * 2
        pen = ImageDraw.Draw(drawn)
        pen.rectangle(corners, outline="#000000", width=stroke + 2 * line_width(rgb.size))
        inner = line_width(rgb.size)
        pen.rectangle(_shrunk(corners, inner), outline=colour, width=stroke)
    return drawn


def _on_picture(
    values: Float[Tensor, "h w"], box: Box, rgb: Image.Image, interpolation: Interpolation = "bilinear"
) -> tuple[Float[Tensor, "H W"], Image.Image]:
    """Values on the picture's pixels, 0 outside what the model saw, and a mask of what it saw.

    A map finer than the picture is averaged, not sampled: single pixels must neither vanish nor prevail.
    """
    height, width = values.shape
    size = min(height, max(1, round(box.bottom - box.top))), min(width, max(1, round(box.right - box.left)))
    if size != (height, width):
        values = interpolate(values[None, None].float(), size, mode="bilinear", antialias=True)[0, 0]
    placed = torch.from_numpy(place(values.float(), box, rgb.size, interpolation))
    return placed.nan_to_num(0.0), opacity_mask((~placed.isnan()).float())


def opacity_mask(opacity: Float[Tensor, "H W"]) -> Image.Image:
    """Opacity in [0, 1] as a greyscale picture."""
    return Image.fromarray((opacity * 255).round().to(torch.uint8).numpy())


def fading(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """How opaque values in [0, 1] lie over a picture: nothing at 0, fully from 0.6 on, smooth between.

    Opacity rises fast, then holds: hue carries the value, and must be readable from medium values on.
    """
    t = (values / 0.6).clamp(0, 1)
    return t * t * (3 - 2 * t)


def dimmed(rgb: Image.Image) -> Image.Image:
    """The picture where the model did not see it."""
    return rgb.point(lambda value: value * _UNSEEN)


def _pale(rgb: Image.Image, contrast: float) -> Image.Image:
    """The picture in light grey: white stays, black becomes `1 - contrast`."""
    return rgb.convert("L").point(lambda value: 255 - contrast * (255 - value)).convert("RGB")


def _filled(rgb: Image.Image, fill: Fill) -> Image.Image:
    match fill:
        case "dim":
            return rgb.convert("L").convert("RGB").point(lambda value: value * 0.3)
        case "grey":
            return Image.new("RGB", rgb.size, (128, 128, 128))
        case "blur":
            return rgb.filter(ImageFilter.GaussianBlur(max(rgb.size) / 40))
    raise InvalidValue(f'fill must be "dim", "grey" or "blur"; got {fill!r}.')


def framed(picture: Image.Image, box: Box, line: str) -> Image.Image:
    """The picture with a thin line drawn around what the model saw, if that is not everything."""
    size = picture.size
    corners = _corners(box, size)
    if corners != (0, 0, size[0] - 1, size[1] - 1):
        ImageDraw.Draw(picture).rectangle(corners, outline=line, width=line_width(size))
    return picture


def _corners(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The first and last column and row of the picture inside `box`, as PIL draws rectangles."""
    left, top = max(0, math.ceil(box.left - 0.5)), max(0, math.ceil(box.top - 0.5))
    right, bottom = (
        min(size[0] - 1, math.floor(box.right - 0.5)),
        min(size[1] - 1, math.floor(box.bottom - 0.5)),
    )
    return min(left, size[0] - 1), min(top, size[1] - 1), max(left, right, 0), max(top, bottom, 0)


def _shrunk(corners: tuple[int, int, int, int], by: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = corners
    return left + by, top + by, max(left + by, right - by), max(top + by, bottom - by)


def line_width(size: tuple[int, int]) -> int:
    """How thick a line is on a picture of this size, in pixels."""
    return max(1, round(min(size) / 300))
