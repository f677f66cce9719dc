"""How maps are shown when nobody says how: one look, the same in grids, pages and figures."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image

from pellucid.errors import InvalidValue
from pellucid.render.drawing import fitted_to, view
from pellucid.render.panel import Panel
from pellucid.render.sheet import Cell, grid, number, under_each_other
from pellucid.render.words import predicted, reliability, remark

WRAP = 4
"""Maps beside each other where there is one picture, one model and one target."""

_Column = tuple[tuple[int, str], str, str]  # picture (position, name), model, target


def cell(panel: Panel) -> Cell:
    """The view of one image with its score, a remark, and a colour bar if the map is signed."""
    score = f"{panel.output} {number(panel.score)}"
    limit = panel.limit(signed=True) if panel.has_negative else None
    caption = " · ".join(filter(None, (score, reliability(panel), remark(panel))))
    return Cell(view(panel), caption, limit)


def sheet(
    maps: Sequence[Iterable[Panel]], *, title: str = "", caption: str = "", cell_size: int = 280
) -> Image.Image:
    """Methods down, pictures x models x targets across; first row: the pictures and what the models predict.

    Of one picture, model and target the maps follow each other in lines instead, as words do. Results of one
    method with several settings get a place each, told apart by the options that differ. Levels that are the
    same everywhere are headed once.

    Args:
        maps: for each result the panels of its images, which are drawn one after another and let go.
        title: above everything.
        caption: below everything.
        cell_size: the largest width and height of a picture, in pixels.

    Raises:
        InvalidValue: no maps.
    """
    if not maps:
        raise InvalidValue("explanations must hold at least one; got none.")
    firsts: dict[_Column, Cell] = {}
    requested: list[tuple[str, Mapping[str, Any]]] = []
    drawn: list[dict[_Column, Cell]] = []
    for panels in maps:
        row: dict[_Column, Cell] = {}
        for index, full in enumerate(panels):
            panel = fitted_to(full, cell_size)
            # The position tells pictures of one name apart; it is not printed.
            column = ((index, panel.name), panel.model, panel.label)
            row[column] = cell(panel)
            firsts.setdefault(column, Cell(panel.rgb, predicted(panel.prediction)))
            if not index:
                requested.append((panel.method, panel.options))
                drawn.append(row)
    placed: dict[tuple[str, ...], dict[_Column, Cell]] = {}
    for name, row in zip(row_titles(requested), drawn, strict=True):
        placed.setdefault(name, {}).update(row)
    # Neighbours should share a heading: each level in the order of its first appearance, outermost first.
    levels = [list(dict.fromkeys(level)) for level in zip(*firsts, strict=True)]
    columns = sorted(
        firsts, key=lambda column: [level.index(of) for level, of in zip(levels, column, strict=True)]
    )
    if len(columns) == 1:
        (column,) = columns
        cells = [(("picture",), firsts[column]), *((name, row.get(column)) for name, row in placed.items())]
        lines = [cells[start : start + WRAP] for start in range(0, len(cells), WRAP)]
        heading = title or " · ".join((column[0][1], column[1], column[2]))
        return under_each_other(
            [
                grid(
                    [[cell for _, cell in line] + [None] * (min(WRAP, len(cells)) - len(line))],
                    columns=[name for name, _ in line] + [()] * (min(WRAP, len(cells)) - len(line)),
                    title=heading if line is lines[0] else "",
                    caption=caption if line is lines[-1] else "",
                    cell=cell_size,
                )
                for line in lines
            ]
        )
    return grid(
        [[firsts[c] for c in columns], *([row.get(c) for c in columns] for row in placed.values())],
        rows=[("picture",), *placed],
        columns=[(name, model, label) for (_, name), model, label in columns],
        title=title,
        caption=caption,
        cell=cell_size,
    )


def row_titles(requested: Sequence[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, ...]]:
    """Each method, and the options by which it differs from others of the same method.

    >>> row_titles([("rise", {"samples": 10}), ("rise", {"samples": 50}), ("cam", {"layer": "auto"})])
    [('rise', 'samples=10'), ('rise', 'samples=50'), ('cam',)]
    """
    titles = []
    for method, options in requested:
        same = [others for name, others in requested if name == method]
        told = [
            f"{name}={value}"
            for name, value in options.items()
            if any(others.get(name) != value for others in same)
        ]
        titles.append((method, *told))
    return titles
