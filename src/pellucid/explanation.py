"""What comes out: maps, what made them, what they cost, how sure they are; to show, save and load."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pellucid.certainty import height, relative_error
from pellucid.engine.cost import Cost
from pellucid.errors import InvalidValue
from pellucid.files import atomic_write
from pellucid.images import Box, Picture
from pellucid.indexing import positions
from pellucid.render import heat, scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SUFFIXES = (".npz", ".safetensors", ".png", ".html", ".mp4", ".gif")


@dataclass(frozen=True)
class Prediction:
    """One class of a model's answer; `probability` in [0, 1]."""

    index: int
    label: str
    probability: float


@dataclass(eq=False, repr=False)
class Explanation:
    """Why a model gave a batch of N pictures their scores.

    Attributes:
        method: the method's name, e.g. `"grad-cam"`; `options` are the ones it ran with, defaults included.
        attribution: (N, D, H, W) float32, D one or the input's channels: signed, raw, at input resolution.
        raw: the map as the formula gives it, (N, h, w) or (N, C, H, W), in its own precision.
        target: the explained class of each image; None where the target was a callable.
        labels: what was explained, in words: `"tiger cat"`, `"tiger cat - tabby"`.
        score: (N,) the explained numbers; `output` tells which: `"logit"`, `"probability"` or `"loss"`.
        prediction: the best five classes of each image, best first; empty where unknown.
        model, paper, seed, precision, versions: where the result comes from.
        cost: samples run forward and backward for the whole batch, and seconds.
        pictures, boxes: the pictures, and the part of each that became the input.
        layer: dotted names of the layers read.
        stderr: standard error of a sampled map, shaped like `attribution` or `raw`.
        delta: (N,) completeness or conservation error, where the theory promises one.
        details: what else the method can tell; in it, tensors of N rows and lists of N are per image. Of a
            method that reads several layers, a dict by layer of such.
        notes: for each image, what a reader should know before trusting its map, in words.
        trace: an optimisation's course, per image and step: `mask`, `deletion`, `insertion`, ...; else empty.
    """

    method: str
    options: dict[str, Any]
    attribution: Float[Tensor, "N D H W"]
    raw: Tensor
    target: list[int | None]
    labels: list[str]
    score: Float[Tensor, "N"]
    output: str
    prediction: list[list[Prediction]]
    model: str
    paper: str
    seed: int
    precision: str
    versions: dict[str, str]
    cost: Cost
    pictures: list[Picture]
    boxes: list[Box]
    layer: list[str] = field(default_factory=list)
    stderr: Tensor | None = None
    delta: Tensor | None = None
    details: dict[str, Any] = field(default_factory=dict)
    notes: list[list[str]] = field(default_factory=list)
    trace: dict[str, Any] = field(default_factory=dict)

    # --- numbers -------------------------------------------------------------------------------------------

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
        return scale.normalise(merged, self._limits(merged, percentile, shared=shared, vmax=vmax))

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
        return scale.normalise(merged, self._limits(merged, percentile, shared=shared, vmax=vmax))

    def limit(self, index: int = 0, *, signed: bool = False) -> float:
        """The evidence that `heatmap()`, or `signed_heatmap()`, shows as 1; 0 for an empty map."""
        merged = scale.merge_channels(self[index].attribution)
        shown = merged if signed else scale.magnitudes(merged)
        return float(self._limits(shown, None, shared=False, vmax=None))

    def _limits(
        self, merged: Tensor, percentile: float | None, *, shared: bool, vmax: float | None
    ) -> Tensor:
        if percentile is None:
            percentile = 99.0 if self.per_pixel else 100.0
        return scale.limits(merged, percentile=percentile, shared=shared, vmax=vmax)

    @property
    def warnings(self) -> list[str]:
        """What a reader should know before trusting the maps; of several images, which one it is about."""
        texts = list(dict.fromkeys(text for notes in self.notes for text in notes))
        about = {text: [i for i, notes in enumerate(self.notes) if text in notes] for text in texts}
        return [
            text if len(about[text]) == len(self) else f"Image {', '.join(map(str, about[text]))}: {text}"
            for text in texts
        ]

    @property
    def per_pixel(self) -> bool:
        """Whether the formula speaks of the input's own pixels, as gradients do: such maps are grainy."""
        return self.raw.ndim == 4

    @property
    def segmented(self) -> bool:
        """Whether the formula speaks of segments, each with a coefficient, as LIME's does."""
        return {"segments", "coefficients"} <= self.details.keys()

    def relative_error(self, index: int = 0) -> float | None:
        """How well a sampled map is known: the standard error in its top decile, as a share of its height.

        Height is how far the decile's magnitudes stand out from the map's median (see
        `pellucid.certainty.relative_error`). None if the method draws no samples or the map is constant.
        """
        if self.stderr is None:
            return None
        share = relative_error(scale.merge_channels(self[index].attribution)[0], self.error_map(index))
        return share if share < float("inf") else None

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

    def error_map(self, index: int = 0) -> Float[Tensor, "H W"]:
        """The standard error of a sampled map, in the units of the score; of channels, at most their sum.

        Raises:
            InvalidValue: the method draws no samples.
        """
        if self.stderr is None:
            raise InvalidValue(
                f"standard errors need a method that draws samples, such as rise; {self.method} draws none."
            )
        return scale.merge_channels(self.stderr[index][None])[0]

    def error_limit(self, index: int = 0) -> float:
        """The standard error that is drawn in the last colour: half of how far the top decile stands out."""
        half = height(scale.merge_channels(self[index].attribution)[0]) / 2
        return half or float(self.error_map(index).max()) or 1.0

    def bounding_box(self, index: int = 0, *, share: float = 0.5) -> Box | None:
        """The smallest box, in picture pixels, of the strongest pixels that hold `share` of the evidence.

        These pixels are taken from the highest value down until they hold `share` of the positive evidence;
        pixels equal to the last are taken too. None where there is no positive evidence.

        Raises:
            InvalidValue: `share` outside (0, 1].
        """
        one = self[index]
        corners = scale.bounding_box(scale.merge_channels(one.attribution)[0], share)
        if corners is None:
            return None
        left, top, right, bottom = corners
        height, width = one.attribution.shape[-2:]
        box = one.boxes[0]
        x, y = (box.right - box.left) / width, (box.bottom - box.top) / height
        return Box(box.left + x * left, box.top + y * top, box.left + x * right, box.top + y * bottom)

    # --- pictures ------------------------------------------------------------------------------------------

    def overlay(
        self,
        index: int = 0,
        *,
        cmap: str | None = None,
        alpha: float = 0.7,
        fade: bool = True,
        signed: bool | None = None,
    ) -> Image.Image:
        """The evidence over the picture, at the picture's own resolution; see `pellucid.render.heat.overlay`.

        Args:
            index: which image.
            cmap: any matplotlib colour map; None is turbo, or for signed maps blue-white-red.
            alpha: opacity of the strongest evidence.
            fade: whether the picture shows through where there is little evidence;
                `cmap="jet", alpha=0.5, fade=False` is the classic look.
            signed: whether to show evidence against, too; None does if the map has any.

        Raises:
            InvalidValue: `alpha` outside [0, 1], or an unknown colour map.
        """
        signed = self.has_negative(index) if signed is None else signed
        values, rgb, box = self._shown(index, signed)
        return heat.overlay(values, rgb, box, cmap=cmap, alpha=alpha, fade=fade, signed=signed)

    def map(self, index: int = 0, *, cmap: str | None = None, signed: bool | None = None) -> Image.Image:
        """The evidence alone, on the canvas of its picture: for maps too fine to lie over it.

        Options as of `overlay`; maps of the input's pixels without evidence against are drawn in inferno.
        """
        signed = self.has_negative(index) if signed is None else signed
        values, rgb, box = self._shown(index, signed)
        return heat.draw_map(values, rgb, box, cmap=cmap or self.default_cmap(signed), signed=signed)

    def default_cmap(self, signed: bool) -> str:
        """The colour map of a map that stands alone."""
        return heat.SIGNED if signed else heat.FINE if self.per_pixel else heat.HEAT

    def masked(self, index: int = 0, *, share: float = 0.5, fill: heat.Fill = "dim") -> Image.Image:
        """The picture where the top `share` of the evidence is; the rest `"dim"`, `"grey"` or `"blur"`."""
        one = self[index]
        values = one.heatmap(percentile=100.0)[0]  # clipping would move evidence between pixels
        return heat.masked(values, one.pictures[0].rgb, one.boxes[0], share=share, fill=fill)

    def contours(
        self, index: int = 0, *, levels: tuple[float, ...] = (0.25, 0.5, 0.75), cmap: str | None = None
    ) -> Image.Image:
        """Level lines of the heatmap on the picture."""
        return heat.contours(*self._shown(index), levels=levels, cmap=cmap)

    def boxed(self, index: int = 0, *, share: float = 0.5) -> Image.Image:
        """The picture with `bounding_box` drawn on it; without positive evidence, the picture."""
        return heat.boxed(self[index].pictures[0].rgb, self.bounding_box(index, share=share))

    def outlined(self, index: int = 0, *, top: int = 8) -> Image.Image:
        """The picture with its segments' outlines, the `top` strongest tinted, their coefficients written.

        Red is for, blue against; `±` is the coefficient's standard error. A coefficient is left out where its
        segment is too small, or another is written already. The picture's own colours are muted.

        Raises:
            InvalidValue: the method explains no segments.
        """
        from pellucid.render.superpixels import of, outlined

        return outlined(of(self, index), top=top)

    def uncertainty(self, index: int = 0) -> Image.Image:
        """The standard error of a sampled map, on the canvas of its picture, above its scale.

        The last colour is an error half as large as what it is an error of (see `error_limit`), or larger:
        what is bright here is not known. A dark map is a sure one.

        Raises:
            InvalidValue: the method draws no samples.
        """
        from pellucid.render.views import uncertainty

        return uncertainty(self, index)

    def view(self, index: int = 0) -> Image.Image:
        """The picture that suits the map: of segments their outlines, of pixels the map, else an overlay."""
        if self.segmented:
            return self.outlined(index)
        return self.map(index) if self.per_pixel else self.overlay(index)

    def has_negative(self, index: int = 0) -> bool:
        """Whether the image's map has evidence against the target."""
        return bool((scale.merge_channels(self[index].attribution) < 0).any())

    def _shown(self, index: int, signed: bool = False) -> tuple[Tensor, Image.Image, Box]:
        one = self[index]
        values = (one.signed_heatmap() if signed else one.heatmap())[0]
        # A constant map prefers no place: it is drawn as none, and captions say so.
        values = torch.zeros_like(values) if values.amin() == values.amax() else values
        return values, one.pictures[0].rgb, one.boxes[0]

    def plot(self) -> "Figure":
        """A matplotlib figure: for each image the picture, the map with its numbers, and the overlay."""
        from pellucid.render.figure import plot

        return plot(self)

    def show(self) -> None:
        """Display the explanation: in a notebook where it stands, else in the system's picture viewer."""
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if shell is not None:
            sys.modules["IPython"].display.display(self)
        else:
            self._sheet().show()

    def _sheet(self) -> Image.Image:
        from pellucid.render.views import sheet

        return self.view() if len(self) == 1 else sheet([self])

    def _repr_html_(self) -> str:
        from pellucid.render.html import fragment

        return fragment(self)

    def __repr__(self) -> str:
        shape = tuple(self.attribution.shape)
        of = f"{self.method!r} of {self.model!r} for {', '.join(self.labels)}"
        return f"Explanation({of}; attribution {shape})"

    # --- one of many ---------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.attribution)

    def __iter__(self) -> Iterator["Explanation"]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> "Explanation":
        """The explanation of some of the images, as a batch. `cost` stays that of the whole batch.

        `index` is one image (negative: from the end), a slice, a list, array or tensor of whole numbers, or
        a mask of one bool per image.

        Raises:
            IndexError: no such image, a mask of another length, or something that is no index.
        """
        count = len(self)
        at = positions(index, count)

        def some(value: Any) -> Any:
            if isinstance(value, Tensor) and value.dim() > 0 and len(value) == count:
                return value[at.start : at.stop : at.step] if isinstance(at, range) else value[at]
            return [value[i] for i in at] if isinstance(value, list) and len(value) == count else value

        def detail(name: str, value: Any) -> Any:
            if isinstance(value, dict) and name != "chosen":  # by layer
                return {layer: detail(layer, item) for layer, item in value.items()}
            return some(value)

        ran = [self.details["precisions"][i] for i in at] if "precisions" in self.details else []
        return replace(
            self,
            attribution=some(self.attribution),
            raw=some(self.raw),
            target=some(self.target),
            labels=some(self.labels),
            score=some(self.score),
            prediction=some(self.prediction),
            pictures=some(self.pictures),
            boxes=some(self.boxes),
            notes=some(self.notes),
            precision=max(ran, key=len) if ran else self.precision,
            stderr=some(self.stderr),
            delta=some(self.delta),
            details={name: detail(name, value) for name, value in self.details.items()},
            trace={name: some(value) for name, value in self.trace.items()},
        )

    # --- files ---------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one file, whole or not at all, by the suffix of `path`; returns the path.

        `.npz` and `.safetensors` hold everything exactly, for `load`. `.png` is the picture of `view`, or a
        sheet of them for several images. `.html` is a page that needs nothing else. `.mp4` and `.gif` are
        films of the course of one image's mask, for methods that optimise one: see
        `pellucid.render.video.Film`.

        Raises:
            InvalidValue: another suffix; a film of several images, or without the course of a mask.
            ExtraMissing: an `.mp4` without the extra `video`.
            FileMissing: the folder does not exist.
            InvalidType: `options`, `details` or `trace` hold what a file cannot.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".npz" | ".safetensors":
                from pellucid.storage import write

                write(self, path)
            case ".png":
                with atomic_write(path) as temporary:
                    self._sheet().save(temporary, "PNG")
            case ".html":
                from pellucid.render.html import fragment, page

                with atomic_write(path) as temporary:
                    temporary.write_text(
                        page(f"{self.method} · {self.model}", fragment(self)), encoding="utf-8"
                    )
            case ".mp4" | ".gif":
                from pellucid.render.video import write as film

                film(self, path)
            case _:
                raise InvalidValue(f"path must end in one of {', '.join(_SUFFIXES)}; got {path.name!r}.")
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Explanation":
        """Read what `save` wrote to a `.npz` or `.safetensors` file; tensors come back on the CPU.

        Raises:
            FileMissing: there is no such file.
            InvalidValue: another suffix, a damaged or foreign file, or one from a newer Pellucid.
        """
        path = Path(path)
        if path.suffix.lower() not in (".npz", ".safetensors"):
            raise InvalidValue(f"path must end in .npz or .safetensors to be loaded; got {path.name!r}.")
        from pellucid.storage import read

        return cls(**read(path))
