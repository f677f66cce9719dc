"""Maps as small pictures of their own, which a page lays over the photograph: one palette entry per value."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pellucid.render.blocks import CRISP
from pellucid.render.heat import ERROR, colormap, default_cmap, fading
from pellucid.render.panel import Panel
from pellucid.render.scale import merge_channels
from pellucid.render.style import Style

_COLOURS = 255  # odd, so that one is exactly in the middle, where a signed map has its zero


Blend = Literal["over", "multiply", "screen"]


@dataclass(frozen=True)
class Layer:
    """A map in colours, spanning the model's input; `limit` is the evidence shown in the last colour.

    `image` is a paletted picture of the map's own resolution, whose pixels are to be seen if it is `crisp`.
    No evidence adds nothing to what lies below: `blend` tells whether the layer is transparent there and
    lies `"over"` the picture, is white and has to `"multiply"` a pale one, or is black and has to
    `"screen"` a dark one; None is opaque.
    """

    image: Image.Image
    blend: Blend | None
    limit: float
    cmap: str
    signed: bool
    crisp: bool


def overlay_layer(panel: Panel, style: Style | None = None) -> Layer:
    """The map at input resolution, to be laid over the picture as `drawing.overlay` does.

    Only maps per pixel without evidence against glow in a dark picture: their grain is lost in a bright one.
    """
    drawn = panel.drawn(style)
    blend: Blend = "multiply" if drawn.signed else "screen" if panel.per_pixel else "over"
    return _layer(panel, drawn.values, blend, drawn.signed, crisp=drawn.interpolation == "nearest")


def raw_layer(panel: Panel) -> Layer:
    """The map as the formula gave it, on its own grid: a CAM's 7 x 7 cells, opaque."""
    grid = replace(panel, values=merge_channels(panel.raw[None].float())[0])
    signed = grid.has_negative
    return _layer(grid, grid.heat(signed=signed), None, signed, crisp=True)


def error_layer(panel: Panel) -> Layer:
    """The standard error of a sampled map at input resolution, opaque, up to `Panel.error_limit`."""
    limit = panel.error_limit
    shown = (panel.error_map / limit).clamp(max=1)
    return Layer(
        _painted((shown * (_COLOURS - 1)).round(), ERROR),
        None,
        limit,
        ERROR,
        False,
        max(shown.shape) <= CRISP,
    )


def ramp(cmap: str) -> Image.Image:
    """The colours of a map from its first to its last, one pixel high."""
    return _painted(torch.arange(_COLOURS, dtype=torch.long, device="cpu")[None], cmap)


def _layer(
    panel: Panel, values: Float[Tensor, "H W"], blend: Blend | None, signed: bool, *, crisp: bool
) -> Layer:
    shifted = (values + 1) / 2 if signed else values
    cmap = default_cmap(panel.per_pixel, signed=signed)
    image = _painted((shifted * (_COLOURS - 1)).round(), cmap)
    if blend == "over":
        opacity = fading(torch.linspace(0, 1, _COLOURS, dtype=torch.float32, device="cpu")) * 255
        image.info["transparency"] = opacity.round().to(torch.uint8).numpy().tobytes()
    return Layer(image, blend, panel.limit(signed=signed), cmap, signed, crisp)


def _painted(indices: Tensor, cmap: str) -> Image.Image:
    image = Image.fromarray(indices.to(torch.uint8).numpy())
    image.putpalette(colormap(cmap)(np.linspace(0, 1, _COLOURS), bytes=True)[:, :3].tobytes())
    return image
