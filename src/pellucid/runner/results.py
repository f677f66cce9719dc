"""What a run gave: its rows as Arrow, pandas, polars or SQL, and each of them as an `Explanation` again."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.cost import Cost
from pellucid.errors import ExtraMissing, FileMissing, InvalidValue, NotFound, PellucidError
from pellucid.explain import at_input, matters
from pellucid.explanation import Explanation
from pellucid.images import Box, Picture
from pellucid.input_tensors import as_picture
from pellucid.metrics import get_metric
from pellucid.options.resolve import parse
from pellucid.prediction import Prediction
from pellucid.runner.maps import decode_map
from pellucid.runner.plan import Plan
from pellucid.runner.schema import arrow, row_schema
from pellucid.runner.sources import read_picture
from pellucid.runner.sources.source import Reader
from pellucid.runner.store import Store
from pellucid.totals import Totals

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow


def open_run(folder: str | os.PathLike[str]) -> "Run":
    """The rows of a run that was begun in a folder, finished or not; nothing is read before it is asked for.

    Args:
        folder: what `pellucid.run` was given as `store`.

    Raises:
        FileMissing: there is no run.
        InvalidValue: a damaged or foreign `run.json`, or one of a newer Pellucid.
        ExtraMissing: pyarrow is not installed.

    Example:
        >>> import pellucid, tempfile, torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = pellucid.run(net, torch.rand(3, 3, 8, 8), "saliency", store=folder, progress=False)
        ...     again = open_run(folder)
        ...     print(again, again.to_arrow(["row"]).num_rows)
        Run(saliency of Sequential, 3 of 3 pictures) 3
    """
    return Run(Store.open(folder))


class Run:
    """The rows of a run, one a picture, method and target; `row_schema` says what the columns are.

    Attributes:
        folder: where it lies.
        request: what was asked, by name.
        settings: how it was divided, and the model's name for `pellucid.load`.
        count: how many pictures the source has.
        methods: titles of the methods. targets: as they were written. columns: titles of the metrics.
    """

    def __init__(self, store: Store, reader: Reader = read_picture) -> None:
        self.store, self._reader = store, reader
        self.folder, self.request, self.settings = store.folder, store.request, store.settings
        self.methods = tuple(store.request["titles"])
        self.targets = tuple(store.request["targets"])
        self.columns = tuple(store.request["columns"])
        self._plan = Plan(store.folder / "plan")
        self.count = self._plan.count

    def __repr__(self) -> str:
        what = ", ".join(self.methods)
        return f"Run({what} of {self.request['model']}, {self.done} of {self.count} pictures)"

    @property
    def model_spec(self) -> str | None:
        """What `pellucid.load` takes; None for a model that came from Python."""
        spec: str | None = self.settings["model_spec"]
        return spec

    @property
    def done(self) -> int:
        """How many pictures have their rows."""
        return self.store.pictures_done(self.count)

    @property
    def complete(self) -> bool:
        """Whether all pictures have their rows."""
        return self.done == self.count

    # --- rows ----------------------------------------------------------------------------------------------

    @property
    def schema(self) -> "pyarrow.Schema":
        """The columns."""
        return row_schema(list(self.store.carried), self.columns)

    def dataset(self) -> Any:
        """All shards as one lazy `pyarrow.dataset.Dataset`."""
        from pyarrow import dataset

        arrow()
        # Some flipped bits decompress to other values: only the pages' checksums tell.
        scan = dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
        format = dataset.ParquetFileFormat(default_fragment_scan_options=scan)
        return dataset.dataset(self.store.files(), schema=self.schema, format=format)

    def to_arrow(self, columns: Sequence[str] | None = None, filter: Any = None) -> "pyarrow.Table":
        """The rows as an Arrow table, in the order of the pictures.

        Args:
            columns: which; None for all.
            filter: an expression, such as `pyarrow.compute.field("score") > 3`.

        Raises:
            NotFound: no such column.
            InvalidValue: a shard is damaged.
        """
        with self._reading(columns):
            return self.dataset().to_table(columns=_listed(columns), filter=filter)

    def batches(
        self, columns: Sequence[str] | None = None, filter: Any = None
    ) -> "Iterator[pyarrow.RecordBatch]":
        """The rows, some at a time, in order: memory does not grow with the run."""
        with self._reading(columns):
            yield from self.dataset().to_batches(
                columns=_listed(columns),
                filter=filter,
                batch_size=4096,
                batch_readahead=4,
                fragment_readahead=1,
            )

    def to_pandas(self, columns: Sequence[str] | None = None, filter: Any = None) -> "pandas.DataFrame":
        """The rows as a pandas DataFrame.

        Raises:
            ExtraMissing: pandas is not installed.
        """
        _needed("pandas", "pip install pandas")
        return self.to_arrow(columns, filter).to_pandas()

    def to_polars(self) -> "polars.LazyFrame":
        """The rows as a lazy polars frame: `.collect()` reads them.

        Raises:
            ExtraMissing: polars is not installed.
        """
        polars = _needed("polars", "pip install polars")
        frame: Any = polars.scan_parquet(self.store.files())
        return frame

    def sql(self, query: str) -> "pyarrow.Table":
        """The answer to a query in SQL, by DuckDB, in which the table `run` holds the rows.

        Raises:
            ExtraMissing: DuckDB is not installed.
            InvalidValue: DuckDB refuses the query; the message is its own.

        Example:
            >>> import pellucid, tempfile, torch
            >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     r = pellucid.run(net, torch.rand(3, 3, 8, 8), "saliency", store=folder, progress=False)
            ...     r.sql("SELECT method, count(*) AS n FROM run GROUP BY method").to_pylist()
            [{'method': 'saliency', 'n': 3}]
        """
        duckdb = _needed("duckdb", "pip install 'pellucid[sql]'")
        with duckdb.connect() as connection:
            connection.register("run", self.dataset())
            try:
                answer: pyarrow.Table = connection.sql(query).to_arrow_table()
            except duckdb.Error as error:
                raise InvalidValue(f"query must be SQL that DuckDB understands: {error}") from None
        return answer

    @property
    def failed(self) -> Mapping[str, int]:
        """How many rows failed, by the reason, the most frequent first."""
        from collections import Counter

        found: Counter[str] = Counter()
        for batch in self.batches(["error"]):
            found.update(text for text in batch["error"].to_pylist() if text is not None)
        return dict(found.most_common())

    def totals(self) -> dict[tuple[str, str], Totals]:
        """Count, exact sums and histogram of each metric, by method and metric: see `Totals`.

        They are the same however the run was divided, and those of two runs add up.
        """
        found: dict[tuple[str, str], Totals] = {}
        for batch in self.batches(["method", *self.columns]):
            for method in self.methods:
                rows = batch.filter(_is(batch["method"], method))
                for column in self.columns:
                    values = torch.tensor(
                        rows[column].drop_null().to_pylist(), dtype=torch.float64, device="cpu"
                    )
                    own = Totals.of(values, get_metric(parse(column)[0]).range)
                    known = found.get((method, column))
                    found[method, column] = own if known is None else known + own
        return found

    # --- pictures ------------------------------------------------------------------------------------------

    def planned(self, row: int) -> dict[str, Any]:
        """What the plan says of a picture, by its number.

        Raises:
            NotFound: no such picture.
        """
        if not 0 <= row < self.count:
            raise NotFound(f"row must be from 0 to {self.count - 1}; got {row}.")
        found: dict[str, Any] = self._plan.rows(row, row + 1).to_pylist()[0]
        return found

    def opened(self, row: int) -> Picture | Tensor:
        """A picture, read again from the source; of tensors in memory the ready input.

        Raises:
            NotFound: no such picture.
            PictureError, FileMissing: it cannot be read any more.
        """
        planned = self.planned(row)
        opened, _ = self._reader(planned["uri"], planned["member"], planned["id"])
        return opened

    def picture(self, row: int) -> Picture:
        """A picture, read again from the source.

        Raises:
            NotFound: no such picture.
            PictureError, FileMissing: it cannot be read any more.
        """
        opened = self.opened(row)
        if isinstance(opened, Picture):
            return opened
        return as_picture(opened if opened.ndim == 3 else opened[0])

    def maps(self, rows: "pyarrow.Table | pyarrow.RecordBatch") -> list[Float[Tensor, "..."] | None]:
        """The map of each row, float32; None of a failed row. The columns `map…` must be among those read.

        Raises:
            InvalidValue: the run keeps no maps.
        """
        if self.request["maps"] == "none":
            raise InvalidValue("The run must keep maps; it was made with maps='none'.")
        wanted = rows.select(["map", "map_shape", "map_scale"]).to_pylist()
        return [None if row["map"] is None else decode_map(row) for row in wanted]

    def explanation(self, id: str | int, method: str | None = None, target: str | None = None) -> Explanation:
        """One row as an `Explanation`: to draw, to save, to compare; the picture is read again.

        Its map has float16's digits. Of the predictions the first is known, and the cost is not. Where the
        picture is gone, its thumbnail stands in, or a grey ground.

        Args:
            id: the picture's id, or its number.
            method: its title; may be left out where there is one.
            target: as it was written; may be left out where there is one.

        Raises:
            NotFound: no such row, or several; or one that failed, with the reason.
            InvalidValue: the run keeps no maps.
        """
        row = self._row(id, _only(method, self.methods, "method"), _only(target, self.targets, "target"))
        if row["error"] is not None:
            raise NotFound(f"{row['id']} has no map by {row['method']}: {row['error']}")
        (kept,) = self.maps(arrow().Table.from_pylist([row], schema=self.schema))
        if kept is None:
            raise NotFound(f"{row['id']} has no map by {row['method']}.")
        size = (row["input_height"], row["input_width"])
        name, options = next(
            (name, options)
            for title, (name, options) in zip(self.methods, self.request["methods"], strict=True)
            if title == row["method"]
        )
        from pellucid.methods import get_method

        best = Prediction(row["prediction"], row["prediction_label"], row["probability"])
        return Explanation(
            method=name,
            options={name: value for name, value in options.items() if matters(name, options)},
            attribution=at_input(kept[None], size),
            raw=kept[None],
            target=[row["target"]],
            labels=[row["target_label"]],
            score=torch.tensor([row["score"]], dtype=torch.float32, device="cpu"),
            output=row["output"],
            prediction=[[best] if row["prediction"] is not None else []],
            model=self.request["model"],
            paper=get_method(name).paper,
            seed=self.request["seed"],
            precision=self.request["precision"],
            versions=dict(self.store.versions),
            cost=Cost(),
            pictures=[self._shown(row)],
            boxes=[Box(*row["seen"])],
            layer=[name for name in row["layer"].split(",") if name],
            notes=[list(row["notes"] or [])],
        )

    def export(
        self,
        to: str | os.PathLike[str],
        format: str = "npz",
        *,
        filter: Any = None,
        share: float = 0.5,
        progress: bool | None = None,
    ) -> Path:
        """Writes the maps for other programs, those that failed left out; returns where.

        Args:
            to: a folder; for masks a file, such as `masks.json`.
            format: "npz", a file for each row; "png", the evidence over the picture; "coco-masks", one file
                with masks of the strongest evidence; "webdataset", tars of maps and rows.
            filter: which rows, as an Arrow expression.
            share: of the positive evidence that lies in a mask.
            progress: as for `explain`.

        Raises:
            InvalidValue: another format, or a run that keeps no maps.
            NotWritten: no room, no permission.
        """
        from pellucid.runner.export import export

        return export(self, to, format, filter=filter, share=share, progress=progress)

    def _row(self, id: str | int, method: str, target: str) -> dict[str, Any]:
        from pyarrow.compute import field

        which = field("row") == id if isinstance(id, int) else field("id") == id
        asked = (field("method") == method) & (field("target_asked") == target)
        rows = self.to_arrow(filter=which & asked).to_pylist()
        if len(rows) != 1:
            what = (
                "none" if not rows else f"{len(rows)}, numbers {', '.join(str(r['row']) for r in rows[:5])}"
            )
            raise NotFound(f"There must be one picture {id!r} among those that are done; there are {what}.")
        found: dict[str, Any] = rows[0]
        return found

    def _shown(self, row: Mapping[str, Any]) -> Picture:
        import io

        from PIL import Image

        try:
            return self.picture(row["row"])
        except PellucidError as error:
            size = (row["width"], row["height"])
            small = row["thumbnail"]
            image = Image.open(io.BytesIO(small)).resize(size) if small else Image.new("RGB", size, "grey")
            return Picture(image, Path(row["id"]).stem).remarked(
                f"The picture cannot be read any more: {error}"
            )

    def _reading(self, columns: Sequence[str] | None) -> "_Reading":
        unknown = [name for name in columns or () if name not in self.schema.names]
        if unknown:
            raise NotFound(
                f"A column must be one of {', '.join(self.schema.names)}; got "
                f"{', '.join(map(repr, unknown))}."
            )
        return _Reading(self.folder)


class _Reading:
    """What Arrow says of a damaged file becomes a sentence with what to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if isinstance(error, FileNotFoundError) and not isinstance(error, PellucidError):
            raise FileMissing(f"A shard of {str(self.folder)!r} is gone: {error}.") from None
        if isinstance(error, arrow().ArrowException | OSError) and not isinstance(error, PellucidError):
            raise InvalidValue(
                f"The shards of {str(self.folder)!r} must be readable; one is not: {error}. The same "
                "`pellucid run` finds the damaged ones and does them again."
            ) from None


def _listed(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)


def _is(column: Any, value: str) -> Any:
    from pyarrow import compute

    return compute.equal(column, value)


def _only(given: str | None, known: Sequence[str], what: str) -> str:
    if given is None and len(known) == 1:
        return known[0]
    if given not in known:
        raise NotFound(f"{what} must be one of {', '.join(known)}; got {given!r}.")
    return str(given)


def _needed(name: str, how: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ExtraMissing(f"This needs {name} ({error}): {how}.") from None
