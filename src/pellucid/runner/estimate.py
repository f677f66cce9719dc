"""What a run would take: a few pictures of its source are explained, and the rest is multiplication."""

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import InvalidValue
from pellucid.runner.engines import explained
from pellucid.runner.job import Chunk, Job, chunk_size
from pellucid.runner.plan import Plan, write_plan
from pellucid.runner.schema import arrow, plan_schema
from pellucid.runner.sources import Source
from pellucid.runner.store import write_rows
from pellucid.runner.worker import Worker

PICTURES = 32
"""How many are tried, evenly spread over the source."""


@dataclass(frozen=True)
class Estimate:
    """What a run over a source takes on one worker like this one, and what follows from it.

    Attributes:
        pictures: of the source. tried: how many of them were explained for this.
        failed: how many of those failed.
        seconds: a picture, reading and writing included.
        bytes: a picture, in the store.
        workers: among which the work is divided.
        hours: of the whole run: pictures * seconds / workers / 3600.
        dollars: workers * hours * price; None without a price.
        gigabytes: of the store.
        device, cores: of this machine.
    """

    pictures: int
    tried: int
    failed: int
    seconds: float
    bytes: float
    workers: int
    hours: float
    dollars: float | None
    gigabytes: float
    device: str
    cores: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def estimate(job: Job, source: Source, *, workers: int = 1, price: float | None = None) -> Estimate:
    """Explains up to 32 pictures of a source, evenly spread, on one worker in this process.

    Args:
        job: what is done with each picture.
        source: the pictures; all are listed, to be counted.
        workers: how many like this one would share the work; that they do not slow each other down is
            assumed, so what shares cores must be measured with fewer threads.
        price: dollars an hour of one worker's machine.

    Raises:
        InvalidValue: no picture, or a price below 0.
    """
    from pyarrow import compute

    if price is not None and not price >= 0:
        raise InvalidValue(f"price must be dollars an hour, at least 0; got {price}.")
    with tempfile.TemporaryDirectory() as folder:
        plan_at = Path(folder) / "plan"
        for _ in write_plan(plan_at, source.batches(), plan_schema(list(source.carried))):
            continue
        plan = Plan(plan_at)
        count = min(PICTURES, plan.count)
        rows = sorted({number * plan.count // count for number in range(count)})
        worker = Worker(job)
        try:
            list(explained(worker, _chunks(plan, rows[:1], 1), lambda: False))  # what happens only once
            started = time.perf_counter()
            tables = [
                table for _, table in explained(worker, _chunks(plan, rows, chunk_size(job)), lambda: False)
            ]
            written = Path(folder) / "shard.parquet"
            whole = arrow().concat_tables(tables)
            write_rows(whole, written)
            seconds = (time.perf_counter() - started) / len(rows)
        finally:
            worker.close()
        failed = len(set(whole.filter(compute.is_valid(whole["error"]))["row"].to_pylist()))
        size = written.stat().st_size / len(rows)
    if failed == len(rows):
        raise InvalidValue(
            f"Some picture must be explained to tell how long it takes; all {failed} that were tried failed: "
            f"{whole['error'][0].as_py()}"
        )
    hours = plan.count * seconds / workers / 3600
    return Estimate(
        plan.count, len(rows), failed, seconds, size, workers, hours,
        None if price is None else workers * hours * price, plan.count * size / 1e9,
        f"{worker.model.device} ({platform.processor() or platform.machine()})", os.cpu_count() or 1,
    )  # fmt: skip


def _chunks(plan: Plan, rows: list[int], size: int) -> Iterator[Chunk]:
    pa = arrow()
    for number, start in enumerate(range(0, len(rows), size)):
        some = rows[start : start + size]
        yield Chunk(0, number, tuple(some), pa.concat_tables([plan.rows(row, row + 1) for row in some]))
