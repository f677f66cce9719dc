"""The verb `compare`: several methods, targets and models over the same pictures, evidence shared."""

import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, Unpack, overload

from jaxtyping import Float
from torch import Tensor, nn

from pellucid import bundle, storage
from pellucid.agreement import agreement
from pellucid.alteration import Alteration
from pellucid.altering import alter_all
from pellucid.budget import Budget
from pellucid.engine.cost import Cost
from pellucid.engine.precision import Precision
from pellucid.entries import Entry, Refusal, refusal_sentences
from pellucid.errors import InvalidValue, NotFound, PellucidError, short_traceback
from pellucid.explain import Explained, explain_all
from pellucid.explanation import Explanation, from_values, maps_of, values_of
from pellucid.files import file_path, save_by_suffix
from pellucid.fitting import within_budget
from pellucid.judge import judge_all
from pellucid.model import Model
from pellucid.provenance import provenance_of
from pellucid.remarks import by_text, told_once
from pellucid.render import figure, html, metadata, video, views
from pellucid.render.blocks import paint
from pellucid.render.paper import Paper, Width
from pellucid.render.style import Drawing, Style
from pellucid.render.text import in_short, number
from pellucid.report import render
from pellucid.report.data import data
from pellucid.request import Request
from pellucid.target import Output, Target
from pellucid.verdict import Verdict
from pellucid.verdict.sentences import note

if TYPE_CHECKING:
    from pellucid.render.canvas import MapFigure

DEFAULT_METHODS = (
    "grad-cam",
    "grad-cam++",
    "layer-cam",
    "eigen-cam",
    "saliency",
    "input-x-gradient",
    "smooth-grad",
)
"""What is compared unless asked otherwise: the CAMs people use, and two views of the input's gradient."""


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
        return told_once(
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


@short_traceback
def compare(
    model: Model | nn.Module | Callable[[Tensor], Any] | Sequence[Model | nn.Module],
    images: Any,
    methods: str | Sequence[str | tuple[str, Mapping[str, Any]]] = DEFAULT_METHODS,
    *,
    target: Target = None,
    targets: Sequence[Target] | None = None,
    output: Output | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    precision: Precision = "auto",
    progress: bool | None = None,
    forward_kwargs: Mapping[str, Any] | None = None,
    verdict: bool = True,
    budget: str | int | None = None,
    curves: bool = False,
) -> Comparison:
    """Explains the same images by several methods, for one or more targets and models.

    Args:
        model: one model, or several.
        images: as for `explain`; each model prepares them in its own way.
        methods: names with options, "smooth-grad:samples=20", or (name, options); a single name is one.
        target: as for `explain`; `targets`, a list, asks for several.
        targets: see `target`.
        output: as for `explain`, and so are `seed`, `batch_size`, `precision`,
            `progress` and `forward_kwargs`.
        seed: see `output`.
        batch_size: see `output`.
        precision: see `output`.
        progress: see `output`.
        forward_kwargs: see `output`.
        verdict: whether the maps are judged by interventions, which all maps of a picture share: see
            `Verdict`.
        budget: "60s", "2min", or a number of passes, for each picture, target and model. Within a budget
            interventions go on for maps that are still undecided; methods that would take longer than the
            seconds there are, by an estimate, are left out and say so. None is every method that was asked
            for, and 240 interventions at most.
        curves: whether deletion and insertion are made of every map, for the report to show with the altered
            picture; the metrics of these names say how.

    Returns:
        A `Comparison`; a method that cannot explain a model, or an image, is in its `refusals`. An image that
        some method cannot explain is not in the grid, but the other methods' results are kept, `left_out`.

    Raises:
        PellucidError: what `explain` raises, if no method could explain any model.

    Cost:
        One forward pass per image and model for all methods that read the image itself, and one backward
        pass per target; each sampled method its own. The verdicts cost 123 or 243 forward passes for each
        model, target and image: `Verdict.cost`. Curves cost 58 forward passes for each map.

    Example:
        >>> import torch
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> c = compare(net, torch.rand(1, 3, 9, 9), ["grad-cam", "hirescam", "saliency"])
        >>> len(c), c.cost.forward, c.cost.backward
        (3, 1, 1)
    """
    asked = [methods] if isinstance(methods, str) else methods
    requests = [Request.of(m) if isinstance(m, str) else Request.of(*m) for m in asked]
    if not requests:
        raise InvalidValue("methods must name at least one method; got none.")
    models = _numbered([Model.wrap(m) for m in (model if isinstance(model, (list, tuple)) else [model])])
    refusals: list[Refusal] = []
    errors: list[PellucidError] = []
    found: list[Explained] = []
    verdicts: list[Verdict] = []
    unjudged: list[str] = []
    altered: list[Alteration] = []
    spent = Cost()
    allowed = Budget.of(budget)
    asked_about = [target] if targets is None else targets
    for one in models:
        batch = one.read(images, forward_kwargs)
        fitting, over = within_budget(one, batch, requests, len(asked_about), allowed)
        refusals += [Refusal(request.title, one.name, why) for request, why in over]
        outcomes, cost = explain_all(
            one,
            batch,
            fitting,
            asked_about,
            output=output,
            seed=seed,
            batch_size=batch_size,
            precision=precision,
            progress=progress,
        )
        spent += cost
        for outcome in outcomes:
            title = outcome.request.title
            if isinstance(outcome.answer, PellucidError):
                refusals.append(Refusal(title, one.name, str(outcome.answer)))
                errors.append(outcome.answer)
            else:
                found.append(outcome)
                failed = [(str(error), batch.pictures[i].name) for i, error in outcome.failures.items()]
                refusals += [
                    Refusal(title, one.name, f"{names}: {text}") for text, names in by_text(failed).items()
                ]
        if verdict:
            judged, without = judge_all(
                one, batch, outcomes, asked_about,
                output=output, seed=seed, batch_size=batch_size, budget=allowed, progress=progress,
            )  # fmt: skip
            verdicts += judged
            unjudged += without
        if curves:
            made, without = alter_all(
                one, batch, outcomes, asked_about,
                output=output, seed=seed, batch_size=batch_size, progress=progress,
            )  # fmt: skip
            altered += made
            unjudged += without
    if not found:
        raise errors[0]
    rows, entries, left_out = _in_rows(found)
    return Comparison(
        tuple(entries),
        tuple(refusals),
        spent,
        tuple(left_out),
        tuple(sorted(rows)),
        tuple(verdicts),
        tuple(unjudged),
        tuple(altered),
    )


def _in_rows(outcomes: Sequence[Explained]) -> tuple[set[int], list[Entry], list[Entry]]:
    """Images that all methods explain, what explains them, and what explains the rest.

    A method that would leave no image is left out itself.
    """
    rows, asked = set(outcomes[0].images) | set(outcomes[0].failures), set[int]()
    for i in sorted(range(len(outcomes)), key=lambda i: len(outcomes[i].failures)):
        if rows - set(outcomes[i].failures):
            rows -= set(outcomes[i].failures)
            asked.add(i)
    entries: list[Entry] = []
    left_out: list[Entry] = []
    for i, outcome in enumerate(outcomes):
        answer, title = outcome.answer, outcome.request.title
        if isinstance(answer, PellucidError):
            continue
        here = [at for at, image in enumerate(outcome.images) if i in asked and image in rows]
        there = [at for at in range(len(outcome.images)) if at not in here]
        if here:
            entries.append(Entry(title, answer[here] if there else answer))
        if there:
            left_out.append(Entry(title, answer[there] if here else answer))
    return rows, entries, left_out


def _numbered(models: Sequence[Model]) -> list[Model]:
    """The models; those that share a name get a number behind it, so that results can be told apart."""
    names = [model.name for model in models]
    apart = []
    for i, model in enumerate(models):
        if names.count(model.name) > 1:
            model = copy(model)
            model.name = f"{model.name} ({names[: i + 1].count(model.name)})"
        apart.append(model)
    return apart
