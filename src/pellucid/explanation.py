"""What comes out: maps, what made them, what they cost, how sure they are; to show, save and load."""

import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from pellucid import bundle, storage
from pellucid.errors import InvalidValue
from pellucid.files import save_by_suffix
from pellucid.filming import no_course
from pellucid.measured import Measured
from pellucid.prediction import Prediction as Prediction
from pellucid.render import drawing, figure, heat, html, video, views
from pellucid.render.sheet import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(eq=False, repr=False)
class Explanation(Measured):
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
        return drawing.overlay(self.panel(index), cmap=cmap, alpha=alpha, fade=fade, signed=signed)

    def map(self, index: int = 0, *, cmap: str | None = None, signed: bool | None = None) -> Image.Image:
        """The evidence alone, on the canvas of its picture: for maps too fine to lie over it.

        Options as of `overlay`; maps of the input's pixels without evidence against are drawn in inferno.
        """
        return drawing.map_alone(self.panel(index), cmap=cmap, signed=signed)

    def default_cmap(self, signed: bool) -> str:
        """The colour map of a map that stands alone."""
        return heat.default_cmap(self.per_pixel, signed=signed)

    def masked(self, index: int = 0, *, share: float = 0.5, fill: heat.Fill = "dim") -> Image.Image:
        """The picture where the top `share` of the evidence is; the rest `"dim"`, `"grey"` or `"blur"`."""
        panel = self.panel(index)
        values = panel.heat(percentile=100.0)  # clipping would move evidence between pixels
        return heat.masked(values, panel.rgb, panel.box, share=share, fill=fill)

    def contours(
        self, index: int = 0, *, levels: tuple[float, ...] = (0.25, 0.5, 0.75), cmap: str | None = None
    ) -> Image.Image:
        """Level lines of the heatmap on the picture."""
        panel = self.panel(index)
        return heat.contours(panel.shown(), panel.rgb, panel.box, levels=levels, cmap=cmap)

    def boxed(self, index: int = 0, *, share: float = 0.5) -> Image.Image:
        """The picture with `bounding_box` drawn on it; without positive evidence, the picture."""
        panel = self.panel(index)
        return heat.boxed(panel.rgb, panel.bounding_box(share))

    def outlined(self, index: int = 0, *, top: int = drawing.TOP) -> Image.Image:
        """The picture with its segments' outlines, the `top` strongest tinted, their coefficients written.

        Red is for, blue against; `±` is the coefficient's standard error. A coefficient is left out where its
        segment is too small, or another is written already. The picture's own colours are muted.

        Raises:
            InvalidValue: the method explains no segments.
        """
        return drawing.outlined(self.panel(index), top=top)

    def uncertainty(self, index: int = 0) -> Image.Image:
        """The standard error of a sampled map, on the canvas of its picture, above its scale.

        The last colour is an error half as large as what it is an error of (see `error_limit`), or larger:
        what is bright here is not known. A dark map is a sure one.

        Raises:
            InvalidValue: the method draws no samples.
        """
        return drawing.uncertainty(self.panel(index))

    def view(self, index: int = 0) -> Image.Image:
        """The picture that suits the map: of segments their outlines, of pixels the map, else an overlay."""
        return drawing.view(self.panel(index))

    def plot(self) -> "Figure":
        """A matplotlib figure: for each image the picture, the map with its numbers, and the overlay."""
        return figure.plot(list(self.panels()))

    def show(self) -> None:
        """Display the explanation: in a notebook where it stands, else in the system's picture viewer."""
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if shell is not None:
            sys.modules["IPython"].display.display(self)
        else:
            self._sheet().show()

    def _sheet(self) -> Image.Image:
        return self.view() if len(self) == 1 else views.sheet([self.panels()])

    def _repr_html_(self) -> str:
        cost = self.cost
        shown = range(min(len(self), html.SHOWN))
        return html.fragment(
            (self.panel(index) for index in shown),
            title=self.method,
            facts=[
                self.model,
                f"layer {', '.join(self.layer)}" if self.layer else "",
                f"{cost.forward} forward, {cost.backward} backward, {number(cost.seconds)} s",
                self.precision,
                self.paper,
            ],
            warnings=self.warnings,
            more=len(self) - len(shown),
        )

    def __repr__(self) -> str:
        shape = tuple(self.attribution.shape)
        of = f"{self.method!r} of {self.model!r} for {', '.join(self.labels)}"
        return f"Explanation({of}; attribution {shape})"

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
        return save_by_suffix(
            path,
            {
                **dict.fromkeys(bundle.SUFFIXES, self._store),
                ".png": lambda file: self._sheet().save(file, "PNG"),
                ".html": lambda file: file.write_text(self._page(), encoding="utf-8"),
                **dict.fromkeys(video.SUFFIXES, self._film),
            },
        )

    def _store(self, file: Path) -> None:
        storage.write(file, self._values())

    def _page(self) -> str:
        return html.page(f"{self.method} · {self.model}", self._repr_html_())

    def _film(self, file: Path) -> None:
        if len(self) != 1:
            raise InvalidValue(
                f"A video shows one image; this explanation holds {len(self)}: save explanation[0], "
                "explanation[1] and so on."
            )
        if "mask" not in self.trace:
            raise no_course(self.method)
        video.write(file, self.panel())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Explanation":
        """Read what `save` wrote to a `.npz` or `.safetensors` file; tensors come back on the CPU.

        Raises:
            FileMissing: there is no such file.
            InvalidValue: another suffix, a damaged or foreign file, or one from a newer Pellucid.
        """
        known = storage.read(Path(path))
        return cls(**{one.name: known[one.name] for one in fields(cls)})
