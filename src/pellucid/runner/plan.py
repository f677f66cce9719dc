"""The plan of a run: all pictures of its source, in order, in Parquet files that are read in parts."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.errors import InvalidValue
from pellucid.files import atomic_write, make_folder, written_to
from pellucid.runner.schema import SCHEMA_VERSION, arrow

if TYPE_CHECKING:
    import pyarrow

GROUP = 4096
"""Pictures of a row group, the least that is read at once."""
GROUPS = 256
"""Row groups of a file."""


def write_plan(
    folder: Path, batches: "Iterable[pyarrow.RecordBatch]", schema: "pyarrow.Schema"
) -> Iterator[int]:
    """Writes a plan, and gives the number of pictures so far again and again; the last is of all of them.

    The file `plan.json` comes last: without it there is no plan. Memory holds one row group.

    Raises:
        InvalidValue: the source has no pictures.
        NotWritten: no room, no permission.
    """
    from pyarrow import parquet

    make_folder(folder)
    for old in folder.iterdir():  # of a planning that was interrupted
        old.unlink()
    count, files = 0, 0
    groups = _groups(batches, schema)
    first = next(groups, None)
    if first is None:
        raise InvalidValue("The source must have at least one picture; it has none.")
    while first is not None:
        path = folder / f"plan-{files:05d}.parquet"
        with written_to(path), parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            for number in range(GROUPS):
                writer.write_table(first, row_group_size=GROUP)
                count += len(first)
                yield count
                first = next(groups, None)
                if first is None or number == GROUPS - 1:
                    break
        files += 1
    with atomic_write(folder / "plan.json") as temporary:
        temporary.write_text(json.dumps({"schema_version": SCHEMA_VERSION, "count": count, "files": files}))


def _groups(batches: "Iterable[pyarrow.RecordBatch]", schema: "pyarrow.Schema") -> "Iterator[pyarrow.Table]":
    """Tables of `GROUP` rows each, the last of what is left."""
    pa = arrow()
    held: list[pyarrow.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows < GROUP:
            continue
        table = pa.Table.from_batches(held, schema)
        whole = rows - rows % GROUP
        for start in range(0, whole, GROUP):
            yield table.slice(start, GROUP)
        held = table.slice(whole).to_batches()
        rows -= whole
    if rows:
        yield pa.Table.from_batches(held, schema)


class Plan:
    """A plan that was written; rows are read when they are asked for.

    Raises:
        InvalidValue: the folder holds no whole plan.
    """

    def __init__(self, folder: Path) -> None:
        try:
            known = json.loads((folder / "plan.json").read_text("utf-8"))
            self.folder, self.count = folder, int(known["count"])
        except (OSError, ValueError, KeyError) as error:
            raise InvalidValue(
                f"{str(folder)!r} must hold the plan of a run; it does not: {error}."
            ) from None
        self._held: tuple[int, pyarrow.Table] | None = None

    @staticmethod
    def is_whole(folder: Path) -> bool:
        """Whether a plan was written to its end."""
        return (folder / "plan.json").exists()

    def rows(self, start: int, stop: int) -> "pyarrow.Table":
        """The pictures from `start` to before `stop`.

        Raises:
            InvalidValue: a file of the plan is damaged or gone.
        """
        pa = arrow()
        parts = []
        for group in range(start // GROUP, -(-min(stop, self.count) // GROUP)):
            table = self._group(group)
            first = group * GROUP
            parts.append(
                table.slice(max(start - first, 0), min(stop, first + len(table)) - max(start, first))
            )
        return pa.concat_tables(parts)

    def _group(self, group: int) -> "pyarrow.Table":
        from pyarrow import parquet

        if self._held is None or self._held[0] != group:
            path = self.folder / f"plan-{group // GROUPS:05d}.parquet"
            try:
                with parquet.ParquetFile(path) as file:
                    self._held = group, file.read_row_group(group % GROUPS)
            except (OSError, arrow().ArrowException) as error:
                raise InvalidValue(
                    f"The plan's file {str(path)!r} must be readable; it is not: {error}. Without it the run "
                    "cannot go on; open_run still reads what was done."
                ) from None
        return self._held[1]
