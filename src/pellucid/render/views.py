"""How maps are shown when nobody says how: one look, the same in grids, pages and figures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, TypeVar

from pellucid.errors import InvalidValue
from pellucid.render.blocks import Block, Length, stacked
from pellucid.render.drawing import about, fitted_to, scale_of, view
from pellucid.render.panel import Panel
from pellucid.render.paper import Paper
from pellucid.render.sheet import Cell, Metrics, Title, grid, row_title_width
from pellucid.render.style import Style
from pellucid.render.words import predicted

WRAP = 4
"""Maps beside each other where there is one picture, one model and one target."""
ACROSS = 8
"""Columns beside each other: more go on below."""
CELL = 280
"""The longest width or height of a picture in a grid of pixels."""

T = TypeVar("T")
_Column = tuple[tuple[int, str], str, str]  # picture (position, name), model, target


@dataclass(frozen=True)
class Maps:
    """One result as grids show it: what its headings say, and the panels of its images.

    Attributes:
        method, options, model: of all of them.
        names, labels, sizes: of each image its picture's name, what was explained, its picture's size.
        panels: makes the panels, which are drawn one after another and let go.
    """

    method: str
    options: Mapping[str, Any]
    model: str
    names: Sequence[str]
    labels: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    panels: Callable[[], Iterator[Panel]]

    def columns(self) -> list[_Column]:
        """The column of each image; the position tells pictures of one name apart, and is not printed."""
        return [
            ((i, name), self.model, label)
            for i, (name, label) in enumerate(zip(self.names, self.labels, strict=True))
        ]


def cell(panel: Panel, style: Style | None = None, *, captions: bool = True) -> Cell:
    """The view of one image, and, with captions, its scale and its score, layer, samples and remarks."""
    image = view(panel, style)
    if not captions:
        return Cell(image, ready=True)
    return Cell(image, about(panel, method=False), scale_of(panel, style), ready=True)


def sheet(
    maps: Sequence[Maps],
    *,
    style: Style | None = None,
    captions: bool = True,
    title: str = "",
    caption: str = "",
    cell_size: int = CELL,
    paper: Paper | None = None,
) -> Block:
    """Methods down, pictures x models x targets across; first row: the pictures and what the models predict.

    Of one picture, model and target the maps follow each other in lines instead, as words do. More than eight
    columns, or than a page has room for, go on below. Results of one method with several settings get a
    place each, told apart by the options that differ. Levels that are the same everywhere are headed once.

    Args:
        maps: the results.
        style: how maps are drawn.
        captions: whether each map has its scale and what it shows below.
        title: above everything.
        caption: below everything.
        cell_size: the largest width and height of a picture, in pixels.
        paper: for print instead: what all sizes follow from.

    Raises:
        InvalidValue: no maps.
    """
    if not maps:
        raise InvalidValue("explanations must hold at least one; got none.")
    drawn_by = styles(style or Style(), maps)
    columns = _ordered([column for one in maps for column in one.columns()])
    names = row_titles(_requested(maps))
    flowing = len(columns) == 1
    metrics, width, across = _metrics(
        maps, 1 + len(set(names)) if flowing else len(columns), flowing, names, cell_size, paper
    )

    firsts: dict[_Column, Cell] = {}
    placed: dict[tuple[str, ...], dict[_Column, Cell]] = {}
    for one, name, drawn in zip(maps, names, drawn_by, strict=True):
        row = placed.setdefault(name, {})
        for column, full in zip(one.columns(), one.panels(), strict=True):
            panel = fitted_to(full, metrics.side, metrics.letters)
            row[column] = cell(panel, drawn, captions=captions)
            seen = predicted(panel.prediction) if captions else ""
            firsts.setdefault(column, Cell(panel.rgb, seen, ready=True))

    if flowing:
        (only,) = columns
        flow = [(("picture",), firsts[only]), *((name, row.get(only)) for name, row in placed.items())]
        heading = title or " · ".join((only[0][1], only[1], only[2]))
        return _in_lines(
            [
                grid(
                    [[cell for _, cell in line] + [None] * (across - len(line))],
                    columns=[*(name for name, _ in line), *([()] * (across - len(line)))],
                    title=heading if first else "",
                    caption=caption if last else "",
                    metrics=metrics,
                    width=width,
                )
                for first, last, line in _lines(flow, across)
            ],
            metrics,
        )
    above_each, common = _headings(columns)
    above = title or " · ".join(common)
    return _in_lines(
        [
            grid(
                [[firsts[c] for c in line], *([row.get(c) for c in line] for row in placed.values())],
                rows=[("picture",), *placed],
                columns=[above_each(column) for column in line],
                title=above if first else "",
                caption=caption if last else "",
                metrics=metrics,
                width=width,
            )
            for first, last, line in _lines(columns, across)
        ],
        metrics,
    )


def styles(style: Style, maps: Sequence[Maps]) -> list[Style]:
    """How each of these is drawn: what one method shows of one model shares a scale, if that is asked for.

    Other methods have other units: on their scale a map may have no colours at all.
    """
    groups: dict[tuple[str, ...], list[Maps]] = {}
    keys = [(one.model, *title) for one, title in zip(maps, row_titles(_requested(maps)), strict=True)]
    for key, one in zip(keys, maps, strict=True):
        groups.setdefault(key, []).append(one)
    found = {key: shared(style, some) for key, some in groups.items()}
    return [found[key] for key in keys]


def shared(style: Style, maps: Sequence[Maps]) -> Style:
    """The style with one scale for all of these maps, of one method and model, if it asks for that."""
    if style.scale == "own":
        return style
    return style.over((panel.values, panel.percentile) for one in maps for panel in one.panels())


def _metrics(
    maps: Sequence[Maps],
    count: int,
    flowing: bool,
    names: Sequence[Title],
    cell_size: int,
    paper: Paper | None,
) -> tuple[Metrics, Length | None, int]:
    """The sizes, the width of a column where it is fixed, and how many columns go beside each other."""
    most = WRAP if flowing else ACROSS
    if paper is None:
        metrics = Metrics.screen(cell_size)
        return metrics, None, _even(count, most)
    across = _even(count, paper.across(most))
    unit, _ = paper.metrics(across)
    left = 0.0 if flowing else row_title_width([("picture",), *names], unit) + unit.gap
    aspect = max(width / max(width, height) for one in maps for width, height in one.sizes)
    metrics, column = paper.metrics(across, left=left, aspect=aspect)
    return metrics, column, across


def _even(count: int, most: int) -> int:
    """How many of `count` columns go beside each other, in lines of about one length."""
    return ceil(count / ceil(count / most))


def _lines(items: Sequence[T], across: int) -> Iterator[tuple[bool, bool, Sequence[T]]]:
    """The items in lines of `across`, and whether each line is the first, and the last."""
    for start in range(0, len(items), across):
        yield start == 0, start + across >= len(items), items[start : start + across]


def _in_lines(grids: Sequence[Block], metrics: Metrics) -> Block:
    return stacked(grids, metrics.gap if metrics.in_print else 0)


def _headings(columns: Sequence[_Column]) -> tuple[Callable[[_Column], tuple[str, ...]], list[str]]:
    """What stands above each column, and what they have in common, which stands above them all."""
    named = [(name, model, label) for (_, name), model, label in columns]
    same = [len(set(level)) == 1 for level in zip(*named, strict=True)]
    if len({column[0] for column in columns}) > 1:
        same[0] = False  # pictures of one name are not one picture

    def heading(column: _Column) -> tuple[str, ...]:
        levels = (column[0][1], *column[1:])
        return tuple(text for text, common in zip(levels, same, strict=True) if not common)

    return heading, [text for text, common in zip(named[0], same, strict=True) if common]


def _ordered(columns: Sequence[_Column]) -> list[_Column]:
    """Each column once, so that neighbours share headings: each level in the order of first appearance."""
    levels = [list(dict.fromkeys(level)) for level in zip(*columns, strict=True)]
    return sorted(
        dict.fromkeys(columns),
        key=lambda column: [level.index(of) for level, of in zip(levels, column, strict=True)],
    )


def _requested(maps: Sequence[Maps]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(one.method, one.options) for one in maps]


def row_titles(requested: Sequence[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, ...]]:
    """Each method, and the options by which it differs from others of the same method.

    >>> row_titles([("rise", {"samples": 10}), ("rise", {"samples": 50}), ("cam", {"layer": "auto"})])
    [('rise', 'samples=10'), ('rise', 'samples=50'), ('cam',)]
    """
    titles = []
    for method, options in requested:
        same = [others for name, others in requested if name == method]
        parts = [
            f"{name}={value}"
            for name, value in options.items()
            if any(others.get(name) != value for others in same)
        ]
        titles.append((method, *parts))
    return titles
