"""How long ten million pictures take to plan, and how much memory: lists, a folder (its listing simulated).

.venv/bin/python benchmarks/plan.py --out benchmarks/results/plan.md
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.runner.plan import write_plan
from pellucid.runner.schema import plan_schema
from pellucid.runner.sources import Source, open_source

ROWS = 10_000_000
STEP = 1 << 18
LISTS = ("csv", "parquet", "jsonl")
MADE = ("folders of 5,000", "one folder", "iterator of paths")


def tables(rows: int) -> Iterator[pa.Table]:
    """A list of pictures in pieces: path, label, a number and a text."""
    for start in range(0, rows, STEP):
        numbers = range(start, min(start + STEP, rows))
        yield pa.table({
            "path": [f"train/{i // 5000:04d}/picture-{i:08d}.jpg" for i in numbers],
            "label": [f"class {i // 5000 % 1000}" for i in numbers],
            "n": pa.array(numbers, pa.int64()),
            "text": ["a caption of a few words"] * len(numbers),
        })  # fmt: skip


def written(folder: Path, kind: str, rows: int) -> Path:
    """A list of a kind with so many rows."""
    path = folder / f"list.{kind}"
    if path.exists():
        return path
    some = tables(rows)
    first = next(some)
    if kind == "parquet":
        with pq.ParquetWriter(path, first.schema) as writer:
            writer.write_table(first)
            for table in some:
                writer.write_table(table)
    elif kind == "jsonl":
        with path.open("w") as file:
            for table in (first, *some):
                file.writelines(json.dumps(row) + "\n" for row in table.to_pylist())
    else:
        with path.open("w") as file:
            file.write("path,label,n,text\n")
            for table in (first, *some):
                columns = (table.column(i).to_pylist() for i in range(4))
                file.writelines(f"{a},{b},{c},{d}\n" for a, b, c, d in zip(*columns, strict=True))
    return path


def folder(rows: int, width: int) -> Source:
    """A folder of folders of so many pictures each; the file system's answers are made up."""
    from pellucid.runner.sources import folders, places, walking

    def listing(address: str) -> list[str]:
        if address == "/pictures":
            return [f"{i:05d}/" for i in range(rows // width)]
        return [f"picture-{i:08d}.jpg" for i in range(width)]

    places.listing = walking.listing = listing  # type: ignore[assignment]
    return Source([folders.folder_part("/pictures", "/pictures", label="folder")])


def once(kind: str, rows: int, where: Path) -> dict[str, float]:
    """Seconds, rows and the most memory of one planning in this process."""
    kinds: dict[str, Callable[[], Source]] = {
        "folders of 5,000": lambda: folder(rows, 5000),
        "one folder": lambda: folder(rows, rows),
        "iterator of paths": lambda: open_source(f"/pictures/{i:08d}.jpg" for i in range(rows)),
    }
    make = kinds.get(kind, lambda: open_source(written(where, kind, rows)))
    before = most()
    start = time.perf_counter()
    source = make()
    opened = time.perf_counter() - start
    count = sum(batch.num_rows for batch in source.batches())
    seconds, peak = time.perf_counter() - start, most()
    start = time.perf_counter()
    again = make()
    with tempfile.TemporaryDirectory() as plan:
        *_, _ = write_plan(Path(plan), again.batches(), plan_schema(again.carried))
        stored = sum(file.stat().st_size for file in Path(plan).iterdir()) / 2**20
    stored_after = time.perf_counter() - start
    return {
        "rows": count, "seconds": seconds, "opened": opened, "peak": peak, "before": before,
        "written": stored_after, "both": most(), "stored": stored,
    }  # fmt: skip


def most() -> float:
    """The most resident memory of this process so far, in MB; what it was forked from does not count."""
    (size,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(size) / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--only", nargs="+", default=[*LISTS, *MADE])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--once", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(once(options.once[0], options.rows, Path(options.once[1]))))
        return
    lines = [
        f"{platform.machine()}, pyarrow {pa.__version__}; one process each. MB: the most resident memory of "
        "the process, of which so much is there before anything is opened (PyTorch and Pellucid). Written: "
        "rows planned and written as a run does, into so many MB of Parquet.",
        "",
        "| source | pictures | seconds | to open it | MB | MB before | written, seconds | MB | plan, MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as made:
        for kind in options.only:
            if kind in LISTS:
                written(Path(made), kind, options.rows)
            command = [sys.executable, sys.argv[0], "--rows", str(options.rows), "--once", kind, made]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            lines.append(
                f"| {kind} | {found['rows']:,} | {found['seconds']:.1f} | {found['opened']:.1f} | "
                f"{found['peak']:.0f} | {found['before']:.0f} | {found['written']:.1f} | "
                f"{found['both']:.0f} | {found['stored']:.0f} |"
            )
            print(lines[-1], file=sys.stderr)
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
