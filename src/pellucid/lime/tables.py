"""LIME for tables: which conditions on the features of a row a prediction rests on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import InvalidType, InvalidValue
from pellucid.lime.predictions import Mode, Numbers
from pellucid.lime.records import Feature
from pellucid.lime.result import LocalExplanation
from pellucid.lime.sampling import explain
from pellucid.methods.perturb import surrogate
from pellucid.methods.perturb.surrogate import Selection

Discretize = Literal["quartile", "decile"] | None
CategoryNames = Mapping[int | str, Sequence[str]]

_BORDERS = {"quartile": (25, 50, 75), "decile": tuple(range(10, 100, 10))}  # percentiles between bins


def tabular(
    predict_proba: Callable[[Numbers], Any],
    row: Any,
    training_data: Any,
    *,
    feature_names: Sequence[str] | None = None,
    categorical_features: Sequence[int | str] = (),
    category_names: CategoryNames | None = None,
    discretize: Discretize = "quartile",
    around_row: bool = False,
    labels: int | str | Sequence[int | str] | None = None,
    top_labels: int = 1,
    class_names: Sequence[str] | None = None,
    features: int | None = 10,
    selection: Selection = "auto",
    samples: int | Literal["auto"] = 5000,
    tolerance: float = 0.1,
    kernel_width: float | None = None,
    ridge: float = 1.0,
    mode: Mode = "classification",
    seed: int = 0,
    batch_size: int = 1024,
    progress: bool | None = None,
) -> LocalExplanation:
    """Which conditions on its features speak for a row's class and which against it (arXiv:1602.04938).

    Neighbours draw each feature on its own: a category as often as in the training data; a number by the
    quartile it falls into, and within it from a normal distribution cut to its borders. A ridge on whether
    a neighbour shares the row's category or quartile, weighted by exp(-d^2 / 2 width^2) with d the Euclidean
    distance, gives each condition its weight: about how much of the probability it brings. Given the same
    neighbours, coefficients equal those of the lime package.

    Args:
        predict_proba: gives class probabilities, (n, classes), for rows (n, d) of float64.
        row: what to explain, d numbers.
        training_data: (n, d) numbers, an array, tensor or data frame: what the neighbours resemble.
        feature_names: names of the d columns; a data frame brings its own.
        categorical_features: columns, by index or name, whose numbers stand for categories.
        category_names: for such a column, by index or name, what its numbers 0, 1, ... are called.
        discretize: "quartile", "decile", or None: then numbers are drawn from the normal distribution of
            their column, and weights are those of one standard deviation more.
        around_row: with `discretize=None`, draw around the row instead of around the mean.
        kernel_width: how fast the weight of neighbours falls; None means 0.75 sqrt(d).
        mode: "regression" explains a function that gives one number per row.
        batch_size: rows per call of `predict_proba`.
        labels: as of `pellucid.lime.text`, and so are the options that follow.
        top_labels: how many of the likeliest classes.
        class_names: what the classes are called.
        features: how many features get a weight; None means all.
        selection: how they are chosen.
        samples: how many neighbours, the row itself among them, or "auto".
        tolerance: for "auto".
        ridge: the penalty of the surrogate.
        seed: of the neighbours.
        progress: a progress bar; None means if someone is watching.

    Raises:
        InvalidValue: a row of another width than the training data, NaN in either, an option out of range, a
            class that does not exist, or predictions that are no probabilities.
        InvalidType: values that are no numbers.

    >>> data = np.random.default_rng(0).uniform(0, 1, (200, 2))
    >>> def approve(rows):
    ...     yes = np.where(rows[:, 0] > 0.5, 0.9, 0.1)
    ...     return np.stack([1 - yes, yes], 1)
    >>> found = tabular(approve, [0.9, 0.2], data, feature_names=["income", "age"], samples=1000)
    >>> found.as_list()[0][0]
    'income > 0.8133'
    """
    table = Table.of(
        row, training_data, feature_names, categorical_features, category_names or {}, discretize,
        around_row, kernel_width,
    )  # fmt: skip
    by_label, used, warnings = explain(
        table, predict_proba, labels=labels, top_labels=top_labels, class_names=class_names,
        features=features, selection=selection, samples=samples, tolerance=tolerance, ridge=ridge, mode=mode,
        seed=seed, batch_size=batch_size, progress=progress,
    )  # fmt: skip
    described = [Feature(column.condition, value=column.shown) for column in table.columns]
    return LocalExplanation(described, by_label, used, seed, [*table.warnings(), *warnings])


@dataclass(frozen=True, eq=False)
class Groups:
    """A feature as one of several groups of values: categories, or the ranges between borders.

    Attributes:
        condition: that a value is in the row's group, in words.
        shown: the row's value, in words.
        value: the row's value; `group` is the number of its group.
        share: (g,) how often each group occurs in the training data.
        low, high, mean, std: (g,) of the values of each group; categories have a single value.
    """

    condition: str
    shown: str
    value: float
    group: int
    share: Numbers
    low: Numbers
    high: Numbers
    mean: Numbers
    std: Numbers

    @staticmethod
    def categories(name: str, value: float, column: Numbers, names: Sequence[str]) -> "Groups":
        """The categories that occur; a row's own that does not is group -1."""
        values, counts = np.unique(column, return_counts=True)
        known = float(value).is_integer() and 0 <= value < len(names)
        shown = names[int(value)] if known else f"{value:g}"
        group = int(np.flatnonzero(values == value)[0]) if value in values else -1
        spread = np.zeros_like(values)
        return Groups(
            f"{name} = {shown}", shown, value, group, counts / len(column), values, values, values, spread
        )

    @staticmethod
    def ranges(name: str, value: float, column: Numbers, percentiles: Sequence[int]) -> "Groups":
        """The ranges between percentiles of the training data; a border belongs to the range below it."""
        borders = np.unique(np.percentile(column, percentiles))
        groups, group = np.searchsorted(borders, column), int(np.searchsorted(borders, value))
        counts = np.bincount(groups, minlength=len(borders) + 1)
        of = [column[groups == g] if counts[g] else np.zeros(1) for g in range(len(counts))]
        ends = [f"{border:.4g}" for border in borders]
        if group == 0:
            condition = f"{name} <= {ends[0]}"
        elif group == len(borders):
            condition = f"{name} > {ends[-1]}"
        else:
            condition = f"{ends[group - 1]} < {name} <= {ends[group]}"
        return Groups(
            condition, f"{value:.4g}", value, group, counts / len(column),
            low=np.array([column.min(), *borders]), high=np.array([*borders, column.max()]),
            mean=np.array([values.mean() for values in of]), std=np.array([values.std() for values in of]),
        )  # fmt: skip

    @property
    def origin(self) -> float:
        """The row shares its own group."""
        return 1.0

    def draw(self, count: int, source: np.random.Generator) -> tuple[Numbers, Numbers]:
        """Groups as often as they occur, then values within: whether it is the row's group, and the value."""
        group = source.choice(len(self.share), count, p=self.share)
        low, high, mean, std = (part[group] for part in (self.low, self.high, self.mean, self.std))
        spread = np.maximum(std, np.finfo(np.float64).tiny)
        # A normal distribution cut to [low, high], by inverting its cumulative distribution function.
        at = [_cdf((end - mean) / spread) for end in (low, high)]
        drawn = mean + std * _inverse_cdf(at[0] + source.random(count) * (at[1] - at[0]))
        values = np.where(std > 0, np.clip(drawn, low, high), mean)
        return (group == self.group).astype(np.float64), values


@dataclass(frozen=True, eq=False)
class Normal:
    """A number as it is, in standard deviations from the mean of the training data."""

    condition: str
    shown: str
    value: float
    mean: float
    std: float
    centre: float  # of the neighbours

    @property
    def origin(self) -> float:
        """The row's value, scaled."""
        return (self.value - self.mean) / self.std

    def draw(self, count: int, source: np.random.Generator) -> tuple[Numbers, Numbers]:
        """Normal values, scaled and as they are."""
        values = self.centre + self.std * source.standard_normal(count)
        return (values - self.mean) / self.std, values


@dataclass(frozen=True, eq=False)
class Table:
    """A row among training data, each feature of which can be drawn anew."""

    columns: list[Groups | Normal]
    width: float

    @staticmethod
    def of(
        row: Any,
        training_data: Any,
        feature_names: Sequence[str] | None,
        categorical_features: Sequence[int | str],
        category_names: CategoryNames,
        discretize: Discretize,
        around_row: bool,
        width: float | None,
    ) -> "Table":
        """The columns as the training data and the options describe them."""
        if discretize is not None and discretize not in _BORDERS:
            raise InvalidValue(f'discretize must be "quartile", "decile" or None; got {discretize!r}.')
        if around_row and discretize is not None:
            raise InvalidValue("around_row draws numbers around the row's: it needs discretize=None.")
        if width is not None and not width > 0:
            raise InvalidValue(f"kernel_width must be positive; got {width}.")
        data, values = _numbers("training_data", training_data, 2), _numbers("row", row, 1)
        if len(values) != data.shape[1]:
            raise InvalidValue(
                f"row must have as many values as training_data has columns, {data.shape[1]}; "
                f"got {len(values)}."
            )
        names = _names(feature_names, training_data, data.shape[1])
        categorical = {_column(feature, names) for feature in categorical_features}
        of = {_column(feature, names): list(given) for feature, given in category_names.items()}
        columns: list[Groups | Normal] = []
        for index, (name, value) in enumerate(zip(names, values.tolist(), strict=True)):
            column = data[:, index]
            if index in categorical:
                columns.append(Groups.categories(name, value, column, of.get(index, [])))
            elif discretize is not None:
                columns.append(Groups.ranges(name, value, column, _BORDERS[discretize]))
            else:
                mean, std = float(column.mean()), float(column.std()) or 1.0
                centre = value if around_row else mean
                columns.append(Normal(name, f"{value:.4g}", value, mean, std, centre))
        return Table(columns, width or 0.75 * len(columns) ** 0.5)

    def warnings(self) -> list[str]:
        """Categories that no neighbour can share."""
        return [
            f"{column.condition} never occurs in the training data, so its weight is unknown."
            for column in self.columns
            if isinstance(column, Groups) and column.group < 0
        ]

    def origin(self) -> tuple[Numbers, Numbers]:
        """The row, as what it shares with itself, and as it is."""
        z = np.array([[column.origin for column in self.columns]])
        return z, np.array([[column.value for column in self.columns]])

    def draw(self, count: int, source: np.random.Generator) -> tuple[Numbers, Numbers]:
        """Rows whose features are drawn independently."""
        drawn = [column.draw(count, source) for column in self.columns]
        return np.stack([z for z, _ in drawn], 1), np.stack([values for _, values in drawn], 1)

    def weights(self, z: Tensor) -> Tensor:
        """The kernel of the Euclidean distance."""
        return surrogate.kernel(surrogate.euclidean_distance(z), self.width)


def _cdf(values: Numbers) -> Numbers:
    return np.asarray(torch.special.ndtr(torch.from_numpy(values)).numpy())


def _inverse_cdf(shares: Numbers) -> Numbers:
    return np.asarray(torch.special.ndtri(torch.from_numpy(shares)).numpy())


def _numbers(name: str, values: Any, axes: int) -> Numbers:
    """An array of finite numbers with so many axes, of which none is empty."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidType(
            f"{name} must hold numbers ({error}): encode categories as 0, 1, ... and name them with "
            "category_names."
        ) from error
    if array.ndim != axes or not array.size:
        shape = "(n, d), a row per example" if axes == 2 else "(d,), one row"
        raise InvalidValue(f"{name} must have shape {shape}, and not be empty; got {array.shape}.")
    if not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise InvalidValue(
            f"{name} must be finite; it holds {array[tuple(where)]} at {where}: fill or drop missing values."
        )
    return array


def _names(feature_names: Sequence[str] | None, training_data: Any, count: int) -> list[str]:
    given = getattr(training_data, "columns", None) if feature_names is None else feature_names
    names = [f"feature {index}" for index in range(count)] if given is None else [str(name) for name in given]
    if len(names) != count or len(set(names)) != count:
        raise InvalidValue(
            f"feature_names must name the {count} columns, all differently; "
            f"got {len(set(names))} names: {names}."
        )
    return names


def _column(feature: int | str, names: list[str]) -> int:
    if isinstance(feature, str) and feature in names:
        return names.index(feature)
    if not isinstance(feature, str) and hasattr(feature, "__index__") and 0 <= feature < len(names):
        return int(feature)
    raise InvalidValue(
        f"A categorical feature must be a column from 0 to {len(names) - 1} or one of "
        f"{', '.join(names[:8])}{', ...' if len(names) > 8 else ''}; got {feature!r}."
    )
