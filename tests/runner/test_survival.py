"""What breaks a run loses no row: kills, signals, full disks, dead workers, several on one store."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

import pellucid
from pellucid.errors import InvalidType
from runner.conftest import write_pictures
from runner.victim import make

HERE = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path]),
}


def bytes_of(folder: Path) -> str:
    """A digest of all shards."""
    files = sorted((folder / "shards").rglob("shard-*.parquet"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def differences(folder: Path, other: Path) -> list[str]:
    """What is not the same in two stores, for people; empty where their shards are the same bytes."""
    if bytes_of(folder) == bytes_of(other):
        return []
    ours, theirs = (pellucid.open_run(one).to_arrow() for one in (folder, other))
    found = [f"{len(ours)} rows and {len(theirs)}"]
    for name in ours.column_names:
        pairs = zip(ours[name].to_pylist(), theirs[name].to_pylist(), strict=False)
        found += [f"{name} of row {i}: {a!r} and {b!r}" for i, (a, b) in enumerate(pairs) if a != b][:2]
    return found


def begun(source: Path, store: Path, **asked: Any) -> subprocess.Popen[str]:
    """A run in a process of its own."""
    given = {"source": str(source), "store": str(store), "methods": ["grad-cam", "saliency"], **asked}
    return subprocess.Popen(
        [sys.executable, str(HERE / "victim.py"), json.dumps(given)], env=ENVIRONMENT, text=True,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], seconds: float = 240) -> str:
    """Waits for a run; what it said."""
    _, said = process.communicate(timeout=seconds)
    return said


def until(holds: Any, seconds: float = 300.0) -> None:
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


def shards(store: Path) -> int:
    """How many are there."""
    return len(list((store / "shards").rglob("shard-*.parquet")))


def until_shards(process: subprocess.Popen[str], store: Path, wanted: int) -> None:
    """Waits until so many are there, or the run is done."""
    until(lambda: shards(store) >= wanted or process.poll() is not None)


def kill(process: subprocess.Popen[str]) -> None:
    """Kills a run and all its workers, as a machine that loses its power does."""
    with suppress(psutil.NoSuchProcess):
        for one in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                one.kill()
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of an undisturbed run."""
    store = tmp_path_factory.mktemp("whole")
    pellucid.run(
        make(), pictures, ["grad-cam", "saliency"], store=store, shard_size=8, batch_size=4, progress=False
    )
    return store


ENGINES = [{"engine": "local"}, {"engine": "processes", "workers": 2}]
names = [str(one["engine"]) for one in ENGINES]


@pytest.mark.parametrize("engine", ENGINES, ids=names)
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(engine, whole, pictures: Path, tmp_path: Path):
    asked = {"shard_size": 8, "batch_size": 4, **engine}
    for wanted in (1, 4):
        process = begun(pictures, tmp_path, **asked)
        until_shards(process, tmp_path, wanted)
        kill(process)
    said = finish(begun(pictures, tmp_path, **asked))
    assert differences(tmp_path, whole) == [], said
    assert not list(tmp_path.glob("leases/*.lease"))
    assert not list(tmp_path.rglob(".shard-*")), "what a killed process was writing is taken away"


@pytest.mark.full
@pytest.mark.parametrize("engine", [*ENGINES, {"engine": "ray", "workers": 2}], ids=[*names, "ray"])
def test_twenty_kills_over_two_thousand_pictures(engine, tmp_path: Path):
    source = write_pictures(tmp_path / "pictures", 2000)
    (source / "c0" / "broken.png").write_bytes(b"not a picture")
    run = pellucid.run(
        make(),
        source,
        ["grad-cam", "saliency"],
        store=tmp_path / "whole",
        shard_size=100,
        batch_size=4,
        progress=False,
    )
    assert run.to_arrow(["row"]).num_rows == 2001 * 2
    drawn, kills = random.Random(0), 0
    while kills < 20:
        process = begun(source, tmp_path / "store", shard_size=100, batch_size=4, **engine)
        try:
            process.wait(drawn.uniform(2, 20))
        except subprocess.TimeoutExpired:
            kill(process)
            kills += 1
        else:
            shutil.rmtree(tmp_path / "store")  # it was done: again from nothing
    said = finish(begun(source, tmp_path / "store", shard_size=100, batch_size=4, **engine), 600)
    assert differences(tmp_path / "store", tmp_path / "whole") == [], said


@pytest.mark.parametrize(
    ("engine", "name"), [(ENGINES[0], "SIGINT"), (ENGINES[1], "SIGTERM")], ids=["local", "processes"]
)
def test_a_signal_finishes_the_chunk_writes_it_and_says_how_to_go_on(
    engine, name, pictures: Path, tmp_path: Path
):
    """Of one shard that holds everything, so that what is kept are its finished chunks."""
    asked = {"shard_size": 61, "batch_size": 1, "methods": ["smooth-grad:samples=64", "saliency"], **engine}
    process = begun(pictures, tmp_path, keep=0.0, **asked)
    until(lambda: list(tmp_path.glob("partial/shard*")) or process.poll() is not None)
    process.send_signal(getattr(signal, name))
    said = finish(process)
    if process.returncode == 0:
        pytest.skip("it was done before the signal came")
    assert "The same call goes on from there" in said
    assert shards(tmp_path) == 0
    (partial,) = tmp_path.glob("partial/*.parquet")
    from pyarrow import parquet

    kept = parquet.read_table(partial)
    assert 0 < len(kept) < 61 * 2
    finish(begun(pictures, tmp_path, **asked))
    assert not list(tmp_path.glob("partial/*"))
    other = tmp_path / "undisturbed"
    finish(begun(pictures, other, **{**asked, "engine": "local", "workers": None}))
    assert differences(tmp_path, other) == []


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system with little room, where one may be mounted."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_is_told_in_a_sentence_and_loses_nothing(pictures: Path, tmp_path: Path):
    asked = {"shard_size": 10, "batch_size": 4, "maps": "full", "methods": ["saliency"]}
    finish(begun(pictures, tmp_path / "whole", **asked))
    with small_disk(tmp_path / "disk", "160k") as disk:
        process = begun(pictures, disk / "run", **asked)
        said = finish(process)
        assert process.returncode
        assert "No space left on device" in said
        assert "make room" in said
        kept = shards(disk / "run")
        assert 0 < kept < 7
        assert not list(disk.rglob(".shard-*"))
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        finish(begun(pictures, disk / "run", **asked))
        assert differences(disk / "run", tmp_path / "whole") == []


def test_a_file_limit_is_told_in_a_sentence(pictures: Path, tmp_path: Path):
    """As a full disk, where none can be mounted."""
    asked = {"shard_size": 40, "batch_size": 4, "maps": "full", "methods": ["saliency"]}
    process = begun(pictures, tmp_path, file_limit=20_000, **asked)
    said = finish(process)
    assert process.returncode
    assert "cannot be written" in said
    assert shards(tmp_path) == 0
    finish(begun(pictures, tmp_path, **asked))
    assert pellucid.open_run(tmp_path).complete


def test_a_worker_that_is_killed_is_replaced(whole, pictures: Path, tmp_path: Path):
    process = begun(pictures, tmp_path, shard_size=8, batch_size=4, engine="processes", workers=2)
    until_shards(process, tmp_path, 1)
    workers = [
        one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())
    ]
    assert len(workers) == 2
    workers[0].kill()
    said = finish(process)
    assert process.returncode == 0, said
    assert differences(tmp_path, whole) == []


def test_a_picture_at_which_workers_die_is_given_up_and_the_others_are_not(tmp_path: Path):
    source = write_pictures(tmp_path / "pictures", 12)
    Image.new("RGB", (32, 32), (255, 0, 0)).save(source / "c1" / "0004.png")
    finish(
        begun(
            source, tmp_path / "run", kind="deadly", engine="processes", workers=2, shard_size=6, batch_size=2
        )
    )
    run = pellucid.open_run(tmp_path / "run")
    rows = run.to_arrow(["id", "method", "error", "error_kind"]).to_pylist()
    assert len(rows) == 24
    dead = [row for row in rows if row["error"] is not None]
    assert {row["id"] for row in dead} == {"c1/0004.png"}
    assert {row["error_kind"] for row in dead} == {"worker"}
    assert "worker died at this picture" in dead[0]["error"]


def test_workers_that_cannot_load_the_model_end_the_run_in_a_sentence(pictures: Path, tmp_path: Path):
    process = begun(pictures, tmp_path, kind="stillborn", engine="processes", workers=1)
    said = finish(process)
    assert process.returncode
    assert "Workers must be able to load the model; 2 died at it" in said
    assert shards(tmp_path) == 0


def test_a_model_that_cannot_be_sent_is_refused(pictures: Path, tmp_path: Path):
    model = make()
    model.module = lambda x: x.mean((2, 3))
    with pytest.raises(InvalidType, match="needs a model that can be pickled"):
        pellucid.run(
            model, pictures, "occlusion", store=tmp_path, engine="processes", workers=1, progress=False
        )


def test_a_file_that_vanishes_is_a_row_of_its_own(tmp_path: Path):
    source = write_pictures(tmp_path / "pictures", 6)
    asked = {"methods": "saliency", "store": tmp_path / "run", "progress": False, "shard_size": 2}
    from pellucid.runner.sources import open_source

    opened = open_source(source)
    listed = list(opened.batches())
    assert sum(batch.num_rows for batch in listed) == 6
    process = begun(source, tmp_path / "run", methods=["saliency"], shard_size=2)
    until(lambda: (tmp_path / "run" / "plan" / "plan.json").exists() or process.poll() is not None)
    (source / "c2" / "0005.png").unlink()
    finish(process)
    run = pellucid.run(make(), source, **asked)
    failed = run.to_arrow(["id", "error"]).to_pylist()
    gone = [row for row in failed if row["error"] is not None]
    assert [row["id"] for row in gone] in ([], ["c2/0005.png"])
    assert len(failed) == 6


def test_two_processes_share_a_store(whole, pictures: Path, tmp_path: Path):
    both = [begun(pictures, tmp_path, shard_size=8, batch_size=4) for _ in range(2)]
    said = [finish(process) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert differences(tmp_path, whole) == []


def test_ray_replaces_a_killed_actor_and_gives_the_same_bytes(whole, pictures: Path, tmp_path: Path):
    process = begun(pictures, tmp_path, shard_size=8, batch_size=4, engine="ray", workers=2)
    until_shards(process, tmp_path, 1)
    family = psutil.Process(process.pid).children(recursive=True)
    actors = [one for one in family if "RayWorker" in " ".join(one.cmdline())]
    assert actors
    actors[0].kill()
    said = finish(process)
    assert process.returncode == 0, said
    assert differences(tmp_path, whole) == []
