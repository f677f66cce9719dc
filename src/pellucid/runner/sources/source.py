"""What a source is: rows of a plan, streamed, and how their pictures are read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor

from pellucid.errors import FileMissing, InvalidValue
from pellucid.images import Picture
from pellucid.runner.schema import arrow, carried_fields, plan_schema
from pellucid.runner.sources.reading import read_picture

if TYPE_CHECKING:
    import pyarrow

BATCH = 1 << 16
"""The most rows of a batch."""


@runtime_checkable
class Reader(Protocol):
    """Reads the picture of a row; where it can be pickled, in any process."""

    def __call__(
        self, uri: str, member: str | None, id: str, *, range: Any = None
    ) -> tuple[Picture | Tensor, str]:
        """The picture, or a ready input (C, H, W), and its digest."""


@dataclass(frozen=True)
class Part:
    """One of the things that a source was opened from.

    `batches` gives Arrow batches with any of the plan's columns, and with those of `carried`; `what` is what
    there is none of when there are no rows.
    """

    description: Mapping[str, Any]
    batches: Callable[[], Iterator["pyarrow.RecordBatch"]]
    carried: Sequence["pyarrow.Field"] = ()
    classes: Sequence[str] | None = None
    count: int | None = None
    what: str = ""


@dataclass(frozen=True)
class Source:
    """Pictures to explain, of any number: nothing of them is in memory but the batch at hand.

    Attributes:
        description: what it is, as plain JSON: kinds, files, which columns were taken as what.
        carried: the columns that lists bring along, by the names that they have in a plan.
        classes: the names of classes where the source has them: class folders sorted, those of a list's
            metadata or of COCO in their own order; None where it has none.
        count: the number of pictures, where it is known without reading everything.
        reader: reads the picture of a row: `reader(uri, member, id, range=...)`.
    """

    parts: Sequence[Part] = field(repr=False)
    reader: Reader = field(default=read_picture, repr=False)

    @property
    def description(self) -> dict[str, Any]:
        """What it is, as plain JSON."""
        return {"parts": [dict(part.description) for part in self.parts]}

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of classes, those of the first part first."""
        known = [part.classes for part in self.parts if part.classes is not None]
        return tuple(dict.fromkeys(name for names in known for name in names)) if known else None

    @property
    def count(self) -> int | None:
        """The number of pictures; None where only reading tells."""
        counts = [part.count for part in self.parts]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def carried(self) -> list["pyarrow.Field"]:
        """The columns that are brought along; those of one name are one, of a type that holds all.

        Raises:
            InvalidValue: there is no such type.
        """
        pa = arrow()
        schemas = [pa.schema([one.with_nullable(True) for one in part.carried]) for part in self.parts]
        try:
            schema = pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise InvalidValue(
                f"Columns of one name must be of one kind in all lists of a source ({error}): rename one."
            ) from None
        return carried_fields([one.remove_metadata() for one in schema])

    def batches(self) -> Iterator["pyarrow.RecordBatch"]:
        """The rows of a plan, in order: batches of `plan_schema(self.carried)`.

        Raises:
            FileMissing: a part has no picture.
            PellucidError: a list or archive is damaged.
        """
        schema = plan_schema(self.carried)
        for part in self.parts:
            rows = 0
            own = carried_fields(part.carried)
            renamed = {one.name: name for one, name in zip(part.carried, (f.name for f in own), strict=True)}
            for batch in part.batches():
                rows += batch.num_rows
                if batch.num_rows:
                    yield fitted(batch, schema, {new: old for old, new in renamed.items()})
            if not rows:
                raise FileMissing(f"{part.what}: there must be at least one picture, and there is none.")


def fitted(
    batch: "pyarrow.RecordBatch", schema: "pyarrow.Schema", sources: Mapping[str, str]
) -> "pyarrow.RecordBatch":
    """A batch with the columns of a schema: what it does not have is null.

    Args:
        batch: with some of the columns.
        schema: the columns.
        sources: by which name the batch has a carried column.
    """
    pa = arrow()
    have = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns = []
    for position, one in enumerate(schema):
        name = one.name if position < len(PLANNED) else sources.get(one.name)
        taken = None if name is None else have.get(f"{CARRIED}{name}" if position >= len(PLANNED) else name)
        if taken is None:
            columns.append(pa.nulls(batch.num_rows, one.type))
        else:
            columns.append(taken if taken.type == one.type else taken.cast(one.type))
    return pa.record_batch(columns, schema=schema)


PLANNED = ("id", "uri", "member", "label", "boxes", "mask")
"""The columns that every plan has."""
CARRIED = "carried:"
"""Before the name of a carried column in a part's batch, so that it is never taken for one of the plan's."""


def batch_of(columns: Mapping[str, Any]) -> "pyarrow.RecordBatch":
    """A batch of a part: arrays, or lists of Python values for the plan's columns."""
    pa = arrow()
    schema = plan_schema()
    arrays = {
        name: pa.array(values, schema.field(name).type) if isinstance(values, list) else values
        for name, values in columns.items()
    }
    return pa.record_batch(list(arrays.values()), names=list(arrays))
