"""The scoreboard as Markdown tables."""

from collections.abc import Iterator, Mapping, Sequence

from pellucid.truth.rows import HalfBoard, TaskRow

_NOT_LOCALISED = (
    "decisions that have a place are said not to be localised",
    "diffuse decisions are said not to be localised",
)
_BY_TASK: Mapping[tuple[str, ...], str] = {
    ("maps of methods are right",): "right",
    ("supported maps of methods are right",): "right if supported",
    ("right maps are supported",): "supported if right",
    ("right maps are said not to be supported",): "not supported if right",
    _NOT_LOCALISED: "not localised",
}
"""The rates that are shown for each task, and what their columns are called."""


def _rate_of(task: TaskRow, names: tuple[str, ...]) -> str:
    return next((str(rate.found) for rate in task.rates if rate.what in names), "–")


def _accuracy(task: TaskRow) -> str:
    if task.accuracy is None:
        return "–"
    return f"{task.accuracy:.3f}" + ("" if task.enough else " (too low)")


def page(half: HalfBoard) -> Iterator[str]:
    """All tables of one half, line by line."""
    yield from (f"## {half.half.capitalize()} tasks", "")
    yield from _table(
        ("how often", "rate", "should be", "reached", "of"),
        [
            (rate.what, str(rate.found), rate.goal, _mark(rate.met), str(rate.found.count))
            for rate in half.rates
        ],
    )
    yield from ("", "### Methods", "")
    yield from _table(
        ("method", "share inside", "hit", "right", "supported", "right if supported", "passes"),
        [
            (
                row.title,
                *map(str, (row.share, row.hit, row.right, row.supported, row.supported_right)),
                f"{row.passes:.0f}",
            )
            for row in half.methods
        ],
    )
    if half.metrics:
        yield from ("", "### Metrics", "")
        yield from _table(
            ("metric", "rho with quality", "regret", "a floor is preferred to a better map"),
            [(row.title, str(row.rho), str(row.regret), str(row.floor_preferred)) for row in half.metrics],
        )
    yield from ("", "### Tasks", "")
    yield from _table(
        ("task", "accuracy", "scenes", "right", "decisions shown", *_BY_TASK.values()),
        [
            (
                task.task,
                _accuracy(task),
                *map(str, (task.seen, task.right, task.valid)),
                *(_rate_of(task, names) for names in _BY_TASK),
            )
            for task in half.tasks
        ],
    )
    if half.failures:
        yield ""
        yield from (f"- {title} cannot explain every network: {why}" for title, why in half.failures.items())
    yield ""


def _mark(met: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[met]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
