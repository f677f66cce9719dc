"""The evidence of a run's rows, read once: some pictures of each class drawn, the rest summed."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.audit.core import Sums, distance
from pellucid.audit.evidence import Evidence, box_cover, margin_of, to_cells
from pellucid.audit.findings import Odd
from pellucid.errors import InvalidValue

COLUMNS = (
    "row", "id", "label", "label_index", "boxes", "prediction", "prediction_label", "probability", "method",
    "target", "map", "map_shape", "map_scale", "input_height", "input_width", "seen", "inside", "error",
)  # fmt: skip
"""What is read of each row."""
MOST = 200_000
"""Pictures that are held at once, of all classes together."""
KEPT = 1000
"""Pictures kept of those outside their boxes, and of confident mistakes, until they are ranked."""
LISTED = 100
"""Pictures listed of each."""
SURE = 0.5
"""The probability from which a mistake is confident."""
_UNKNOWN = 1 << 24  # the number of the first class that the model does not have
Rows = Iterable[tuple[Sequence[Mapping[str, Any]], Sequence[Float[Tensor, "..."] | None]]]
"""Rows of a run, some at a time, and their maps."""


@dataclass(frozen=True)
class _Drawn:
    """One picture that is kept."""

    row: int
    id: str
    grid: Tensor
    prediction: int
    probability: float
    cover: Tensor | None


@dataclass
class Collector:
    """Reads rows of a run and keeps what an audit needs; memory does not grow with the run.

    Of each class the pictures with the lowest numbers are kept that a hash of the seed and of each picture's
    row gives: a draw that depends neither on their order nor on how they were divided.

    Args:
        method: the title of the method whose maps are read.
        grid: cells along a side; fewer where inputs have fewer pixels.
        per_class: the most pictures of a class that are drawn.
        seed: of the draw.
    """

    method: str
    grid: int = 16
    per_class: int = 400
    seed: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    _names: dict[int, str] = field(default_factory=dict)
    _unknown: dict[str, int] = field(default_factory=dict)
    _drawn: dict[int, list[tuple[int, int, _Drawn]]] = field(default_factory=dict)
    _sums: dict[int, Tensor] = field(default_factory=dict)
    _sizes: Counter[int] = field(default_factory=Counter)
    _targets: dict[int, Counter[int]] = field(default_factory=dict)
    _outside: list[tuple[float, int, Odd]] = field(default_factory=list)
    _mistakes: list[tuple[float, int, Odd, int]] = field(default_factory=list)
    _shapes: Counter[tuple[int, int]] = field(default_factory=Counter)
    _held: int = 0
    _begun: bool = False
    _share: int = 0

    def read(self, rows: Rows) -> "Collector":
        """Takes all rows in."""
        self._share = self.per_class
        for some, maps in rows:
            for row, map in zip(some, maps, strict=True):
                if row["method"] == self.method:
                    self._take(row, map)
        return self

    def _take(self, row: Mapping[str, Any], map: Tensor | None) -> None:
        self.counts["in the run"] += 1
        if row["error"] is not None or map is None:
            self.counts["failed"] += 1
            return
        if not self._begun:
            self._begun = True
            self.grid = min(self.grid, *(row[side] or self.grid for side in ("input_height", "input_width")))
        number = self._number(row)
        target, prediction = row["target"], row["prediction"]
        grid = to_cells(map, self.grid)
        self._shapes[int(map.shape[-2]), int(map.shape[-1])] += 1
        if (
            row["label_index"] is not None
            and prediction
            not in (
                None,
                row["label_index"],
            )
            and target == prediction
        ):
            self._mistake(row, grid)
        if number < _UNKNOWN and target is not None and target != number:
            self.counts["of another target"] += 1
            return
        self._sizes[number] += 1
        if not grid.sum() > 0:
            self.counts["without evidence"] += 1
            return
        if number >= _UNKNOWN and target is not None:
            self._targets.setdefault(number, Counter())[target] += 1
        total = self._sums.setdefault(number, torch.zeros_like(grid, dtype=torch.float64))
        total += grid
        if row["inside"] is not None:
            _keep(self._outside, (1 - row["inside"], -row["row"], _odd(row, grid, 1 - row["inside"])))
        cover = box_cover(row["boxes"], row["seen"], self.grid) if row["boxes"] and row["seen"] else None
        self._draw(
            number,
            _Drawn(
                row["row"],
                row["id"] or str(row["row"]),
                grid,
                -1 if prediction is None else prediction,
                float("nan") if row["probability"] is None else row["probability"],
                cover,
            ),
        )

    def _number(self, row: Mapping[str, Any]) -> int:
        """The class of a picture, and what it is called."""
        if row["label_index"] is not None:
            number, name = row["label_index"], row["label"]
        elif row["label"] is not None:
            name = row["label"]
            number = self._unknown.setdefault(name, _UNKNOWN + len(self._unknown))
        else:
            number = 0 if row["prediction"] is None else row["prediction"]
            name = row["prediction_label"] or f"class {number}"
        self._names.setdefault(number, str(name))
        return int(number)

    def _draw(self, number: int, one: _Drawn) -> None:
        """Keeps a picture if its number is among the lowest of its class."""
        heap = self._drawn.setdefault(number, [])
        entry = (-_hash(one.row, self.seed), one.row, one)
        if len(heap) < self._share:
            heapq.heappush(heap, entry)
            self._held += 1
        else:
            heapq.heappushpop(heap, entry)
        if self._held > MOST:
            self._share = max(1, self._share * 4 // 5)
            for held in self._drawn.values():
                while len(held) > self._share:
                    heapq.heappop(held)
            self._held = sum(map(len, self._drawn.values()))

    def _mistake(self, row: Mapping[str, Any], grid: Tensor) -> None:
        if (row["probability"] or 0.0) >= SURE and grid.sum() > 0:
            odd = _odd(row, grid, 0.0)
            _keep(self._mistakes, (row["probability"], -row["row"], odd, row["prediction"]))

    @property
    def evidence(self) -> Evidence:
        """What was drawn.

        Raises:
            InvalidValue: nothing was.
        """
        if not self._drawn:
            raise InvalidValue(self._nothing())
        kept = [
            (number, one)
            for number in sorted(self._drawn)
            for _, _, one in sorted(self._drawn[number], key=lambda entry: entry[1])
        ]
        shape = self._shapes.most_common(1)[0][0]
        covers = [one.cover for _, one in kept]
        nowhere = torch.full((self.grid, self.grid), torch.nan, dtype=torch.float32, device="cpu")
        numbers = torch.tensor([number for number, _ in kept], dtype=torch.long, device="cpu")
        return Evidence(
            torch.stack([one.grid for _, one in kept]),
            numbers,
            dict(self._names),
            torch.tensor([one.prediction for _, one in kept], dtype=torch.long, device="cpu"),
            torch.tensor([one.probability for _, one in kept], dtype=torch.float32, device="cpu"),
            torch.tensor([one.row for _, one in kept], dtype=torch.long, device="cpu"),
            [one.id for _, one in kept],
            None
            if all(cover is None for cover in covers)
            else torch.stack([nowhere if cover is None else cover for cover in covers]),
            {number: found.most_common(1)[0][0] for number, found in self._targets.items()},
            margin_of(shape, self.grid),
        )

    @property
    def sums(self) -> Sums:
        """What is known of all pictures."""
        read = sum(map(len, self._drawn.values()))
        notes = []
        if read < sum(self._sizes.values()) - self.counts["without evidence"]:
            notes.append(
                f"Of each class at most {self._share:,} pictures were drawn (seed {self.seed}); the mean "
                "maps are of all."
            )
        means = {number: total / max(1e-12, float(total.sum())) for number, total in self._sums.items()}
        counts = {
            name: self.counts[name]
            for name in ("in the run", "failed", "without evidence", "of another target")
        }
        return Sums(
            {**counts, "read": read},
            means,
            dict(self._sizes),
            [one for _, _, one in sorted(self._outside, key=lambda e: (-e[0], -e[1]))][:LISTED],
            list(self._ranked(means))[:LISTED],
            notes,
        )

    def _ranked(self, means: Mapping[int, Tensor]) -> Iterator[Odd]:
        """The mistakes by how far their evidence differs from that of what is rightly taken for the class."""
        found = [
            replace(
                odd, value=distance(torch.tensor(odd.grid, dtype=torch.float64, device="cpu"), means[number])
            )
            for _, _, odd, number in self._mistakes
            if number in means
        ]
        yield from sorted(found, key=lambda one: (-one.value, one.row))

    def _nothing(self) -> str:
        """Why there is nothing to audit."""
        counts = self.counts
        if not counts["in the run"]:
            return f"There must be rows of {self.method}; the run has none yet."
        return (
            f"There must be a picture with evidence for its class; of {counts['in the run']} rows "
            f"{counts['failed']} failed, {counts['of another target']} explain another class, and "
            f"{counts['without evidence']} have no evidence for it."
        )


def _keep(heap: list[Any], entry: tuple[Any, ...]) -> None:
    """Keeps the highest."""
    if len(heap) < KEPT:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)


def _odd(row: Mapping[str, Any], grid: Tensor, value: float) -> Odd:
    return Odd(
        row["row"],
        row["id"] or str(row["row"]),
        row["label"] or "",
        row["prediction_label"] or "",
        row["probability"],
        value,
        [[round(cell, 6) for cell in cells] for cells in grid.tolist()],
    )


def _hash(row: int, seed: int) -> int:
    """A number of 64 bits that looks random: SplitMix64's finaliser.

    Source:
        Steele, Lea & Flood 2014, Fast splittable pseudorandom number generators (OOPSLA).
    """
    mask = (1 << 64) - 1
    z = (row * 0x9E3779B97F4A7C15 + (seed + 1) * 0xD1B54A32D192ED03) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)
