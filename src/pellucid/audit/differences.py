"""The verb `diff`: where decisions and evidence of two models moved, on the same pictures."""

import heapq
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.audit import difference_page
from pellucid.audit.pairing import Kept, Pairing, Rows
from pellucid.errors import InvalidValue, short_traceback
from pellucid.files import save_by_suffix
from pellucid.grain import in_cells
from pellucid.intervals import Interval, mcnemar, mean_interval, paired, proportion
from pellucid.runner.schema import arrow

if TYPE_CHECKING:
    import pyarrow

WRITTEN = (".html", ".json", ".md", ".parquet")
"""What `Diff.save` writes."""
FEW = 5
"""A class of fewer pictures is listed after all others."""
_PART = 4096  # pairs whose numbers are gathered before they become Arrow


@short_traceback
def diff(
    run_a: Any,
    run_b: Any,
    *,
    method: str | None = None,
    target: str | None = None,
    control: Any = None,
    top: int = 20,
    seed: int = 0,
) -> "Diff":
    """Where decisions and evidence moved between two models, or two states of one, on the same pictures.

    Pictures are matched by their digest, else by their id. Evidence is added up in cells of one grid over the
    part of the picture that both models saw, 14 to its longer side or fewer where a map is coarser, and
    signed shares of it are compared:

        movement = 1/2 sum_i |a_i / sum_j |a_j| - b_i / sum_j |b_j||

    This is the total variation of the two: the share of the evidence that would have to be moved to make one
    map the other. 0 is the same map up to a factor, 1 has no cell in common; evidence that changes its sign
    has moved, and a map without evidence has moved wholly unless both have none. It does not depend on the
    scale of scores, which differs between models, and weighs cells by their evidence, where a rank
    correlation weighs those that hold none alike.

    Args:
        run_a: the first run: a folder, a `pellucid.Run`, or an Arrow table of a run's columns.
        run_b: the second.
        method: which, by its title or name, where a run has several; "grad-cam" is found in one run as
            "grad-cam:layer=layer3" and in the other as "grad-cam".
        target: which, as it was written, where a run has several.
        control: a third run that differs from the first in nothing that matters, such as the seed of the
            training: how far maps move anyway.
        top: how many pictures are kept with both maps.
        seed: of the bootstrap.

    Returns:
        A `Diff`: `.movement`, `.flips`, `.classes`, `.pictures` ranked, `.save("diff.html")`.

    Raises:
        InvalidValue: runs of no common picture, of several methods or targets where none is named, or without
            maps.
        InvalidType, FileMissing: no run.
        ExtraMissing: pyarrow is not installed.

    Cost:
        One reading of both runs, about a millisecond a picture whose maps are of a layer. Memory holds the
        numbers of each picture, about 100 bytes, and the maps of `top`.

    Source:
        Levin, Peres and Wilmer 2017, Markov Chains and Mixing Times, section 4.1 (total variation).

    Example:
        >>> import pellucid, tempfile
        >>> x = torch.rand(4, 3, 8, 8)
        >>> def run(folder, seed):
        ...     torch.manual_seed(seed)
        ...     net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
        ...     return pellucid.run(net, x, "saliency", store=folder, progress=False)
        >>> with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        ...     a, b = run(one, 0), run(other, 1)
        ...     pellucid.diff(a, a).movement.mean, pellucid.diff(a, b).movement.mean > 0.1
        (0.0, True)
    """
    arrow()
    if isinstance(top, bool) or not isinstance(top, int) or top < 0:
        raise InvalidValue(f"top must be a whole number, at least 0; got {top!r}.")
    a, b = Rows.of(run_a, "run a"), Rows.of(run_b, "run b")
    pairing = _pairing(a, b, method, target)
    found = Gathered(top)
    for pair in pairing:
        found.take(*pair)
    if not found.count:
        raise InvalidValue(
            f"Both runs must explain some of the same pictures; {a.name} has {pairing.only_a} with a map, "
            f"{b.name} {pairing.only_b}, and none has the digest or id of another. Runs made with "
            "maps='none' have none."
        )
    table = found.table()
    return Diff(
        a=a.name,
        b=b.name,
        method_a=pairing.method_a,
        method_b=pairing.method_b,
        target=pairing.target_a,
        matched=found.count,
        only_a=pairing.only_a,
        only_b=pairing.only_b,
        failed_a=pairing.failed_a,
        failed_b=pairing.failed_b,
        movement=mean_interval(numbers(table, "movement"), seed),
        same_class=mean_interval(numbers(table, "movement")[_same(table)], seed),
        score=mean_interval(numbers(table, "score_change"), seed),
        flips=Flips.of(table, seed),
        classes=tuple(classes(table, seed)),
        pictures=tuple(found.moved.best()),
        flipped=tuple(found.flipped.best()),
        control=None if control is None else _control(a, control, table, method, target, seed),
        numbers=table,
        sources=(a, b),
    )


def _pairing(a: Rows, b: Rows, method: str | None, target: str | None) -> Pairing:
    return Pairing(
        a,
        b,
        a.chosen("method", method),
        b.chosen("method", method),
        a.chosen("target_asked", target),
        b.chosen("target_asked", target),
    )


def movement(a: Float[Tensor, " cells"], b: Float[Tensor, " cells"]) -> float:
    """The share of evidence that would have to be moved to make one map the other: see `diff`.

    Example:
        >>> a, b = torch.tensor([3.0, 1.0, 0.0]), torch.tensor([0.0, 1.0, 3.0])
        >>> movement(a, b), movement(a, 10 * a), movement(a, -a), movement(a, 0 * a), movement(0 * a, 0 * a)
        (0.75, 0.0, 1.0, 1.0, 0.0)
    """
    one, other = a.double(), b.double()
    total, others = float(one.abs().sum()), float(other.abs().sum())
    if total == 0 or others == 0:
        return float(total != others)
    return 0.5 * float((one / total - other / others).abs().sum())


def movement_between(a: Kept, b: Kept) -> float:
    """The movement between the maps of one picture, in cells of the part that both models saw."""
    if a.map is None or b.map is None:
        return float("nan")
    one, other = in_cells([a.map, b.map], [a.box, b.box], a.size)
    return movement(one, other)


# --- gathering ----------------------------------------------------------------------------------------------

FIELDS = (
    "id", "row_a", "row_b", "class", "movement", "target_a", "target_b", "score_a", "score_b", "score_change",
    "prediction_a", "prediction_b", "probability_a", "probability_b", "flipped", "right_a", "right_b",
)  # fmt: skip
"""The columns of `Diff.numbers`, one row a picture."""


class Gathered:
    """The numbers of all pairs, and the pairs of the largest changes with their maps."""

    def __init__(self, top: int) -> None:
        self.moved, self.flipped = Largest(top), Largest(top)
        self.count = 0
        self.part: list[dict[str, Any]] = []
        self.parts: list[Any] = []

    def take(self, a: Kept, b: Kept) -> None:
        """Takes one pair."""
        numbers = self._numbers(a, b)
        self.count += 1
        self.part.append(numbers)
        if len(self.part) >= _PART:
            self._close()
        moved = Moved.of(numbers, a, b)
        self.moved.take(numbers["movement"], moved)
        if numbers["flipped"]:
            sure = (numbers["probability_a"] or 0.0) + (numbers["probability_b"] or 0.0)
            self.flipped.take(sure, moved)

    @staticmethod
    def _numbers(a: Kept, b: Kept) -> dict[str, Any]:
        one, other = a.row, b.row
        target_a, target_b = _name(one, "target"), _name(other, "target")
        before, after = _name(one, "prediction"), _name(other, "prediction")
        comparable = target_a == target_b and one["output"] == other["output"]
        scores = one["score"], other["score"]
        change = scores[1] - scores[0] if comparable and None not in scores else None
        label = one["label"] if one["label"] is not None else other["label"]
        values = (
            one["id"], one["row"], other["row"], label if label is not None else before or target_a,
            movement_between(a, b), target_a, target_b, one["score"], other["score"], change, before, after,
            one["probability"], other["probability"], before != after if before and after else None,
            _right(one), _right(other),
        )  # fmt: skip
        return dict(zip(FIELDS, values, strict=True))

    def _close(self) -> None:
        if self.part:
            self.parts.append(arrow().RecordBatch.from_pylist(self.part, schema=_schema()))
            self.part = []

    def table(self) -> "pyarrow.Table":
        """All numbers."""
        self._close()
        return arrow().Table.from_batches(self.parts, schema=_schema())


def _schema() -> "pyarrow.Schema":
    pa = arrow()
    text, real, whole, truth = pa.dictionary(pa.int32(), pa.string()), pa.float64(), pa.int64(), pa.bool_()
    kinds = {
        "id": pa.string(), "row_a": whole, "row_b": whole, "class": text, "target_a": text, "target_b": text,
        "prediction_a": text, "prediction_b": text, "flipped": truth, "right_a": truth, "right_b": truth,
    }  # fmt: skip
    return pa.schema([pa.field(name, kinds.get(name, real)) for name in FIELDS])


def _name(row: Mapping[str, Any], what: str) -> str | None:
    """A class by its name, which two models share, else by its number."""
    label, index = row[f"{what}_label"], row[what]
    return label if label is not None else None if index is None else f"class {index}"


def _right(row: Mapping[str, Any]) -> bool | None:
    """Whether the prediction is the picture's label; None where either is not known."""
    if row["prediction"] is None or (row["label"] is None and row["label_index"] is None):
        return None
    if row["label_index"] is not None:
        return bool(row["label_index"] == row["prediction"])
    return row["label"] in (row["prediction_label"], str(row["prediction"]))


class Largest:
    """The entries of the largest keys, however many come; ties go to those that came first."""

    def __init__(self, most: int) -> None:
        self.most, self.heap, self._turn = most, [], count()  # type: ignore[var-annotated]

    def take(self, key: float, entry: "Moved") -> None:
        """Takes one."""
        if self.most and key == key:
            item = (key, -next(self._turn), entry)
            if len(self.heap) < self.most:
                heapq.heappush(self.heap, item)
            else:
                heapq.heappushpop(self.heap, item)

    def best(self) -> list["Moved"]:
        """Them, the largest first."""
        return [entry for *_, entry in sorted(self.heap, key=lambda item: item[:2], reverse=True)]


# --- what comes out -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Moved:
    """One picture in both runs.

    Attributes:
        id: the picture's. `row_a`, `row_b`: its number in either run.
        label: its class.
        movement: see `diff`.
        target_a, target_b: what was explained. score_a, score_b: of it.
        prediction_a, prediction_b, probability_a, probability_b: what either model says.
        flipped: whether these differ; None for models without classes.
        right_a, right_b: whether that is the picture's label; None where it has none.
        a, b: the rows and maps.
    """

    id: str
    row_a: int | None
    row_b: int | None
    label: str | None
    movement: float
    target_a: str | None
    target_b: str | None
    score_a: float | None
    score_b: float | None
    prediction_a: str | None
    prediction_b: str | None
    probability_a: float | None
    probability_b: float | None
    flipped: bool | None
    right_a: bool | None
    right_b: bool | None
    a: Kept = field(repr=False)
    b: Kept = field(repr=False)

    @classmethod
    def of(cls, numbers: Mapping[str, Any], a: Kept, b: Kept) -> "Moved":
        """From the numbers of a pair."""
        known = {name: value for name, value in numbers.items() if name not in ("class", "score_change")}
        return cls(**known, label=numbers["class"], a=a, b=b)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON, with both maps."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("a", "b")}
        sides = {"map_a": self.a.map, "map_b": self.b.map}
        maps = {name: map.tolist() for name, map in sides.items() if map is not None}
        return {**plain, **maps}


@dataclass(frozen=True)
class Flips:
    """How many predictions changed.

    Attributes:
        share: of those pictures for which both models say a class, with Wilson's interval.
        count: how many.
        to_wrong: how many were right in the first run and are wrong in the second; `to_right` the reverse.
        accuracy_a, accuracy_b: of either, over the pictures whose label is known; None without.
        gain: accuracy in the second run less that in the first, with a bootstrap interval.
        p: of McNemar's exact test that as many became right as wrong; None without labels.
    """

    share: Interval
    count: int
    to_wrong: int
    to_right: int
    accuracy_a: Interval | None
    accuracy_b: Interval | None
    gain: Interval | None
    p: float | None

    @classmethod
    def of(cls, table: "pyarrow.Table", seed: int) -> "Flips":
        """From the numbers of all pictures."""
        flipped = numbers(table, "flipped")
        known = flipped.isfinite()
        changed = int(flipped[known].sum())
        right_a, right_b = numbers(table, "right_a"), numbers(table, "right_b")
        judged = right_a.isfinite() & right_b.isfinite()
        right_a, right_b = right_a[judged], right_b[judged]
        many = len(right_a)
        lost, won = int((right_a > right_b).sum()), int((right_b > right_a).sum())
        return cls(
            proportion(changed, int(known.sum())),
            changed,
            lost,
            won,
            proportion(int(right_a.sum()), many) if many else None,
            proportion(int(right_b.sum()), many) if many else None,
            mean_interval(right_b - right_a, seed) if many else None,
            mcnemar(lost, won) if many else None,
        )


@dataclass(frozen=True)
class ClassChange:
    """One class: pictures with its label, or, without labels, predicted as it in the first run.

    Attributes:
        name: the class.
        count: its pictures.
        movement: the mean, with its interval.
        flips: the share of changed predictions.
        score: the mean change of scores of the same class and kind.
        gain: of accuracy; None without labels.
    """

    name: str
    count: int
    movement: Interval
    flips: Interval
    score: Interval
    gain: Interval | None


def classes(table: "pyarrow.Table", seed: int) -> list[ClassChange]:
    """The classes, those first whose evidence surely moved most: by the low end of the interval."""
    codes, names = _codes(table)
    moved, flipped, score = (numbers(table, name) for name in ("movement", "flipped", "score_change"))
    gained = numbers(table, "right_b") - numbers(table, "right_a")
    order = codes.argsort(stable=True)
    counts = torch.bincount(codes, minlength=len(names)).tolist()
    found = []
    for name, rows in zip(names, order.split(counts), strict=True):
        if not len(rows):
            continue
        known = flipped[rows][flipped[rows].isfinite()]
        gain = gained[rows]
        found.append(
            ClassChange(
                name,
                len(rows),
                mean_interval(moved[rows], seed),
                proportion(int(known.sum()), len(known)),
                mean_interval(score[rows], seed),
                mean_interval(gain, seed) if bool(gain.isfinite().any()) else None,
            )
        )
    return sorted(found, key=lambda one: (one.count < FEW, -(one.movement.low or 0.0), one.name))


def _codes(table: "pyarrow.Table") -> tuple[Tensor, list[str]]:
    """The class of each picture by number, and what they are called; "no class" for none."""
    column = table.column("class").cast("string").fill_null("no class").dictionary_encode()
    whole = column.combine_chunks()
    codes = torch.from_numpy(whole.indices.to_numpy(zero_copy_only=False).astype("int64"))
    return codes, whole.dictionary.to_pylist()


def numbers(table: "pyarrow.Table", name: str) -> Float[Tensor, " N"]:
    """A column as float64, NaN where it is null."""
    column = table.column(name).cast("float64") if name not in _TRUTHS else table.column(name).cast("int8")
    return torch.from_numpy(column.cast("float64").to_numpy().astype("float64").copy())


_TRUTHS = ("flipped", "right_a", "right_b")


def _same(table: "pyarrow.Table") -> Tensor:
    """Of which pictures both runs explain the same class."""
    from pyarrow import compute

    one, other = (table.column(name).cast("string") for name in ("target_a", "target_b"))
    same = compute.fill_null(compute.equal(one, other), False)
    return torch.from_numpy(same.to_numpy().astype("bool").copy())


@dataclass(frozen=True)
class Control:
    """How far maps move where nothing that matters differs.

    Attributes:
        name: the run.
        movement: the mean between the first run and it, with its interval.
        excess: by how much more the second run's maps moved, on the same pictures; None without any.
        p: of the test that flips the signs of these differences.
        beyond: the share of pictures that moved more than 95 % of the control's did.
    """

    name: str
    movement: Interval
    excess: Interval
    p: float
    beyond: Interval


def _control(
    a: Rows, source: Any, table: "pyarrow.Table", method: str | None, target: str | None, seed: int
) -> Control:
    """The first run against a control."""
    other = Rows.of(source, "control")
    found = Gathered(0)
    for pair in _pairing(a, other, method, target):
        found.take(*pair)
    if not found.count:
        raise InvalidValue(f"The control must explain pictures of {a.name}; {other.name} has none of them.")
    theirs = found.table()
    by_row = dict(zip(theirs.column("row_a").to_pylist(), numbers(theirs, "movement").tolist(), strict=True))
    anyway = torch.tensor(
        [by_row.get(row, float("nan")) for row in table.column("row_a").to_pylist()],
        dtype=torch.float64, device="cpu",
    )  # fmt: skip
    moved = numbers(table, "movement")
    control = numbers(theirs, "movement")
    limit = float(control.sort().values[min(len(control) - 1, int(0.95 * len(control)))])
    excess, p = _difference(moved, anyway, seed)
    return Control(
        other.name,
        mean_interval(control, seed),
        excess,
        p,
        proportion(int((moved > limit).sum()), len(moved)),
    )


FEW_ENOUGH = 2000
"""Of more pairs the sign-flip test would take gigabytes; the normal approximation is as good."""


def _difference(a: Float[Tensor, " N"], b: Float[Tensor, " N"], seed: int) -> tuple[Interval, float]:
    """The mean of a - b over pictures that have both, and p of a mean of zero, two-sided."""
    known = (a - b)[(a - b).isfinite()]
    if len(known) <= FEW_ENOUGH:
        return paired(a, b, seed)
    z = known.mean().abs() / (known.std() / len(known) ** 0.5)
    return mean_interval(known, seed), float(torch.erfc(z / 2**0.5))


@dataclass(frozen=True, eq=False)
class Diff:
    """Where two runs differ: what `pellucid.diff` gives.

    Attributes:
        a, b: the runs. method_a, method_b: by which method. target: what was explained, as it was written.
        matched: pictures in both; `only_a`, `only_b` are in one alone, `failed_a`, `failed_b` have no map.
        movement: the mean share of evidence that moved, with its 95 % interval; `same_class` over pictures
            of which both explain the same class.
        score: the mean change of scores, where class and kind are the same.
        flips: changed predictions.
        classes: a `ClassChange` each, ranked by how far evidence surely moved.
        pictures: those whose evidence moved most, with both maps; `flipped` those of changed predictions, of
            which both models are surest.
        control: how far maps move anyway; None without a control.
        numbers: an Arrow table, one row a picture.
    """

    a: str
    b: str
    method_a: str
    method_b: str
    target: str
    matched: int
    only_a: int
    only_b: int
    failed_a: int
    failed_b: int
    movement: Interval
    same_class: Interval
    score: Interval
    flips: Flips
    classes: tuple[ClassChange, ...]
    pictures: tuple[Moved, ...]
    flipped: tuple[Moved, ...]
    control: Control | None
    numbers: "pyarrow.Table" = field(repr=False)
    sources: tuple[Rows, Rows] = field(repr=False)

    def __repr__(self) -> str:
        return f"Diff({self.matched} pictures, movement {self.movement}, {self.flips.count} flips)"

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found, in words."""
        return tuple(difference_page.sentences(self))

    def markdown(self) -> str:
        """The findings and the tables, in Markdown."""
        return difference_page.markdown(self)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON; maps of the ranked pictures alone."""
        plain = {
            name: getattr(self, name)
            for name in (
                "a", "b", "method_a", "method_b", "target", "matched", "only_a", "only_b", "failed_a",
                "failed_b",
            )
        }  # fmt: skip
        return {
            **plain,
            "sentences": list(self.sentences),
            **{name: asdict(getattr(self, name)) for name in ("movement", "same_class", "score", "flips")},
            "control": None if self.control is None else asdict(self.control),
            "classes": [asdict(one) for one in self.classes],
            "pictures": [one.to_dict() for one in self.pictures],
            "flipped": [one.to_dict() for one in self.flipped],
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes one file by its suffix: .html, .json, .md, or .parquet with the numbers of every picture.

        Raises:
            InvalidValue: another suffix.
            NotWritten: no room, no permission.
        """
        return save_by_suffix(
            path,
            {
                ".html": lambda file: file.write_text(difference_page.page(self), encoding="utf-8"),
                ".json": lambda file: file.write_text(json.dumps(self.to_dict(), indent=1), encoding="utf-8"),
                ".md": lambda file: file.write_text(self.markdown(), encoding="utf-8"),
                ".parquet": self._parquet,
            },
        )

    def _parquet(self, file: Path) -> None:
        from pyarrow import parquet

        parquet.write_table(self.numbers, file)
