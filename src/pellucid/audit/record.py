"""The result of an audit, with what writes it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from pellucid.audit.findings import Audited, row_schema
from pellucid.audit.page import render
from pellucid.errors import ExtraMissing
from pellucid.files import save_by_suffix


@dataclass(frozen=True, repr=False)
class Audit(Audited):
    """What a model looks at across a data set: see `Audited` for its attributes."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes one file by its suffix, whole or not at all.

        .html is a page that needs nothing else, .json holds everything but pictures, .parquet a row for each
        cluster.

        Raises:
            InvalidValue: another suffix.
            NotWritten: it cannot be written there.
            ExtraMissing: .parquet without pyarrow.
        """
        return save_by_suffix(path, {".html": self._html, ".json": self._json, ".parquet": self._parquet})

    def _html(self, file: Path) -> None:
        file.write_text(render(self), encoding="utf-8")

    def _json(self, file: Path) -> None:
        file.write_text(json.dumps(self.to_dict(), indent=1, ensure_ascii=False), encoding="utf-8")

    def _parquet(self, file: Path) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise ExtraMissing(f".parquet needs pyarrow ({error}): pip install 'pellucid[audit]'.") from None
        parquet.write_table(pyarrow.Table.from_pylist(self.rows(), schema=row_schema(pyarrow)), file)
