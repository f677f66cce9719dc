"""How an explanation is shown when nobody says how: one look, the same in grids, pages and figures."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median_low
from typing import Any

from PIL import Image

from pellucid.errors import InvalidValue
from pellucid.explanation import Explanation, Prediction
from pellucid.images import Box
from pellucid.render import heat
from pellucid.render.sheet import Cell, color_bar, fitted, grid, number, under_each_other

WRAP = 4
"""Maps beside each other where there is one picture, one model and one target."""

_Column = tuple[tuple[int, str], str, str]  # picture (position, name), model, target


def percent(probability: float) -> str:
    """A probability for people.

    >>> percent(0.6231), percent(0.0004), percent(1.0)
    ('62 %', '<0.1 %', '100 %')
    """
    if 0 < probability < 0.001:
        return "<0.1 %"
    return (
        f"{100 * probability:.1f} %"
        if probability < 0.1 or 0.99 < probability < 1
        else f"{100 * probability:.0f} %"
    )


def predicted(prediction: Sequence[Prediction], count: int = 2) -> str:
    """The best classes in words: `"tiger cat 62 %, tabby 21 %"`."""
    return ", ".join(f"{p.label} {percent(p.probability)}" for p in prediction[:count])


def remark(explanation: Explanation, index: int = 0) -> str:
    """What a reader must know about a map that has nothing to show; empty for all others."""
    values = explanation.attribution[index]
    if not (values != 0).any():
        return "empty map: zero everywhere"
    if values.amax() == values.amin():
        return "constant map: the same everywhere"
    if values.amax() <= 0:
        return "no evidence for it, only against"
    return ""


def certainty(explanation: Explanation, index: int = 0) -> dict[str, Any]:
    """How sure a map is, in numbers: samples drawn, standard errors, local R², completeness error.

    None where it is unknown.
    """
    samples, r2 = samples_of(explanation, index), explanation.details.get("r2")
    errors = None if explanation.stderr is None else explanation.error_map(index)
    return {
        "samples": samples,
        "relative_error": explanation.relative_error(index),
        "stderr": None if errors is None else {"mean": float(errors.mean()), "max": float(errors.max())},
        "r2": None if r2 is None else float(r2[index]),
        "delta": None if explanation.delta is None else float(explanation.delta[index]),
        "relative_delta": explanation.relative_delta(index),
        "pixel_share": _pixel_share(explanation, index),
    }


def samples_of(explanation: Explanation, index: int = 0) -> int | None:
    """How many samples were drawn for one image, of all layers together; None where none were."""
    drawn = explanation.details.get("samples")
    if drawn is None:
        return None
    return sum(int(one[index]) for one in (drawn.values() if isinstance(drawn, dict) else [drawn]))


def _pixel_share(explanation: Explanation, index: int) -> float | None:
    """Which share of the score relevance left at the pixels; biases and stabilisers hold the rest."""
    share = explanation.details.get("pixel_share")
    return None if share is None else float(share[index])


COMPLETE = 0.05
"""A map whose sum misses more than this share of what it should be is not called complete."""


def known(explanation: Explanation, index: int = 0) -> str:
    """The same in words: `"1000 samples, ±4.2 %, R² 0.83"`, `"complete to 0.6 %"`; empty if unknown.

    Of a map that is not complete it says `"sum off by 20 %"`; of relevance, which biases and stabilisers hold
    too, `"conserved to 0.6 %, 4 % of it in pixels"`.
    """
    about = certainty(explanation, index)
    samples, error, r2, delta, held = (
        about[name] for name in ("samples", "relative_error", "r2", "relative_delta", "pixel_share")
    )
    whole = "complete to" if held is None else "conserved to"
    words = (
        None if samples is None else f"{samples} samples",
        None if error is None else f"±{percent(error)}",
        None if r2 is None else f"R² {r2:.2f}",
        None if delta is None else f"{whole if delta <= COMPLETE else 'sum off by'} {percent(delta)}",
        None if held is None else f"{percent(held)} of it in pixels",
    )
    return ", ".join(filter(None, words))


def typical(explanation: Explanation) -> dict[str, Any]:
    """The `certainty` of a batch: of each number the median over its images, None where it is unknown."""
    each = [certainty(explanation, index) for index in range(len(explanation))]
    return {
        name: median_low(values) if (values := [one[name] for one in each if one[name] is not None]) else None
        for name in ("samples", "relative_error", "r2", "relative_delta", "pixel_share")
    }


def error_map(explanation: Explanation, index: int = 0) -> Image.Image:
    """The standard error of a sampled map on the canvas of its picture, up to `error_limit`."""
    shown = (explanation.error_map(index) / explanation.error_limit(index)).clamp(max=1).float()
    rgb, box = explanation.pictures[index].rgb, explanation.boxes[index]
    return heat.draw_map(shown, rgb, box, cmap=heat.ERROR)


def uncertainty(explanation: Explanation, index: int = 0) -> Image.Image:
    """The error map above its scale."""
    image, limit = error_map(explanation, index), explanation.error_limit(index)
    size = max(7, min(image.size) // 17)
    return under_each_other([image, color_bar(limit, image.width, size, heat.ERROR, signed=False)])


def fitted_to(explanation: Explanation, side: int) -> Explanation:
    """The explanation on pictures whose longer side is `side` pixels.

    Whatever is drawn on them is as sharp at that size as can be, and costs no more than that size needs.
    """
    pictures = [replace(p, rgb=fitted(p.rgb, side), rgba=None) for p in explanation.pictures]
    boxes = []
    for old, new, box in zip(explanation.pictures, pictures, explanation.boxes, strict=True):
        x, y = new.rgb.width / old.rgb.width, new.rgb.height / old.rgb.height
        boxes.append(Box(box.left * x, box.top * y, box.right * x, box.bottom * y))
    return replace(explanation, pictures=pictures, boxes=boxes)


def cell(explanation: Explanation, index: int = 0) -> Cell:
    """The view of one image with its score, a remark, and a colour bar if the map is signed."""
    score = f"{explanation.output} {number(float(explanation.score[index]))}"
    note = remark(explanation, index)
    limit = explanation.limit(index, signed=True) if explanation.has_negative(index) else None
    caption = " · ".join(filter(None, (score, known(explanation, index), note)))
    return Cell(explanation.view(index), caption, limit)


def sheet(
    explanations: Sequence[Explanation], *, title: str = "", caption: str = "", cell_size: int = 280
) -> Image.Image:
    """Methods down, pictures x models x targets across; first row: the pictures and what the models predict.

    Of one picture, model and target the maps follow each other in lines instead, as words do. Explanations
    of one method with several settings get a place each, told apart by the options that differ. Levels that
    are the same everywhere are headed once.

    Raises:
        InvalidValue: no explanations.
    """
    if not explanations:
        raise InvalidValue("explanations must hold at least one; got none.")
    placed: dict[tuple[str, ...], dict[_Column, Cell]] = {}
    firsts: dict[_Column, Cell] = {}
    for name, full in zip(_row_titles(explanations), explanations, strict=True):
        explanation = fitted_to(full, cell_size)
        for index, picture in enumerate(explanation.pictures):
            # The position tells pictures of one name apart; it is not printed.
            column = ((index, picture.name), explanation.model, explanation.labels[index])
            placed.setdefault(name, {})[column] = cell(explanation, index)
            firsts.setdefault(column, Cell(picture.rgb, predicted(explanation.prediction[index])))
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


def _row_titles(explanations: Sequence[Explanation]) -> list[tuple[str, ...]]:
    """The method of each explanation, and the options by which it differs from others of the same method."""
    titles = []
    for explanation in explanations:
        same = [e.options for e in explanations if e.method == explanation.method]
        told = [
            f"{name}={value}"
            for name, value in explanation.options.items()
            if any(o.get(name) != value for o in same)
        ]
        titles.append((explanation.method, *told))
    return titles
