"""How a map is drawn: colours, scale and interpolation, as a user asks for them; checked in one place."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from math import isfinite
from typing import Any, TypedDict, get_args

import torch
from torch import Tensor

from pellucid.choices import Interpolation, ScaleOf
from pellucid.errors import InvalidValue
from pellucid.render.heat import colormap
from pellucid.render.scale import limits, magnitudes


class Drawing(TypedDict, total=False):
    """The options of everything that draws maps; `Style` says what each is."""

    cmap: str | None
    alpha: int | float
    fade: bool
    signed: bool | None
    scale: ScaleOf
    vmin: int | float | None
    vmax: int | float | None
    percentile: int | float | None
    interpolation: Interpolation | None


@dataclass(frozen=True)
class Style:
    """How maps are drawn.

    Attributes:
        cmap: any matplotlib colour map; None is turbo, inferno for maps of the input's pixels that stand
            alone, or for signed maps blue-white-red.
        alpha: opacity of the strongest evidence, in an overlay.
        fade: whether the picture shows through where there is little evidence.
        signed: whether to show evidence against, too; None does if the map has any.
        scale: `"own"`, each map up to its own strongest evidence, or `"shared"`, one scale for all maps of
            one method and model drawn together, so that colours compare; methods differ in units.
        vmin: evidence in the first colour, in units of the score; 0 unless said, or `-vmax` for signed maps,
            whose zero keeps the middle colour whatever the two ends are.
        vmax: evidence in the last colour.
        percentile: of the magnitudes, which is the last colour where there is no `vmax`: 100 unless said,
            99 for maps of the input's pixels.
        interpolation: between the cells of a map: `"nearest"` shows the cells as they are; None is
            `"bicubic"` for maps coarser than the input, `"nearest"` for those of the pixels of inputs of at
            most 64 x 64, else `"bilinear"`.
    """

    cmap: str | None = None
    alpha: int | float = 0.7
    fade: bool = True
    signed: bool | None = None
    scale: ScaleOf = "own"
    vmin: int | float | None = None
    vmax: int | float | None = None
    percentile: int | float | None = None
    interpolation: Interpolation | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Style":
        """From keywords.

        Raises:
            InvalidValue: an unknown option, or a value that does not hold.
        """
        known = [one.name for one in fields(cls)]
        for name in options:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1, cutoff=0.7)
                hint = f"did you mean {close[0]}? There" if close else "there"
                raise InvalidValue(
                    f"Pictures of maps have no option {name!r}: {hint} are {', '.join(known)}."
                )
        return cls(**options)

    def __post_init__(self) -> None:
        if self.cmap is not None:
            colormap(self.cmap)
        one_of("scale", self.scale, get_args(ScaleOf))
        if self.interpolation is not None:
            one_of("interpolation", self.interpolation, get_args(Interpolation))
        if not 0 <= self.alpha <= 1:
            raise InvalidValue(
                f"alpha must be between 0 (picture only) and 1 (colours only); got {self.alpha}."
            )
        if self.percentile is not None and not 0 < self.percentile <= 100:
            raise InvalidValue(f"percentile must be above 0 and at most 100; got {self.percentile}.")
        for name, value in (("vmin", self.vmin), ("vmax", self.vmax)):
            if value is not None and not isfinite(value):
                raise InvalidValue(f"{name} must be a finite number; got {value}.")
        if self.vmax is not None and self.vmax <= max(0.0, self.vmin or 0.0):
            raise InvalidValue(f"vmax must be above 0 and above vmin; got {self.vmax} and {self.vmin or 0}.")
        if self.vmin is not None and self.signed is not None and (self.vmin < 0) != self.signed:
            wanted = "below 0 where signed=True" if self.signed else "0 or above where signed=False"
            raise InvalidValue(f"vmin must be {wanted}; got {self.vmin}.")

    def draws_signed(self, has_negative: bool) -> bool:
        """Whether a map is drawn with evidence against."""
        if self.signed is not None:
            return self.signed
        return has_negative if self.vmin is None else self.vmin < 0

    def ends(self, values: Tensor, *, signed: bool, percentile: int | float) -> tuple[float, float]:
        """The evidence in the first and the last colour; both 0 for an empty map of no given scale."""
        high = self.vmax
        if high is None:
            shown = values if signed else magnitudes(values)
            high = float(limits(shown[None], percentile=float(self.percentile or percentile)))
        if self.vmin is not None:
            low = float(self.vmin)
            return low, float(high if signed else max(high, low))
        return -float(high) if signed else 0.0, float(high)

    def over(self, maps: Iterable[tuple[Tensor, float]]) -> "Style":
        """The same with one scale for all maps, if that is asked for: each its values and percentile."""
        if self.scale == "own":
            return self
        found = [(values.flatten().double(), percentile) for values, percentile in maps]
        if not found:
            return self
        every = torch.cat([values for values, _ in found])
        signed = self.draws_signed(bool((every < 0).any()))
        if self.vmax is not None:
            return replace(self, signed=signed)
        _, high = self.ends(every[None], signed=signed, percentile=max(percentile for _, percentile in found))
        return replace(self, signed=signed, vmax=max(high, self.vmin or 0.0) or None)


def one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    """Refuses a word that is none of those known."""
    if value not in known:
        *others, last = (f'"{one}"' for one in known)
        raise InvalidValue(f"{name} must be {', '.join(others)} or {last}; got {value!r}.")
