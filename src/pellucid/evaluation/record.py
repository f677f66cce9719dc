"""A table of methods and metrics over pictures, with intervals and paired differences."""

import csv
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.caching import cached_property
from pellucid.engine.cost import Cost
from pellucid.errors import ExtraMissing, NotFound
from pellucid.files import save_by_suffix
from pellucid.intervals import Difference, Interval, bootstrap, holm, paired
from pellucid.metrics import get_metric
from pellucid.totals import Totals


@dataclass(frozen=True)
class Column:
    """One metric, as it was asked: its title with options, its direction, and the output that it read."""

    title: str
    name: str
    higher_is_better: bool | None
    output: str
    protocol: Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Evaluation:
    """How methods do by metrics over pictures.

    Attributes:
        model: the model's name.
        methods: the methods, with their options.
        columns: the metrics, each with the options it ran with.
        pictures: the pictures' names, in order.
        labels: the class explained of each picture.
        values: (methods, metrics, pictures) float64; NaN where there is none, for the reason in `missing`.
        missing: (method, metric, picture) by number -> why there is no value.
        cost: what all of it took.
        seconds: by method, the mean seconds of an explanation.
    """

    model: str
    methods: tuple[str, ...]
    columns: tuple[Column, ...]
    pictures: tuple[str, ...]
    labels: tuple[str, ...]
    values: Float[Tensor, "methods metrics pictures"]
    missing: Mapping[tuple[int, int, int], str]
    cost: Cost
    seconds: Mapping[str, float]

    def __getitem__(self, at: tuple[str, str]) -> Interval:
        """The mean and its interval of one method by one metric: `evaluation["grad-cam", "deletion"]`."""
        method, metric = at
        titles = [column.title for column in self.columns]
        if method not in self.methods or metric not in titles:
            raise NotFound(
                f"There must be a method and a metric called {method!r} and {metric!r}; there are "
                f"{', '.join(self.methods)} and {', '.join(titles)}."
            )
        return self.intervals[self.methods.index(method)][titles.index(metric)]

    @cached_property
    def intervals(self) -> list[list[Interval]]:
        """The mean over pictures and its 95 % bootstrap interval, by method and metric."""
        return [[bootstrap(row) for row in rows] for rows in self.values]

    @cached_property
    def differences(self) -> tuple[Difference, ...]:
        """All pairs of methods by each metric, on the same pictures; p corrected by Holm within a metric."""
        found = []
        for j, column in enumerate(self.columns):
            pairs = list(combinations(range(len(self.methods)), 2))
            tests = [paired(self.values[a, j], self.values[b, j]) for a, b in pairs]
            adjusted = holm([p for _, p in tests])
            found += [
                Difference(self.methods[a], self.methods[b], column.title, mean, p, corrected)
                for (a, b), (mean, p), corrected in zip(pairs, tests, adjusted, strict=True)
            ]
        return tuple(found)

    @cached_property
    def totals(self) -> list[list[Totals]]:
        """Sums that add up exactly over shards, by method and metric."""
        return [
            [
                Totals.of(row, get_metric(column.name).range)
                for row, column in zip(rows, self.columns, strict=True)
            ]
            for rows in self.values
        ]

    def best(self, metric: str) -> tuple[str, ...]:
        """The methods that no other beats by one metric beyond chance (p after Holm below .05).

        Empty where neither direction of the metric is better.
        """
        column = next((one for one in self.columns if one.title == metric), None)
        if column is None:
            raise NotFound(f"There must be a metric called {metric!r}.")
        if column.higher_is_better is None:
            return ()
        sign = 1 if column.higher_is_better else -1
        beaten = set()
        for one in self.differences:
            if one.metric == metric and one.adjusted < 0.05 and one.mean.mean is not None:
                beaten.add(one.b if sign * one.mean.mean > 0 else one.a)
        return tuple(method for method in self.methods if method not in beaten)

    def __repr__(self) -> str:
        return (
            f"Evaluation({len(self.methods)} methods by {len(self.columns)} metrics over "
            f"{len(self.pictures)} pictures, {self.model})"
        )

    def __str__(self) -> str:
        return self.markdown()

    def markdown(self) -> str:
        """The table in Markdown, with each metric's protocol below."""
        head = ["method", *(f"{c.title} {_arrow(c)}".strip() for c in self.columns), "seconds"]
        lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        for method, row in zip(self.methods, self.intervals, strict=True):
            cells = [method, *map(str, row), f"{self.seconds[method]:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
        lines.append(
            f"Means over {len(self.pictures)} pictures with 95 % bootstrap intervals; {self.model}. "
            "↑ higher is better, ↓ lower is better."
        )
        lines += [f"- {self._protocol(column)}" for column in self.columns]
        reasons = sorted(set(self.missing.values()))
        lines += [f"- no value ({self._count(reason)} times): {reason}" for reason in reasons]
        return "\n".join(lines)

    def _protocol(self, column: Column) -> str:
        options = ", ".join(f"{name} {value}" for name, value in column.protocol.items())
        return f"{column.name}: of the {column.output}{'; ' if options else ''}{options}"

    def _count(self, reason: str) -> int:
        return sum(text == reason for text in self.missing.values())

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(c.title)} {_arrow(c)}</th>" for c in self.columns)
        rows = "".join(
            f"<tr><th>{escape(method)}</th>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
            for method, row in zip(self.methods, self.intervals, strict=True)
        )
        return f"<table><tr><th></th>{head}</tr>{rows}</table>"

    def rows(self) -> list[dict[str, Any]]:
        """One record for each picture, method and metric: the value, or None and the reason."""
        return [
            {
                "picture": picture,
                "label": self.labels[k],
                "method": method,
                "metric": column.title,
                "value": float(self.values[i, j, k]) if (i, j, k) not in self.missing else None,
                "reason": self.missing.get((i, j, k), ""),
            }
            for k, picture in enumerate(self.pictures)
            for i, method in enumerate(self.methods)
            for j, column in enumerate(self.columns)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        return {
            "format": "pellucid.evaluation",
            "schema_version": 1,
            "model": self.model,
            "pictures": list(self.pictures),
            "methods": [
                {
                    "method": method,
                    "seconds": self.seconds[method],
                    "metrics": {c.title: vars(cell) for c, cell in zip(self.columns, row, strict=True)},
                }
                for method, row in zip(self.methods, self.intervals, strict=True)
            ],
            "metrics": [
                {
                    "title": c.title,
                    "name": c.name,
                    "higher_is_better": c.higher_is_better,
                    "output": c.output,
                    "protocol": {name: str(value) for name, value in c.protocol.items()},
                    "best": list(self.best(c.title)),
                }
                for c in self.columns
            ],
            "differences": [{**vars(one), "mean": vars(one.mean)} for one in self.differences],
            "values": self.rows(),
            "cost": vars(self.cost),
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes one file by its suffix, whole or not at all: .csv, .json, .md or .parquet.

        CSV and Parquet hold one row for each picture, method and metric; JSON all of it, Markdown the table.

        Raises:
            InvalidValue: another suffix.
            ExtraMissing: .parquet without pyarrow.
        """
        return save_by_suffix(
            path,
            {
                ".csv": lambda file: file.write_text(self._csv(), encoding="utf-8"),
                ".json": lambda file: file.write_text(self._json(), encoding="utf-8"),
                ".md": lambda file: file.write_text(self.markdown() + "\n", encoding="utf-8"),
                ".parquet": self._parquet,
            },
        )

    def _json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def _csv(self) -> str:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(self.rows()[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return stream.getvalue()

    def _parquet(self, file: Path) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise ExtraMissing(
                f"Parquet files need pyarrow ({error}): pip install 'pellucid[tables]', or save .csv."
            ) from None
        parquet.write_table(pyarrow.Table.from_pylist(self.rows()), file)


def _arrow(column: Column) -> str:
    return {True: "↑", False: "↓", None: ""}[column.higher_is_better]


def assembled(
    model: str,
    methods: tuple[str, ...],
    columns: tuple[Column, ...],
    results: list[Mapping[str, Any]],
) -> Evaluation:
    """The evaluation of pictures whose results lie in plain records, as the file of a run holds them."""
    values = torch.full(
        (len(methods), len(columns), len(results)), torch.nan, dtype=torch.float64, device="cpu"
    )
    missing: dict[tuple[int, int, int], str] = {}
    cost = Cost()
    seconds = dict.fromkeys(methods, 0.0)
    for k, result in enumerate(results):
        cost += Cost(**result["cost"])
        for i, method in enumerate(methods):
            seconds[method] += result["seconds"].get(method, 0.0) / len(results)
            for j, value in enumerate(result["values"][i]):
                if isinstance(value, str):
                    missing[i, j, k] = value
                else:
                    values[i, j, k] = value
    return Evaluation(
        model,
        methods,
        columns,
        tuple(result["picture"] for result in results),
        tuple(result["label"] for result in results),
        values,
        missing,
        cost,
        seconds,
    )
