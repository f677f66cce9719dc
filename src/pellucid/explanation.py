"""What comes out: maps, what made them, what they cost, how sure they are; to show, save and load."""

import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from PIL import Image

from pellucid import bundle, notebook, storage
from pellucid.choices import Citation
from pellucid.errors import InvalidValue
from pellucid.files import file_path, save_by_suffix
from pellucid.filming import no_course
from pellucid.measured import Measured
from pellucid.prediction import Prediction as Prediction
from pellucid.provenance import provenance_of
from pellucid.references import written
from pellucid.render import drawing as pictures
from pellucid.render import figure, heat, html, metadata, video, views
from pellucid.render.blocks import paint
from pellucid.render.paper import Paper, Width
from pellucid.render.style import Drawing, Style
from pellucid.render.text import in_short, number

if TYPE_CHECKING:
    from pellucid.render.canvas import MapFigure


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

    def cite(self, format: Citation = "bibtex") -> str:
        """What to cite where this map is shown: its method's papers, and Pellucid.

        Args:
            format: "bibtex", or "text" for a list of references in words.

        Raises:
            InvalidValue: another format.

        Example:
            >>> import pellucid, torch
            >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
            >>> e = pellucid.explain(net, torch.rand(1, 3, 8, 8), "saliency")
            >>> e.cite().splitlines()[0]
            '@misc{simonyan2013,'
        """
        return written((self.paper,), format)

    # --- pictures ------------------------------------------------------------------------------------------

    def overlay(self, index: int = 0, *, caption: bool = False, **drawing: Unpack[Drawing]) -> Image.Image:
        """The evidence over the picture, at the picture's own resolution; see `pellucid.render.heat.overlay`.

        Pictures of at most 64 x 64 are enlarged, each pixel a square.

        Args:
            index: which image.
            caption: whether its colour bar and what it shows stand below: class, method, model, layer, score.
            **drawing: how the map is drawn. `cmap`, any matplotlib colour map; None is turbo, or for signed
                maps blue-white-red. `alpha`, the opacity of the strongest evidence, and `fade`, whether the
                picture shows through where there is little: `cmap="jet", alpha=0.5, fade=False` is the
                classic look.
                    `signed`,
                whether to show evidence against, too; None does if the map has any. `vmin` and `vmax`, the
                evidence in the first and last colour; `percentile`, which of the magnitudes is the last
                colour otherwise; `scale="shared"`, one scale for all images of this explanation.
                `interpolation`, `"nearest"`, `"bilinear"` or `"bicubic"`, what lies between the cells of
                the map; None is bicubic for coarse maps.

        Raises:
            InvalidValue: an unknown option, or a value that does not hold.
        """
        return self._picture(index, drawing, caption, over=True)

    def map(self, index: int = 0, *, caption: bool = False, **drawing: Unpack[Drawing]) -> Image.Image:
        """The evidence alone, on the canvas of its picture: for maps too fine to lie over it.

        Options as of `overlay`; maps of the input's pixels without evidence against are drawn in inferno.
        """
        return self._picture(index, drawing, caption, over=False)

    def _picture(self, index: int, drawing: Drawing, caption: bool, *, over: bool) -> Image.Image:
        style, panel = self._style(drawing), self.panel(index)
        image = (pictures.overlay if over else pictures.map_alone)(panel, style)
        return pictures.captioned(panel, image, panel.scale(style, over=over)) if caption else image

    def _style(self, drawing: Drawing) -> Style:
        return views.shared(Style.of(drawing), [maps_of(self)])

    def default_cmap(self, signed: bool) -> str:
        """The colour map of a map that stands alone."""
        return heat.default_cmap(self.per_pixel, signed=signed)

    def masked(self, index: int = 0, *, share: float = 0.5, fill: heat.Fill = "dim") -> Image.Image:
        """The picture where the top `share` of the evidence is; the rest `"dim"`, `"grey"` or `"blur"`."""
        return pictures.masked(self.panel(index), share, fill)

    def contours(
        self, index: int = 0, *, levels: tuple[float, ...] = (0.25, 0.5, 0.75), cmap: str | None = None
    ) -> Image.Image:
        """Level lines of the heatmap on the picture."""
        return pictures.contours(self.panel(index), levels, cmap)

    def boxed(self, index: int = 0, *, share: float = 0.5) -> Image.Image:
        """The picture with `bounding_box` drawn on it; without positive evidence, the picture."""
        return pictures.boxed(self.panel(index), share)

    def outlined(self, index: int = 0, *, top: int = pictures.TOP) -> Image.Image:
        """The picture with its segments' outlines, the `top` strongest tinted, their coefficients written.

        Red is for, blue against; `±` is the coefficient's standard error. A coefficient is left out where its
        segment is too small, or another is written already, or where it rounds to nothing beside the
        strongest. The picture's own colours are muted.

        Raises:
            InvalidValue: the method explains no segments.
        """
        return pictures.outlined(self.panel(index), top=top)

    def uncertainty(self, index: int = 0) -> Image.Image:
        """The standard error of a sampled map, on the canvas of its picture, above its scale.

        The last colour is an error half as large as what it is an error of (see `error_limit`), or larger:
        what is bright here is not known. A dark map is a sure one.

        Raises:
            InvalidValue: the method draws no samples.
        """
        return pictures.uncertainty(self.panel(index))

    def view(self, index: int = 0, *, caption: bool = False, **drawing: Unpack[Drawing]) -> Image.Image:
        """The picture that suits the map: of segments their outlines, of pixels the map, else an overlay.

        Options as of `overlay`.
        """
        return self._view(index, self._style(drawing), captions=caption)

    def _view(self, index: int, style: Style, *, captions: bool) -> Image.Image:
        panel = self.panel(index)
        image = pictures.view(panel, style)
        return pictures.captioned(panel, image, pictures.scale_of(panel, style)) if captions else image

    def plot(
        self,
        *,
        caption: bool = True,
        width: Width | None = None,
        dpi: int | float | None = None,
        **drawing: Unpack[Drawing],
    ) -> "MapFigure":
        """A matplotlib figure: for each image the picture, the map with its numbers, and the overlay.

        Of more than eight images it has one picture each, in a grid. A notebook shows it as a picture. Its
        files, `plot().savefig("e.pdf")`, hold TrueType fonts and real text.

        Args:
            caption: whether colour bars and what is shown stand below the pictures.
            width: for print: `"column"` (8.8 cm), `"page"` (18 cm) or centimetres; None is for a screen.
            dpi: dots per inch; None is 150, or 300 where there is a width.
            **drawing: as of `overlay`.
        """
        paper = figure.SCREEN if width is None and dpi is None else Paper.of(width, dpi)
        return figure.plot(maps_of(self), self._style(drawing), captions=caption, paper=paper)

    def show(self) -> None:
        """Display the explanation: in a notebook where it stands, else in the system's picture viewer."""
        shell = notebook.shell()
        if shell is not None:
            sys.modules["IPython"].display.display(self)
        else:
            self._pixels(Style(), views.CELL, captions=len(self) > 1).show()

    def _pixels(self, style: Style, cell: int, *, captions: bool) -> Image.Image:
        """The view of one image, or a grid of several, as pixels."""
        if len(self) == 1:
            return self._view(0, style, captions=captions)
        return paint(views.sheet([maps_of(self)], style=style, captions=captions, cell_size=cell))

    def _figure(self, style: Style, paper: Paper, *, captions: bool) -> "MapFigure":
        """The same as a figure for print."""
        if len(self) == 1:
            return figure.one(self.panel(), style, captions=captions, paper=paper)
        return figure.drawn(views.sheet([maps_of(self)], style=style, captions=captions, paper=paper), paper)

    def _repr_html_(self) -> str:
        cost = self.cost
        return html.fragment(
            self.panels(),
            title=self.method,
            facts=[
                self.model,
                f"layer {', '.join(self.layer)}" if self.layer else "",
                f"{cost.forward} forward, {cost.backward} backward, {number(cost.seconds)} s",
                self.precision,
                self.paper,
            ],
            warnings=self.warnings,
            count=len(self),
        )

    def __repr__(self) -> str:
        of = f"{self.method!r} of {self.model!r} for {in_short(self.labels)}, {in_short(self.names)}"
        return f"Explanation({of}; attribution {tuple(self.attribution.shape)})"

    # --- files ---------------------------------------------------------------------------------------------

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        caption: bool | None = None,
        width: Width | None = None,
        dpi: int | float | None = None,
        cell: int = views.CELL,
        **drawing: Unpack[Drawing],
    ) -> Path:
        """Write one file, whole or not at all, by the suffix of `path`; returns the path.

        `.npz` and `.safetensors` hold everything exactly, for `load`. `.png`, `.jpg`, `.webp`, `.pdf` and
        `.svg` are the picture of `view`, or a grid of them for several images; in them stands what they show,
        which
        `pellucid show FILE` prints. `.html` is a page that needs nothing else. `.mp4` and `.gif` are films
        of the course of one image's
        mask, for methods that optimise one: see `pellucid.render.video.Film`.

        Args:
            path: the file; its folder is made where it is not there yet.
            caption: whether colour bars and what is shown stand below the pictures; None does in grids,
                `.pdf` and `.svg`.
            width: for print: `"column"` (8.8 cm), `"page"` (18 cm) or centimetres.
            dpi: dots per inch, 300 unless said. With `width` or `dpi`, pixels are drawn for print as well.
            cell: the largest width and height of a picture in a grid of pixels, in pixels.
            **drawing: as of `overlay`.

        Raises:
            InvalidValue: another suffix; a film of several images, or without the course of a mask.
            ExtraMissing: an `.mp4` without the extra `video`.
            NotWritten: the file cannot be written there.
            InvalidType: `options`, `details` or `trace` hold what a file cannot, or `path` is an open file.
        """
        path, paper = file_path(path), Paper.of(width, dpi)
        style = self._style(drawing)

        def draw(file: Path) -> None:
            drawn = self._figure(style, paper, captions=caption is not False)
            metadata.save_figure(file, drawn, provenance_of([self], style))

        def draw_pixels(file: Path) -> None:
            captions = len(self) > 1 if caption is None else caption
            drawn = self._pixels(style, cell, captions=captions)
            metadata.save_pixels(file, drawn, provenance_of([self], style))

        return save_by_suffix(
            path,
            {
                **dict.fromkeys(bundle.SUFFIXES, self._store),
                **dict.fromkeys(metadata.PIXELS, draw_pixels if width is None and dpi is None else draw),
                ".pdf": draw,
                ".svg": draw,
                ".html": lambda file: file.write_text(self._page(), encoding="utf-8"),
                **dict.fromkeys(video.SUFFIXES, self._film),
            },
        )

    def _store(self, file: Path) -> None:
        storage.write(file, values_of(self))

    def _page(self) -> str:
        provenance = provenance_of([self], Style())
        return html.page(f"{self.method} · {self.model}", self._repr_html_(), provenance)

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
        return from_values(storage.read(Path(path)))


def values_of(explanation: Explanation) -> dict[str, Any]:
    """Its fields by name, and what else files and JSON hold of it."""
    return explanation._values()


def from_values(values: dict[str, Any]) -> Explanation:
    """The inverse of `values_of`."""
    return Explanation(**{one.name: values[one.name] for one in fields(Explanation)})


def maps_of(explanation: Explanation) -> views.Maps:
    """What grids and figures show of it."""
    return views.Maps(
        explanation.method,
        explanation.options,
        explanation.model,
        explanation.names,
        explanation.labels,
        [picture.rgb.size for picture in explanation.pictures],
        explanation.panels,
    )
