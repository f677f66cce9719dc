"""Leases end with their holders; plans give any rows without reading the others."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

import pellucid.runner.leases
import pellucid.runner.plan
from pellucid.errors import InvalidValue
from pellucid.runner.leases import EXPIRY, Leases
from pellucid.runner.plan import Plan, write_plan
from pellucid.runner.schema import plan_schema


def lease_of(folder: Path, **holder: object) -> Path:
    """A lease that another process left."""
    path = folder / "a.lease"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "other", **holder}))
    return path


def test_one_of_many_threads_and_processes_gets_it(tmp_path: Path):
    got: list[str] = []

    def take() -> None:
        with Leases(tmp_path) as mine:
            got.extend(filter(mine.take, map(str, range(20))))
            barrier.wait()

    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=int) == list(map(str, range(20)))
    assert not list(tmp_path.iterdir()), "all are given back, and nothing else is left"


def test_a_living_holder_keeps_it_and_a_dead_one_does_not(tmp_path: Path):
    import socket

    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    lease_of(tmp_path, host=socket.gethostname(), pid=process.pid)
    with Leases(tmp_path) as mine:
        assert not mine.take("a")
        process.kill()
        assert process.returncode is None, "a zombie counts as dead"
        time.sleep(0.2)
        assert mine.take("a")
        process.wait()


def test_a_lease_of_another_machine_ends_when_it_is_not_touched(tmp_path: Path):
    path = lease_of(tmp_path)
    with Leases(tmp_path) as mine:
        assert not mine.take("a")
        os.utime(path, (time.time() - EXPIRY - 5,) * 2)
        assert mine.take("a")
        assert mine.holds("a")
        lease_of(tmp_path)  # another took it over, while this process slept
        assert not mine.holds("a")
        mine.release("a")
        assert path.exists(), "it is no longer ours to take away"


def test_a_lease_that_was_cut_off_ends_by_its_age(tmp_path: Path):
    path = tmp_path / "a.lease"
    path.write_text("")
    with Leases(tmp_path) as mine:
        assert not mine.take("a")
        os.utime(path, (time.time() - EXPIRY - 5,) * 2)
        assert mine.take("a")


def test_a_holder_touches_its_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pellucid.runner.leases, "BEAT", 0.05)
    with Leases(tmp_path) as mine:
        assert mine.take("a")
        path = tmp_path / "a.lease"
        os.utime(path, (1.0, 1.0))
        end = time.monotonic() + 10
        while path.stat().st_mtime < 2 and time.monotonic() < end:
            time.sleep(0.02)
        assert path.stat().st_mtime > time.time() - 60


def batch(start: int, stop: int) -> pa.RecordBatch:
    """Rows of a plan, by their numbers."""
    names = [str(i) for i in range(start, stop)]
    empty = pa.nulls(len(names))
    schema = plan_schema()
    columns = [pa.array(names), pa.array(names), *(empty.cast(one.type) for one in list(schema)[2:])]
    return pa.record_batch(columns, schema=schema)


@pytest.mark.parametrize("sizes", [[1], [7, 1, 30], [100], [3] * 11, [8, 8], [24, 1]])
def test_any_rows_of_a_plan(sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Groups of eight rows, three of them in a file."""
    monkeypatch.setattr(pellucid.runner.plan, "GROUP", 8)
    monkeypatch.setattr(pellucid.runner.plan, "GROUPS", 3)
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    batches = [batch(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    counts = list(write_plan(tmp_path, iter(batches), plan_schema()))
    assert counts[-1] == ends[-1]
    assert counts == sorted(counts)
    plan = Plan(tmp_path)
    assert plan.count == ends[-1]
    assert len(list(tmp_path.glob("plan-*.parquet"))) == -(-plan.count // 24)
    for start in range(plan.count):
        for stop in range(start + 1, min(plan.count, start + 30) + 1):
            assert plan.rows(start, stop)["id"].to_pylist() == [str(i) for i in range(start, stop)]


def test_a_plan_that_was_interrupted_is_none(tmp_path: Path):
    writing = write_plan(tmp_path, iter([batch(0, 5000), batch(5000, 9000)]), plan_schema())
    next(writing)
    assert not Plan.is_whole(tmp_path)
    with pytest.raises(InvalidValue, match="must hold the plan of a run"):
        Plan(tmp_path)
    writing.close()
    assert list(write_plan(tmp_path, iter([batch(0, 3)]), plan_schema()))[-1] == 3
    assert Plan(tmp_path).rows(0, 3)["id"].to_pylist() == ["0", "1", "2"]


def test_a_plan_of_nothing_and_a_damaged_one_are_refused(tmp_path: Path):
    with pytest.raises(InvalidValue, match="at least one picture"):
        list(write_plan(tmp_path, iter([]), plan_schema()))
    list(write_plan(tmp_path, iter([batch(0, 3)]), plan_schema()))
    (tmp_path / "plan-00000.parquet").write_bytes(b"x")
    with pytest.raises(InvalidValue, match="Without it the run cannot go on"):
        Plan(tmp_path).rows(0, 1)
