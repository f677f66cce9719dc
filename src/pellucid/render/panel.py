"""The record that everything here draws: one image's map, its picture, and what is written beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.certainty import height, relative_error
from pellucid.errors import InvalidValue
from pellucid.images import Box, Interpolation, place
from pellucid.prediction import Prediction
from pellucid.render.blocks import CRISP, Scale
from pellucid.render.heat import COLOURS, default_cmap
from pellucid.render.scale import bounding_box, limits, magnitudes, merge_channels, normalise
from pellucid.render.style import Style
from pellucid.render.superpixels import Weighted


@dataclass(frozen=True)
class Diagnostics:
    """How reliable a map is, apart from its standard errors; None where that is unknown.

    Attributes:
        samples: how many were drawn.
        r2: the share of the score's variation that a surrogate explains.
        delta: the completeness or conservation error; `relative_delta` as a share of what is promised.
        relative_delta: see `delta`.
        pixel_share: which share of the score relevance left at the pixels; biases and stabilisers hold the
            rest.
    """

    samples: int | None = None
    r2: float | None = None
    delta: float | None = None
    relative_delta: float | None = None
    pixel_share: float | None = None


@dataclass(frozen=True, eq=False)
class Drawn:
    """A map as it is drawn: `values` in [0, 1], or in [-1, 1] if its scale is signed, over the input."""

    values: Float[Tensor, "H W"]
    scale: Scale
    interpolation: Interpolation

    @property
    def signed(self) -> bool:
        """Whether there is evidence against in it."""
        return self.scale.signed


@dataclass(frozen=True, eq=False)
class Panel:
    """One image's map with all that is drawn or written of it.

    Attributes:
        method, options, model, name: which method with which options, which model, which picture.
        label, output, score, prediction: what was explained, and what the model predicts, best first.
        rgb, box: the picture, and the part of it that became the input.
        values: (H, W) signed evidence over the input, its channels summed, float64; on a layer's own grid.
        raw: (D, h, w) the map on the formula's own grid, D one or the input's channels.
        lowest, highest: of the map's values before its channels were summed.
        layer: dotted names of the layers that were read.
        fitted: whether the picture has the size at which it is to be drawn.
        letters: how high letters on the picture are, in pixels; None follows from its size.
        per_pixel: whether the formula speaks of the input's own pixels, which makes a map grainy.
        stderr: (at_input_H, at_input_W) standard errors at the input's resolution, for sampled maps.
        segments: the segments and their coefficients, of methods that explain those.
        trace: an optimisation's course: for each name its values (T, ...) by step.
        diagnostics: samples drawn, and errors other than standard errors.
    """

    method: str
    options: Mapping[str, Any]
    model: str
    name: str
    label: str
    output: str
    score: float
    prediction: Sequence[Prediction]
    rgb: Image.Image
    box: Box
    values: Float[Tensor, "H W"]
    raw: Float[Tensor, "D h w"]
    lowest: float
    highest: float
    per_pixel: bool
    layer: Sequence[str] = ()
    fitted: bool = False
    letters: int | None = None
    stderr: Float[Tensor, "at_input_H at_input_W"] | None = None
    segments: Weighted | None = None
    trace: Mapping[str, Tensor] = field(default_factory=dict)
    diagnostics: Diagnostics = field(default_factory=Diagnostics)

    @classmethod
    def of_map(
        cls,
        map: Float[Tensor, "h w"],
        size: tuple[int, int],
        rgb: Image.Image,
        box: Box,
        *,
        per_pixel: bool = False,
        **written: Any,
    ) -> "Panel":
        """Of a bare map, channels summed, over an input of `size` (H, W); `written` are words and numbers.

        Example:
            >>> rgb, box = Image.new("RGB", (6, 4)), Box(0.0, 0.0, 6.0, 4.0)
            >>> panel = Panel.of_map(torch.ones(2, 2), (4, 6), rgb, box)
            >>> panel.values.shape, panel.highest, panel.label
            (torch.Size([4, 6]), 1.0, '')
        """
        grid = map.float()[None]
        values = interpolate(grid[None], size, mode="bilinear", align_corners=False)[0, 0].double()
        known: dict[str, Any] = {
            **dict.fromkeys(("method", "model", "name", "label", "output"), ""),
            "options": {},
            "score": 0.0,
            "prediction": (),
        }
        return cls(
            **{**known, **written},
            rgb=rgb,
            box=box,
            values=values,
            raw=grid,
            lowest=float(values.min()),
            highest=float(values.max()),
            per_pixel=per_pixel,
        )

    @property
    def has_negative(self) -> bool:
        """Whether the map has evidence against the target, as much as a colour map of both signs can show.

        What rounding leaves below zero makes no map one of both signs.
        """
        return bool((self.values < -self.limit(signed=True) / COLOURS).any())

    @property
    def percentile(self) -> float:
        """Which percentile of the magnitudes is shown as 1, unless said otherwise."""
        return default_percentile(self.per_pixel)

    def limit(self, *, signed: bool = False) -> float:
        """The evidence that is shown as 1; 0 for an empty map."""
        shown = self.values if signed else magnitudes(self.values)
        return float(limits(shown[None], percentile=self.percentile))

    def heat(self, *, signed: bool = False, percentile: float | None = None) -> Float[Tensor, "H W"]:
        """The evidence in [0, 1], or [-1, 1] if `signed`, as `Explanation.heatmap` has it."""
        shown = (self.values if signed else magnitudes(self.values))[None]
        scale = limits(shown, percentile=self.percentile if percentile is None else percentile)
        return normalise(shown, scale)[0]

    def drawn(self, style: Style | None = None, *, over: bool = False) -> Drawn:
        """The evidence as it is drawn; a constant map prefers no place and is drawn as none: captions say so.

        Args:
            style: how; None is the default.
            over: whether it is laid over the picture, where all grains have one colour map.
        """
        style = style or Style()
        scale = self.scale(style, over=over)
        low, high, signed = scale.low, scale.high, scale.signed
        interpolation = style.interpolation or self._interpolation
        values = self._between(interpolation)
        if signed:  # zero keeps the middle, whatever both ends are
            shown = torch.where(values < 0, values / (abs(low) or 1.0), values / (high or 1.0)).clamp(-1, 1)
        else:
            shown = ((magnitudes(values) - low) / (high - low or 1.0)).clamp(0, 1)
        if style.vmax is None and shown.amin() == shown.amax():
            shown = torch.zeros_like(shown)
        return Drawn(shown.float(), scale, interpolation)

    def scale(self, style: Style | None = None, *, over: bool = False) -> Scale:
        """What the colours of `drawn` mean."""
        style = style or Style()
        signed = style.draws_signed(self.has_negative)
        low, high = style.ends(self.values, signed=signed, percentile=self.percentile)
        return Scale(
            low, high, style.cmap or default_cmap(self.per_pixel and not over, signed=signed), signed
        )

    @property
    def _interpolation(self) -> Interpolation:
        """What lies between the cells of the map unless said otherwise."""
        if self._coarse:
            return "bicubic"
        return "nearest" if max(self.values.shape) <= CRISP else "bilinear"

    @property
    def _coarse(self) -> bool:
        """Whether the map has fewer cells than the input has pixels."""
        return any(
            cells < pixels for cells, pixels in zip(self.raw.shape[-2:], self.values.shape, strict=True)
        )

    def _between(self, interpolation: Interpolation) -> Float[Tensor, "H W"]:
        """The evidence at the input's resolution; a coarser grid is brought there by `interpolation`."""
        rows, columns = self.values.shape
        if interpolation == "bilinear" or not self._coarse:
            return self.values.double()
        grid = merge_channels(self.raw[None])[0]
        whole = Box(0.0, 0.0, float(columns), float(rows))
        return torch.from_numpy(place(grid, whole, (columns, rows), interpolation))

    @property
    def error_map(self) -> Float[Tensor, "H W"]:
        """The standard error of a sampled map.

        Raises:
            InvalidValue: the method draws no samples.
        """
        if self.stderr is None:
            raise InvalidValue(
                f"standard errors need a method that draws samples, such as rise; {self.method} draws none."
            )
        return self.stderr

    @property
    def error_limit(self) -> float:
        """The standard error drawn in the last colour: half of how far the top decile stands out."""
        return height(self.values) / 2 or float(self.error_map.max()) or 1.0

    @property
    def relative_error(self) -> float | None:
        """See `pellucid.certainty.relative_error`; None without samples, and of a constant map."""
        if self.stderr is None:
            return None
        share = relative_error(self.values, self.stderr)
        return share if share < float("inf") else None

    def certainty(self) -> dict[str, Any]:
        """How sure the map is, in numbers, None where unknown: samples, standard errors, R2, completeness."""
        errors = self.stderr
        return {
            "samples": self.diagnostics.samples,
            "relative_error": self.relative_error,
            "stderr": None if errors is None else {"mean": float(errors.mean()), "max": float(errors.max())},
            "r2": self.diagnostics.r2,
            "delta": self.diagnostics.delta,
            "relative_delta": self.diagnostics.relative_delta,
            "pixel_share": self.diagnostics.pixel_share,
        }

    def bounding_box(self, share: float = 0.5) -> Box | None:
        """The smallest box, in picture pixels, of the strongest pixels that hold `share` of the evidence."""
        corners = bounding_box(self.values, share)
        if corners is None:
            return None
        left, top, right, bottom = corners
        rows, columns = self.values.shape
        box = self.box
        x, y = (box.right - box.left) / columns, (box.bottom - box.top) / rows
        return Box(box.left + x * left, box.top + y * top, box.left + x * right, box.top + y * bottom)


def default_percentile(per_pixel: bool) -> float:
    """99 for maps of the input's pixels, whose single extreme ones would darken all others; else 100."""
    return 99.0 if per_pixel else 100.0
