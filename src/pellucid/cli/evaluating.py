"""What `pellucid evaluate` found, and the metrics there are, for people and for scripts."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from math import isinf
from pathlib import Path
from typing import Any

from pellucid.cli.definition import option_rows, show_definition
from pellucid.cli.screen import console, passes
from pellucid.cli.tables import Column, print_table
from pellucid.evaluation.record import Evaluation
from pellucid.metrics import Metric

_WAYS = {True: "higher", False: "lower", None: "neither"}
_SIZE = (224, 224)  # of the input for which passes are listed


def show(found: Evaluation, files: Sequence[Path]) -> None:
    """All of it, for people."""
    screen = console()
    count = len(found.pictures)
    screen.print(f"{found.model}, {count} picture{'s' if count > 1 else ''}", style="bold")
    for j, column in enumerate(found.columns):
        best = found.best(column.title)
        screen.print()
        better = "" if column.higher_is_better is None else f", {_WAYS[column.higher_is_better]} is better"
        screen.print(f"{column.title}: of the {column.output}{better}", style="bold")
        rows = []
        for i, method in enumerate(found.methods):
            cell = found.intervals[i][j]
            known = cell.mean is not None
            rows.append((
                method,
                f"{cell.mean:.3f}" if known else "–",
                f"{cell.low:.3f} to {cell.high:.3f}" if known else "",
                str(cell.count),
                "" if method not in best or len(best) == len(found.methods) else "yes",
            ))  # fmt: skip
        print_table(
            screen,
            [
                Column("method"),
                Column("mean", right=True),
                Column("95 %", right=True),
                Column("pictures", fold=1, right=True),
                Column("not beaten", fold=2),
            ],
            rows,
        )
    screen.print()
    screen.print(
        "95 %: bootstrap over pictures. Not beaten: by no other method beyond chance (paired, Holm).",
        style="dim",
    )
    for reason, times in Counter(found.missing.values()).items():
        screen.print(f"No value {times} times: {reason}", style="yellow")
    screen.print(passes(found.cost))
    for file in files:
        screen.print(str(file), soft_wrap=True)


def list_metrics(chosen: Sequence[Metric]) -> None:
    """Metrics in tables, one for each family."""
    screen = console()
    for family, group in groupby(chosen, lambda metric: metric.family):
        screen.print(family, style="bold")
        rows = [
            (
                m.name,
                _WAYS[m.higher_is_better],
                _range(m),
                str(m.passes(m.resolve_options({}), _SIZE)),
                ", ".join(sorted(m.needs)) or "–",
                m.paper,
            )
            for m in group
        ]
        columns = [
            Column("metric"), Column("better"), Column("range", fold=1), Column("passes", fold=2),
            Column("needs", fold=3), Column("paper", fold=4),
        ]  # fmt: skip
        print_table(screen, columns, rows)
        screen.print()
    screen.print("passes: per picture and map of 224 x 224. `pellucid metrics NAME` tells more.", style="dim")


def show_metric(metric: Metric) -> None:
    """All about one metric."""
    better = _WAYS[metric.higher_is_better]
    facts = (
        f"Family: {metric.family}; reads the {metric.output}; {better} is better.",
        f"Paper: {metric.paper}",
    )
    show_definition(metric.name, metric.doc, metric.options, facts)


def metric_row(metric: Metric) -> dict[str, Any]:
    """A metric for scripts; a range without an end has None there."""
    return {
        "name": metric.name,
        "family": metric.family,
        "summary": metric.summary,
        "higher_is_better": metric.higher_is_better,
        "range": [None if isinf(end) else end for end in metric.range],
        "output": metric.output,
        "needs": sorted(metric.needs),
        "options": option_rows(metric.options),
        "passes": metric.passes(metric.resolve_options({}), _SIZE)._asdict(),
        "paper": metric.paper,
    }


def _range(metric: Metric) -> str:
    return " to ".join("∞" if isinf(end) and end > 0 else f"{end:g}" for end in metric.range)
