"""The same picture in two runs: rows read as they come, and let go once both of a pair have been met."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, zip_longest
from typing import Any

from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidType, InvalidValue
from pellucid.images import Box, Picture
from pellucid.render.scale import merge_channels
from pellucid.runner.maps import area_mean, decode_map
from pellucid.runner.results import open_run

FINEST = 56
"""Cells of a kept map along its longer side, four to each of the common grid."""
COLUMNS = (
    "row", "id", "digest", "label", "label_index", "width", "height", "prediction", "prediction_label",
    "probability", "method", "target_asked", "target", "target_label", "output", "score", "map", "map_shape",
    "map_scale", "input_height", "input_width", "seen", "error",
)  # fmt: skip
"""What is read of each row."""


@dataclass(frozen=True)
class Rows:
    """The rows of one run, or of a table with the columns of one.

    Attributes:
        name: what the run is called.
        batches: reads some columns, some rows at a time.
        picture: opens the picture of a row; None where that cannot be.
    """

    name: str
    batches: Callable[[Sequence[str]], Iterator[Any]]
    picture: Callable[[int], Picture] | None = None

    @classmethod
    def of(cls, source: Any, name: str) -> "Rows":
        """Of a folder, a `Run` or an Arrow table.

        Raises:
            InvalidType: something else.
            InvalidValue: a table without the columns of a run.
            FileMissing: there is no run in the folder.
        """
        if isinstance(source, str | os.PathLike):
            source = open_run(source)
        if hasattr(source, "to_batches"):  # a table, or a lazy data set
            missing = [column for column in COLUMNS if column not in source.schema.names]
            if missing:
                raise InvalidValue(
                    f"A table must have the columns of a run (pellucid.open_run(DIR).to_arrow() has them); "
                    f"{', '.join(missing)} are missing."
                )
            return cls(name, lambda columns: (b.select(list(columns)) for b in source.to_batches()))
        if hasattr(source, "batches"):
            called = str(getattr(source, "folder", "") or name)
            return cls(called, source.batches, getattr(source, "picture", None))
        raise InvalidType(
            f"A run must be a folder, a pellucid.Run or an Arrow table of its columns; got "
            f"{type(source).__name__}."
        )

    def asked(self, column: str) -> list[str]:
        """The methods, or targets, that there are rows of."""
        found: dict[str, None] = {}
        for batch in self.batches([column]):
            found |= dict.fromkeys(batch.column(column).unique().to_pylist())
        return sorted(name for name in found if name is not None)

    def chosen(self, column: str, wanted: str | None) -> str:
        """The one method or target that is meant; a method by its title, or by its name alone.

        Raises:
            InvalidValue: none, or several.
        """
        there = self.asked(column)
        what = "method" if column == "method" else "target"
        some = there if wanted is None else [one for one in there if wanted in (one, one.partition(":")[0])]
        if wanted in some:
            return str(wanted)
        if len(some) != 1:
            meant = f"; none is {wanted!r}" if wanted is not None and not some else ""
            raise InvalidValue(
                f"There must be one {what} to compare; {self.name} has {', '.join(there) or 'no rows'}{meant}"
                f": say which by {what}=."
            )
        return some[0]


@dataclass(frozen=True, eq=False)
class Kept:
    """What is kept of one row.

    Attributes:
        row: the columns, without the map.
        map: (h, w) the evidence, channels summed, at most `FINEST` cells to a side; None where there is none.
    """

    row: Mapping[str, Any]
    map: Float[Tensor, "h w"] | None

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Kept":
        """Of a row as it was read."""
        map = None if row["map"] is None else coarse(decode_map(row))
        return cls({name: value for name, value in row.items() if not name.startswith("map")}, map)

    @property
    def box(self) -> Box:
        """The part of the picture that the map lies on."""
        left, top, right, bottom = self.row["seen"]
        return Box(left, top, right, bottom)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture."""
        return self.row["width"], self.row["height"]


def coarse(map: Float[Tensor, "..."]) -> Float[Tensor, "h w"]:
    """A stored map with channels summed; one finer than `FINEST` cells is averaged over them.

    Example:
        >>> import torch
        >>> coarse(torch.ones(3, 112, 28)).shape, float(coarse(torch.ones(3, 112, 28)).max())
        (torch.Size([56, 14]), 3.0)
    """
    merged = merge_channels(map[None] if map.ndim == 3 else map[None, None])[0].float()
    height, width = merged.shape
    if max(height, width) <= FINEST:
        return merged
    ratio = FINEST / max(height, width)
    return area_mean(merged, (max(1, round(height * ratio)), max(1, round(width * ratio))))


class Waiting:
    """Rows of one run whose picture has not been met in the other, found by digest and by id."""

    def __init__(self) -> None:
        self.rows: dict[int, Kept] = {}
        self.digests: dict[str, list[int]] = {}
        self.ids: dict[str, list[int]] = {}
        self._turn = count()

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, kept: Kept) -> None:
        """Puts a row with the others."""
        number = next(self._turn)
        self.rows[number] = kept
        for home, key in self._places(kept.row):
            home.setdefault(key, []).append(number)

    def take(self, row: Mapping[str, Any]) -> Kept | None:
        """The row of the same picture, taken out; None if it has not been met.

        Of several files of one content the one of the same name is meant.
        """
        alike = self.digests.get(row["digest"], []) if row["digest"] is not None else []
        named = [
            number
            for number in self.ids.get(row["id"], [])
            if row["digest"] is None or self.rows[number].row["digest"] is None
        ]
        found = next((n for n in alike if self.rows[n].row["id"] == row["id"]), None)
        if found is None:
            found = next(iter([*alike, *named]), None)
        return None if found is None else self._out(found)

    def _out(self, number: int) -> Kept:
        kept = self.rows.pop(number)
        for home, key in self._places(kept.row):
            home[key].remove(number)
            if not home[key]:
                del home[key]
        return kept

    def _places(self, row: Mapping[str, Any]) -> list[tuple[dict[str, list[int]], str]]:
        places = [(self.ids, row["id"])]
        return places if row["digest"] is None else [*places, (self.digests, row["digest"])]


@dataclass
class Pairing:
    """Pairs rows of two runs by the picture's digest, or, where one has none, by its id.

    Both runs are read side by side; a row waits for its partner as numbers and a small map. In runs over one
    source, whose rows have one order, next to none wait.

    Attributes:
        only_a: how many pictures of `a` were not in `b`, and `only_b`; known when all pairs were read.
        failed_a: how many rows of `a` have no map, and `failed_b`.
        most: how many rows waited at most.
    """

    a: Rows
    b: Rows
    method_a: str
    method_b: str
    target_a: str
    target_b: str
    only_a: int = 0
    only_b: int = 0
    failed_a: int = 0
    failed_b: int = 0
    most: int = 0

    def __iter__(self) -> Iterator[tuple[Kept, Kept]]:
        """Each pair as soon as both rows were read."""
        waiting = Waiting(), Waiting()
        failed = [0, 0]
        streams = (
            _rows(self.a, self.method_a, self.target_a),
            _rows(self.b, self.method_b, self.target_b),
        )
        for batches in zip_longest(*streams, fillvalue=()):
            for side, batch in enumerate(batches):
                for row in batch:
                    kept = Kept.of(row)
                    if kept.map is None:
                        failed[side] += 1
                        continue
                    partner = waiting[1 - side].take(row)
                    if partner is None:
                        waiting[side].keep(kept)
                    else:
                        yield (kept, partner) if side == 0 else (partner, kept)
            self.most = max(self.most, sum(map(len, waiting)))
        self.only_a, self.only_b = map(len, waiting)
        self.failed_a, self.failed_b = failed


def _rows(source: Rows, method: str, target: str) -> Iterator[list[dict[str, Any]]]:
    """The rows of one method and target, some at a time."""
    from pyarrow import compute

    for batch in source.batches(COLUMNS):
        meant = compute.and_(
            compute.equal(batch.column("method"), method), compute.equal(batch.column("target_asked"), target)
        )
        yield batch.filter(meant).to_pylist()
