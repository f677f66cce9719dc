"""What follows from a record in numbers: heatmaps, limits, errors, boxes, and its plain JSON."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from jaxtyping import Float
from torch import Tensor

from pellucid import storage
from pellucid.images import Box
from pellucid.record import Record, per_image
from pellucid.render import scale
from pellucid.render.panel import Diagnostics, Panel, default_percentile
from pellucid.render.superpixels import Weighted


@dataclass(eq=False, repr=False)
class Measured(Record):
    """A record that can be asked for numbers; what is drawn of it is drawn from its `panel`s."""

    def heatmap(
        self,
        *,
        sign: scale.Sign = "positive",
        reduce: scale.Reduce = "sum",
        percentile: float | None = None,
        shared: bool = False,
        vmax: float | None = None,
    ) -> Float[Tensor, "N H W"]:
        """Evidence for display, in [0, 1]; zero evidence is 0, and the only normalisation in Pellucid.

        1. Channels become one signed value per pixel (`reduce`: their `"sum"`, or the one of largest
           magnitude, `"max-abs"`).
        2. `sign` picks the evidence `"positive"` (for), `"negative"` (against) or `"absolute"` (both).
        3. Magnitudes are divided by the largest and clipped at 1; the largest is the `percentile` of the
           image's magnitudes: 100 for maps of a layer, 99 for maps of the input's pixels, whose single
           extreme ones would darken all others; of all N images together with `shared`; or `vmax`.
        4. Nothing is shifted: a map without such evidence is zeros, a constant positive one is ones.

        Raises:
            InvalidValue: an unknown `sign` or `reduce`, `percentile` outside (0, 100], `vmax` not positive.
        """
        merged = scale.magnitudes(scale.merge_channels(self.attribution, reduce), sign)
        return self._normalised(merged, percentile, shared=shared, vmax=vmax)

    def signed_heatmap(
        self,
        *,
        reduce: scale.Reduce = "sum",
        percentile: float | None = None,
        shared: bool = False,
        vmax: float | None = None,
    ) -> Float[Tensor, "N H W"]:
        """Evidence for (above 0) and against (below 0), in [-1, 1].

        The rules are those of `heatmap`; positive and negative evidence share one scale, and 0 stays 0.
        """
        merged = scale.merge_channels(self.attribution, reduce)
        return self._normalised(merged, percentile, shared=shared, vmax=vmax)

    def _normalised(
        self, merged: Tensor, percentile: float | None, *, shared: bool, vmax: float | None
    ) -> Tensor:
        percentile = default_percentile(self.per_pixel) if percentile is None else percentile
        return scale.normalise(merged, scale.limits(merged, percentile=percentile, shared=shared, vmax=vmax))

    def limit(self, index: int = 0, *, signed: bool = False) -> float:
        """The evidence that `heatmap()`, or `signed_heatmap()`, shows as 1; 0 for an empty map."""
        return self.panel(index).limit(signed=signed)

    def has_negative(self, index: int = 0) -> bool:
        """Whether the image's map has evidence against the target that would show: a 256th of its scale."""
        return self.panel(index).has_negative

    def relative_error(self, index: int = 0) -> float | None:
        """How well a sampled map is known: the standard error in its top decile, as a share of its height.

        Height is how far the decile's magnitudes stand out from the map's median (see
        `pellucid.certainty.relative_error`). None if the method draws no samples or the map is constant.
        """
        return self.panel(index).relative_error

    def error_map(self, index: int = 0) -> Float[Tensor, "H W"]:
        """The standard error of a sampled map, in the units of the score; of channels, at most their sum.

        Raises:
            InvalidValue: the method draws no samples.
        """
        return self.panel(index).error_map

    def error_limit(self, index: int = 0) -> float:
        """The standard error that is drawn in the last colour: half of how far the top decile stands out."""
        return self.panel(index).error_limit

    def bounding_box(self, index: int = 0, *, share: float = 0.5) -> Box | None:
        """The smallest box, in picture pixels, of the strongest pixels that hold `share` of the evidence.

        These pixels are taken from the highest value down until they hold `share` of the positive evidence;
        pixels equal to the last are taken too. None where there is no positive evidence.

        Raises:
            InvalidValue: `share` outside (0, 1].
        """
        return self.panel(index).bounding_box(share)

    def relative_delta(self, index: int = 0) -> float | None:
        """By how much a map misses what theory promises it to add up to, as a share of that; never negative.

        None if nothing is promised, or if it is zero.
        """
        if self.delta is None:
            return None
        delta = float(self.delta[index])
        shared = self.details.get("shared_out")  # by relevance, of which biases hold a part
        whole = float(self.raw[index].double().sum()) - delta
        promised = whole if shared is None else float(shared[index])
        return abs(delta / promised) if promised else None

    # --- for drawing ---------------------------------------------------------------------------------------

    def panel(self, index: int = 0) -> Panel:
        """What is drawn and written of one image, as the plain record that `pellucid.render` takes."""
        one = self[index]
        details, raw = one.details, one.raw
        lowest, highest = one.attribution.aminmax()
        return Panel(
            method=one.method,
            options=one.options,
            model=one.model,
            name=one.pictures[0].name,
            label=one.labels[0],
            output=one.output,
            score=float(one.score[0]),
            prediction=one.prediction[0],
            rgb=one.pictures[0].rgb,
            box=one.boxes[0],
            values=scale.merge_channels(one.attribution)[0],
            raw=raw[0] if raw.ndim == 4 else raw,
            lowest=float(lowest),
            highest=float(highest),
            per_pixel=one.per_pixel,
            layer=one.layer,
            stderr=None if one.stderr is None else scale.merge_channels(one.stderr)[0],
            segments=one._segments() if one.segmented else None,
            trace={name: rows[0] for name, rows in one.trace.items() if _tensors(rows)},
            diagnostics=Diagnostics(
                samples=_samples(details.get("samples")),
                r2=_number(details.get("r2")),
                delta=_number(one.delta),
                relative_delta=one.relative_delta(),
                pixel_share=_number(details.get("pixel_share")),
            ),
        )

    def panels(self) -> Iterator[Panel]:
        """The `panel` of each image, made when it is asked for."""
        return (self.panel(index) for index in range(len(self)))

    def _segments(self) -> Weighted:
        errors = self.details.get("coefficient_stderr")
        return Weighted(
            self.details["segments"][0],
            self.details["coefficients"][0],
            None if errors is None else errors[0],
            self.pictures[0].rgb,
            self.boxes[0],
        )

    # --- JSON ----------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON: each field by its name, `warnings`, and `certainty` of each image.

        Fields with one entry per image are lists of N. The command line, reports and saved files hold
        explanations in this form. Arrays of at most 1024 values per image are nested lists, larger ones are
        told by shape and dtype; in saved files they are whole. What JSON lacks is a dict of one key, as in
        `{"$float": "inf"}`.

        `certainty` holds, None where unknown: the `samples` drawn, the `relative_error` of the map's top
        decile, the mean and largest `stderr`, a surrogate's `r2`, the completeness error `delta` and
        `relative_delta`, and the `pixel_share` of relevance.

        Example:
            >>> import torch, pellucid
            >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
            >>> e = pellucid.explain(net, torch.rand(2, 3, 2, 2), "saliency", target=[0, 1])
            >>> record = e.to_dict()
            >>> record["method"], record["target"], len(record["score"])
            ('saliency', [0, 1], 2)
        """
        return storage.to_json(self._values())

    def _values(self) -> dict[str, Any]:
        """The fields by name, and what of `to_dict` follows from them."""
        return {
            **{one.name: getattr(self, one.name) for one in fields(self)},
            "warnings": self.warnings,
            "certainty": [panel.certainty() for panel in self.panels()],
        }


def _tensors(rows: Any) -> bool:
    """Whether a course has a tensor for the only image."""
    return per_image(rows, 1) and isinstance(rows[0], Tensor)


def _number(rows: Any) -> float | None:
    """A number of the only image; None where it is unknown."""
    if not per_image(rows, 1):
        return None
    one = rows[0]
    if isinstance(one, Tensor) and one.numel() == 1:
        return float(one)
    return float(one) if isinstance(one, int | float) and not isinstance(one, bool) else None


def _samples(drawn: Any) -> int | None:
    """How many samples were drawn for the only image, of all layers together; None where none were."""
    layers = list(drawn.values()) if isinstance(drawn, dict) else [drawn]
    counts = [count for count in map(_number, layers) if count is not None and count == count // 1]
    return int(sum(counts)) if counts and len(counts) == len(layers) else None
