"""What `compare` gives: explanations of the same pictures, side by side, with their verdicts."""

import operator
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, Unpack, overload

from jaxtyping import Float
from torch import Tensor

from pellucid import bundle, storage
from pellucid.agreement import agreement
from pellucid.alteration import Alteration
from pellucid.engine.cost import Cost
from pellucid.entries import Entry, Refusal, refusal_sentences
from pellucid.errors import InvalidValue, NotFound
from pellucid.explanation import Explanation, from_values, maps_of, values_of
from pellucid.files import file_path, save_by_suffix
from pellucid.provenance import provenance_of
from pellucid.remarks import grouped_remarks
from pellucid.render import figure, html, metadata, video, views
from pellucid.render.blocks import paint
from pellucid.render.paper import Paper, Width
from pellucid.render.style import Drawing, Style
from pellucid.render.text import in_short, number
from pellucid.report import render
from pellucid.report.data import data
from pellucid.verdict import Verdict
from pellucid.verdict.sentences import note

if TYPE_CHECKING:
    from pellucid.render.canvas import MapFigure


@dataclass(frozen=True, repr=False)
class Comparison:
    """Explanations of the same pictures, side by side.

    Attributes:
        entries: in the order asked: models, then targets, then methods.
        refusals: methods that could not explain a model, or an image, which is named; and why.
        cost: what was really run; evidence that methods share is counted once.
        left_out: what is not in the grid, whose rows are the images that all its methods explained: the
            explanations of other images, each by the methods that could.
        images: which of the images asked about are the rows of the grid, counted from 0.
        verdicts: which maps to trust, one for each model, target and image; their cost is their own.
        unjudged: pictures that have no verdict, and maps without curves that were asked for, and why, in
            sentences.
        curves: where they were asked for, deletion and insertion of every map of every image.
    """

    entries: tuple[Entry, ...]
    refusals: tuple[Refusal, ...]
    cost: Cost
    left_out: tuple[Entry, ...] = ()
    images: tuple[int, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    unjudged: tuple[str, ...] = ()
    curves: tuple[Alteration, ...] = ()

    @property
    def explanations(self) -> list[Explanation]:
        """The explanations, in the order asked."""
        return [entry.explanation for entry in self.entries]

    @property
    def verdict(self) -> Verdict:
        """Which maps to trust, in words and numbers: the verdict of the only picture, target and model.

        Raises:
            NotFound: there is none, or there are several: see `verdicts`.
        """
        if len(self.verdicts) == 1:
            return self.verdicts[0]
        if self.verdicts:
            raise NotFound(
                f"There are {len(self.verdicts)} verdicts, one for each model, target and picture: take one "
                "of them, as comparison.verdicts[0]."
            )
        why = f": {self.unjudged[0]}" if self.unjudged else "; compare(..., verdict=True) gives one."
        raise NotFound(f"There is no verdict{why}")

    def __len__(self) -> int:
        return len(self.entries)

    def agreement(self, index: int = 0, *, magnitudes: bool = False) -> Float[Tensor, "M M"]:
        """How alike the maps of one picture are, in [-1, 1]: see `pellucid.agreement.agreement`.

        Args:
            index: which picture.
            magnitudes: whether each pixel's evidence counts without its sign: a map and its negative then
                agree.
        """
        return agreement(self.explanations, index, magnitudes=magnitudes)

    def __iter__(self) -> Iterator[Explanation]:
        return iter(self.explanations)

    @overload
    def __getitem__(self, index: SupportsIndex | str | tuple[str, ...]) -> Explanation: ...

    @overload
    def __getitem__(self, index: slice) -> list[Explanation]: ...

    def __getitem__(self, index: Any) -> Explanation | list[Explanation]:
        """One explanation by its position or its method, `c[0]`, `c["grad-cam"]`; several by a slice.

        A method is named as it was asked for, options and all, or by its name alone. Of several targets or
        models, name those too, in any order: `c["grad-cam", "tabby", "resnet50"]`.

        Raises:
            NotFound: no such explanation, or more than one by that name.
        """
        if isinstance(index, slice):
            return self.explanations[index]
        if not isinstance(index, str) and not (isinstance(index, tuple) and index):
            return self.explanations[_position(index, len(self))]
        names = (index,) if isinstance(index, str) else index
        found = [i for i, entry in enumerate(self.entries) if all(name in _names(entry) for name in names)]
        if len(found) == 1:
            return self.entries[found[0]].explanation
        wanted = ", ".join(map(repr, names))
        if found:
            which = "; ".join(f"[{i}] is {_described(self.entries[i])}" for i in found)
            raise NotFound(f"{wanted} must name one explanation; {len(found)} are called that: {which}.")
        known = list(dict.fromkeys(entry.title for entry in self.entries))
        raise NotFound(f"There must be an explanation called {wanted}; there are {', '.join(known)}.")

    def __repr__(self) -> str:
        methods = in_short([entry.title for entry in self.entries])
        models = in_short([e.model for e in self])
        labels = in_short([label for e in self for label in e.labels])
        refused = f"; {len(self.refusals)} refused" if self.refusals else ""
        return f"Comparison({methods} of {models} for {labels}; {len(self.entries)} explanations{refused})"

    def _repr_html_(self) -> str:
        first = self.explanations[0]
        count = len(first)
        titled = [(entry, _title(entry, self.entries)) for entry in self.entries]
        return html.comparison(
            (
                (first.names[i], [(title, entry.explanation.panel(i)) for entry, title in titled])
                for i in range(min(count, html.SHOWN))
            ),
            title=f"{len(self)} explanations",
            facts=[in_short([e.model for e in self]), f"together {self.cost}, {number(self.cost.seconds)} s"],
            verdicts=[
                (f"{one.picture}: {one.label}, by {one.model}", one.sentences)
                for one in self.verdicts
                if one.picture in first.names[: html.SHOWN]
            ],
            warnings=[*self.warnings, *self.unjudged, *refusal_sentences(self.refusals)],
            more=max(0, count - html.SHOWN),
        )

    @property
    def warnings(self) -> list[str]:
        """What a reader should know before trusting the maps: each text once, with pictures and methods.

        What the verdicts say is theirs: see `Verdict.sentences`.
        """
        judged = {note(verdict, one) for verdict in self.verdicts for one in verdict.maps}
        titles = {id(entry): _title(entry, self.entries) for entry in self.entries}
        return grouped_remarks(
            (
                (text, name, titles[id(entry)])
                for entry in self.entries
                for name, notes in zip(entry.explanation.names, entry.explanation.notes, strict=False)
                for text in notes
                if text not in judged
            ),
            [name for entry in self.entries for name in entry.explanation.names],
            list(titles.values()),
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON: each explanation as `Explanation.to_dict` has it, with its title.

        Besides `explanations` it has `refusals`, the `cost` of all together, `images` and `left_out`.
        """
        return {
            **data(self.entries, self.refusals, self.cost, self.verdicts, self.unjudged, self.curves),
            "images": list(self.images),
            "left_out": [{"title": one.title, **one.explanation.to_dict()} for one in self.left_out],
        }

    def plot(
        self,
        *,
        caption: bool = True,
        width: Width | None = None,
        dpi: int | float | None = None,
        **drawing: Unpack[Drawing],
    ) -> "MapFigure":
        """All maps as a matplotlib figure, which a notebook shows as a picture.

        Args:
            caption: whether colour bars and what is shown stand below the pictures.
            width: for print: `"column"` (8.8 cm), `"page"` (18 cm) or centimetres; None is for a screen.
            dpi: dots per inch; None is 150, or 300 where there is a width.
            **drawing: as of `Explanation.overlay`; `scale="shared"` is one scale for all pictures and
                targets of one method and model; methods differ in units.
        """
        paper = figure.SCREEN if width is None and dpi is None else Paper.of(width, dpi)
        return self._figure(Style.of(drawing), paper, captions=caption)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        caption: bool = True,
        width: Width | None = None,
        dpi: int | float | None = None,
        cell: int = views.CELL,
        **drawing: Unpack[Drawing],
    ) -> Path:
        """Writes one file, whole or not at all, by the suffix of `path`; returns the path.

        `.png`, `.jpg`, `.webp`, `.pdf` and `.svg` are a grid of all maps; in them stands what they show,
        which `pellucid show FILE` prints. `.html` is the report, a page that needs nothing else. `.npz` and
        `.safetensors` hold everything exactly, for `load`. `.mp4` and `.gif` are the film of the one
        explanation that keeps the course of a mask.

        Args:
            path: the file; its folder is made where it is not there yet.
            caption: whether colour bars and what is shown stand below the pictures.
            width: for print: `"column"` (8.8 cm), `"page"` (18 cm) or centimetres.
            dpi: dots per inch, 300 unless said. With `width` or `dpi`, pixels are drawn for print as well.
            cell: the largest width and height of a picture in a grid of pixels, in pixels.
            **drawing: as of `Explanation.overlay`; `scale="shared"` is one scale for all pictures and
                targets of one method and model; methods differ in units.

        Raises:
            InvalidValue: another suffix, or a film where not exactly one explanation has a course.
            InvalidType: `path` is an open file.
            NotWritten: the file cannot be written there.
        """
        path, paper, style = file_path(path), Paper.of(width, dpi), Style.of(drawing)

        def draw(file: Path) -> None:
            drawn = self._figure(style, paper, captions=caption)
            metadata.save_figure(file, drawn, self._provenance(style))

        def draw_pixels(file: Path) -> None:
            maps = [maps_of(e) for e in self]
            drawn = paint(views.sheet(maps, style=style, captions=caption, cell_size=cell))
            metadata.save_pixels(file, drawn, self._provenance(style))

        return save_by_suffix(
            path,
            {
                **dict.fromkeys(metadata.PIXELS, draw_pixels if width is None and dpi is None else draw),
                ".pdf": draw,
                ".svg": draw,
                ".html": self._report,
                **dict.fromkeys(bundle.SUFFIXES, self._store),
                **dict.fromkeys(video.SUFFIXES, self._film),
            },
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Comparison":
        """Reads what `save` wrote to a `.npz` or `.safetensors` file.

        Raises:
            FileMissing: there is no such file.
            InvalidValue: another suffix, a damaged or foreign file, or one from a newer Pellucid.
        """
        records, others = storage.read_several(Path(path))
        entries = [Entry(title, from_values(values)) for title, values in records]
        shown = others["shown"]
        return cls(
            tuple(entries[:shown]),
            tuple(Refusal(**refusal) for refusal in others["refusals"]),
            Cost(**others["cost"]),
            tuple(entries[shown:]),
            tuple(others["images"]),
            tuple(map(Verdict.from_dict, others.get("verdicts", []))),
            tuple(others.get("unjudged", [])),
            tuple(map(Alteration.from_dict, others.get("curves", []))),
        )

    def _figure(self, style: Style, paper: Paper, *, captions: bool) -> "MapFigure":
        maps = [maps_of(e) for e in self]
        return figure.drawn(views.sheet(maps, style=style, captions=captions, paper=paper), paper)

    def _provenance(self, style: Style) -> dict[str, Any]:
        drawn = views.styles(style, [maps_of(e) for e in self])
        return provenance_of(self.explanations, style, drawn)

    def _report(self, file: Path) -> None:
        page = render(self.entries, self.refusals, self.cost, self.verdicts, self.unjudged, self.curves)
        file.write_text(page, encoding="utf-8")

    def _store(self, file: Path) -> None:
        storage.write_several(
            file,
            [(entry.title, values_of(entry.explanation)) for entry in (*self.entries, *self.left_out)],
            {
                "shown": len(self.entries),
                "refusals": [vars(refusal) for refusal in self.refusals],
                "cost": vars(self.cost),
                "images": list(self.images),
                "verdicts": [verdict.to_dict() for verdict in self.verdicts],
                "unjudged": list(self.unjudged),
                "curves": [one.to_dict() for one in self.curves],
            },
        )

    def _film(self, file: Path) -> None:
        films = [e for e in self if "mask" in e.trace]
        if len(films) != 1 or len(films[0]) != 1:
            raise InvalidValue(
                "A video shows how one mask was optimised for one image; "
                f"of these explanations {len(films)} have a course: save one of them, as comparison[0]."
            )
        films[0].save(file)


def _position(index: Any, count: int) -> int:
    if not isinstance(index, SupportsIndex):
        raise NotFound(
            "An index must be a whole number, a slice, a method, or a tuple of method, target and model; got "
            f"{index!r}."
        )
    at = operator.index(index)
    if not -count <= at < count:
        raise NotFound(f"index must be from {-count} to {count - 1}, for {count} explanations; got {at}.")
    return at


def _names(entry: Entry) -> set[str]:
    """What an entry can be called by."""
    e = entry.explanation
    return {entry.title, e.method, e.model, *e.labels}


def _described(entry: Entry) -> str:
    e = entry.explanation
    return f"{entry.title} for {in_short(e.labels)}, {e.model}"


def _title(entry: Entry, others: Sequence[Entry]) -> str:
    """An entry's title, with what tells it apart from others of that title."""
    same = [other.explanation for other in others if other.title == entry.title]
    e = entry.explanation
    label = f" for {in_short(e.labels)}" if any(other.labels != e.labels for other in same) else ""
    model = f" by {e.model}" if any(other.model != e.model for other in same) else ""
    return entry.title + label + model
