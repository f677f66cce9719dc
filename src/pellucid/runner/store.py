"""A run's folder: what was asked, the plan, and shards of rows that are there whole or not at all.

run.json                        the request, the settings and the versions
plan/plan-00000.parquet …       the pictures, in order; plan.json when all are there
shards/00000/shard-0000000.parquet …
partial/                        the finished chunks of shards that were interrupted
leases/                         who works on which shard
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import FileMissing, InvalidValue
from pellucid.files import atomic_write, make_folder
from pellucid.runner.schema import SCHEMA_VERSION, arrow

if TYPE_CHECKING:
    import pyarrow

FORMAT = "pellucid.run"
_SHARD = re.compile(r"shard-(\d{7,})\.parquet$")
_FOLDER = 1000
"""Shards of a folder below `shards`."""


@dataclass(frozen=True)
class Store:
    """A run's folder with what its `run.json` says.

    Attributes:
        folder: where it is.
        request: what was asked: two runs of the same request give the same rows.
        settings: `shard_size`, `chunk_size`, `batch_size`: how it was divided when it began.
        source: what the pictures came from, as told by the source.
        carried: the columns that the source brought along, as an Arrow schema.
        versions: of what made it.
    """

    folder: Path
    request: Mapping[str, Any]
    settings: Mapping[str, Any]
    source: Mapping[str, Any]
    carried: "pyarrow.Schema"
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "Store":
        """A folder that a run was begun in.

        Raises:
            FileMissing: there is no `run.json`.
            InvalidValue: a damaged or foreign one, or one of a newer Pellucid.
        """
        path = Path(folder) / "run.json"
        try:
            known = json.loads(path.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise FileMissing(
                f"There must be a run in {str(folder)!r}; there is no run.json in it. "
                f"`pellucid run … --store {folder}` makes one."
            ) from None
        except (OSError, ValueError) as error:
            raise InvalidValue(
                f"{str(path)!r} must be a run's run.json; it cannot be read: {error}."
            ) from None
        if not isinstance(known, dict) or known.get("format") != FORMAT:
            raise InvalidValue(f"{str(path)!r} must be a run's run.json; it is another file.")
        if known["schema_version"] != SCHEMA_VERSION:
            raise InvalidValue(
                f"{str(path)!r} must have schema version {SCHEMA_VERSION}; got {known['schema_version']}: "
                "upgrade Pellucid to read a newer one."
            )
        carried = arrow().ipc.read_schema(arrow().py_buffer(bytes.fromhex(known["carried"])))
        return cls(
            Path(folder), known["request"], known["settings"], known["source"], carried, known["versions"]
        )

    def write(self) -> None:
        """Writes `run.json`, whole or not at all."""
        known = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "request": self.request,
            "settings": self.settings,
            "source": self.source,
            "carried": self.carried.serialize().to_pybytes().hex(),
            "versions": self.versions,
        }
        with atomic_write(self.folder / "run.json") as temporary:
            temporary.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    # --- shards --------------------------------------------------------------------------------------------

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self.folder / "shards" / f"{shard // _FOLDER:05d}" / f"shard-{shard:07d}.parquet"

    def done(self) -> set[int]:
        """The shards that are there."""
        found = set()
        for path in _files(self.folder / "shards"):
            if match := _SHARD.search(path):
                found.add(int(match[1]))
        return found

    def pictures_of(self, shard: int, count: int) -> int:
        """How many pictures a shard has, of so many in the plan: the last one has what is left."""
        size: int = self.settings["shard_size"]
        return min(size, count - shard * size)

    def pictures_done(self, count: int) -> int:
        """How many pictures have their rows, of so many in the plan."""
        return sum(self.pictures_of(shard, count) for shard in self.done())

    def files(self) -> list[str]:
        """The files of all shards, in order."""
        return sorted(path for path in _files(self.folder / "shards") if _SHARD.search(path))

    def write_shard(self, shard: int, table: "pyarrow.Table") -> None:
        """Writes a shard under a temporary name and renames it, so that it is there whole or not at all.

        Raises:
            NotWritten: no room, no permission; then no part of it is left.
        """
        with atomic_write(self.path(shard)) as temporary:
            write_rows(table, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())  # a name must not survive a power cut that its contents do not
        self.partial(shard).unlink(missing_ok=True)

    def read_shard(self, shard: int) -> "pyarrow.Table | None":
        """A shard's rows; None where it is damaged: then it is to be done again."""
        return _read(self.path(shard))

    def partial(self, shard: int) -> Path:
        """The file of an interrupted shard's finished rows."""
        return self.folder / "partial" / f"shard-{shard:07d}.parquet"

    def write_partial(self, shard: int, tables: "Sequence[pyarrow.Table]") -> None:
        """Keeps the finished rows of a shard that is not done."""
        with atomic_write(self.partial(shard)) as temporary:
            write_rows(arrow().concat_tables(tables), temporary)

    def read_partial(self, shard: int) -> "pyarrow.Table | None":
        """The rows that an interruption left of a shard; None of none."""
        return _read(self.partial(shard))

    def clean(self, shard: int) -> None:
        """Takes away what killed processes left of a shard; to be called by who holds its lease."""
        for final in (self.path(shard), self.partial(shard)):
            for temporary in final.parent.glob(f".{final.stem}-*{final.suffix}"):
                temporary.unlink(missing_ok=True)


def write_rows(table: "pyarrow.Table", path: Path) -> None:
    """Writes rows as all files of a store are written, with checksums of their pages."""
    from pyarrow import parquet

    parquet.write_table(table, path, compression="zstd", write_page_checksum=True)


def make_store(folder: str | os.PathLike[str]) -> Path:
    """The folder of a run, made where it is not there.

    Raises:
        InvalidValue: a URL, or a folder in which something else lies.
        NotWritten: it cannot be made.
    """
    if "://" in str(folder):
        raise InvalidValue(
            f"--store must be a folder of this machine or a mounted one; got {str(folder)!r}: shards are "
            "renamed and leased, which object stores cannot do. Copy the folder there when the run is done."
        )
    path = make_folder(folder)
    ours = {"run.json", "plan", "shards", "partial", "leases"}
    others = [one.name for one in path.iterdir() if one.name not in ours and not one.name.startswith(".")]
    if others and not (path / "run.json").exists():
        raise InvalidValue(
            f"--store must be a new folder or that of a run; {str(folder)!r} holds something else "
            f"({', '.join(sorted(others)[:3])})."
        )
    return path


def differing(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What differs between two requests, in words.

    >>> differing({"seed": 0, "maps": "raw"}, {"seed": 1, "maps": "raw"})
    ['seed (0 there, 1 now)']
    """
    found = []
    for name in dict.fromkeys((*stored, *asked)):
        there, now = stored.get(name), asked.get(name)
        if there != now:
            short = len(f"{there}{now}") < 80
            found.append(f"{name} ({there} there, {now} now)" if short else name)
    return found


def _files(folder: Path) -> Iterable[str]:
    for at, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(at, name)


def _read(path: Path) -> "pyarrow.Table | None":
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read()
    except (OSError, arrow().ArrowException):
        return None
