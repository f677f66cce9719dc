"""Archives: WebDataset tars, saved data sets of Hugging Face, folders of Parquet."""

import io
import json
import os
import re
import signal
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_sources import column, rows

from pellucid.errors import FileMissing, InvalidValue, PictureError
from pellucid.runner.sources import Source, handles, open_source, read_bytes, read_picture


def encoded(red: int, kind: str = "png") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (red, 0, 0)).save(file, kind)
    return file.getvalue()


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def reds(source: Source) -> list[int]:
    found = []
    for row in rows(source):
        picture, _ = read_picture(row["uri"], row["member"], row["id"])
        found.append(picture.rgb.getpixel((0, 0))[0])
    return found


FILES = {
    "a/0001.png": encoded(1), "a/0001.cls": b"5\n", "a/0001.txt": "Grüße".encode(),
    "a/0001.json": b'{"age": 3, "tags": ["x"], "who": null}', "a/0001.mask.png": encoded(99),
    "a/0002.left.PNG": encoded(2), "a/0002.right.png": encoded(3), "a/0002.cls": b"dog",
    "a/0002.json": b'{"age": 2.5, "late": true, "bbox": [1, 2, 3, 4]}',
    "a/._0002.png": b"finder", "readme.md": b"no picture", "b/0001.png": encoded(4), "b/0001.json": b"[1]",
}  # fmt: skip


@pytest.mark.parametrize(("name", "mode"), [("x.tar", "w"), ("x.tar.gz", "w:gz"), ("x.tgz", "w:gz")])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_webdataset(tmp_path: Path, name: str, mode: str, form: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tarfile.TarFile, "format", form)
    source = open_source(write_tar(tmp_path / name, FILES, mode))
    planned = rows(source)
    assert [row["id"] for row in planned] == [
        f"{name}!a/0001.png", f"{name}!a/0002.left.PNG", f"{name}!a/0002.right.png", f"{name}!b/0001.png",
    ]  # fmt: skip
    assert reds(source) == [1, 2, 3, 4]
    assert [row["label"] for row in planned] == ["5", "dog", "dog", None]
    assert [row["boxes"] for row in planned] == [None, *[[[1.0, 2.0, 3.0, 4.0]]] * 2, None]
    kinds = {one.name: str(one.type) for one in source.carried}
    assert kinds == {
        "age": "double", "tags": "string", "who": "string", "late": "bool", "txt": "string", "json": "string",
    }  # fmt: skip
    assert [(row["age"], row["tags"], row["late"], row["txt"], row["json"]) for row in planned] == [
        (3.0, '["x"]', None, "Grüße", None), (2.5, None, True, None, None), (2.5, None, True, None, None),
        (None, None, None, None, "[1]"),
    ]  # fmt: skip
    assert source.description["parts"][0]["columns"] == {"label": "cls", "boxes": "bbox"}
    picture, _ = read_picture(planned[0]["uri"], planned[0]["member"], planned[0]["id"])
    assert (picture.name, picture.path) == ("0001", None)


def test_what_later_samples_have_besides_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pellucid.runner.sources.tars.LOOK", 1)
    files = {}
    for i, stored in enumerate([{"n": 1, "label": "a"}, {"n": "two", "m": 3}, {"n": 2**70}, {"label": 4.0}]):
        files |= {f"{i}.png": encoded(i), f"{i}.json": json.dumps(stored).encode()}
    planned = rows(open_source(write_tar(tmp_path / "x.tar", files)))
    assert [row["n"] for row in planned] == [1, None, None, None]
    assert [row["label"] for row in planned] == ["a", None, None, "4"]
    assert [row["json"] and json.loads(row["json"]) for row in planned] == [
        None, {"n": "two", "m": 3}, {"n": 2**70}, None,
    ]  # fmt: skip


def test_the_label_of_json_can_be_named(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {"0.png": encoded(0), "0.cls": b"1", "0.json": b'{"kind": "cat"}'})
    assert column(open_source(path), "label") == ["1"]
    assert column(open_source(path, label="kind"), "label") == ["cat"]
    assert column(open_source(path, label="none"), "label") == [None]
    with pytest.raises(InvalidValue, match="JSON has no key 'sort'; there are 'kind'"):
        open_source(path, label="sort")


def test_what_is_not_utf_8_in_a_tar_costs_no_picture(tmp_path: Path):
    files = {"caf\udce9.png": encoded(1), "caf\udce9.json": b'{"who": "\\ud800 half", "label": "\\udc01"}'}
    path = write_tar(tmp_path / "x.tar", files | {"b.png": encoded(2), "b.txt": b"\xff"})
    first, second = rows(open_source(path))
    assert (first["id"], first["who"], first["label"]) == (
        "x.tar!caf\\xe9.png", "\\xed\\xa0\\x80 half", "\\xed\\xb0\\x81",
    )  # fmt: skip
    assert second["txt"] == "\ufffd"
    assert reds(open_source(path)) == [1, 2]


def test_many_tars_are_one_source(tmp_path: Path):
    for i in range(8, 12):
        write_tar(tmp_path / f"x-{i:03d}.tar", {f"{i}.png": encoded(i)})
    for spec in ("x-{008..011}.tar", "x-*.tar", ""):
        source = open_source(f"{tmp_path}/{spec}")
        assert column(source, "id") == [f"x-{i:03d}.tar!{i}.png" for i in range(8, 12)]
        assert reds(source) == [8, 9, 10, 11]
        assert len(source.description["parts"]) == 1
    write_tar(tmp_path / "more/x-008.tar", {"8.png": encoded(1)})
    both = open_source([tmp_path / "x-008.tar", tmp_path / "more/x-008.tar"])
    assert column(both, "id") == [f"{tmp_path}/x-008.tar!8.png", f"{tmp_path}/more/x-008.tar!8.png"]
    with pytest.raises(FileMissing, match=r"y-\*\.tar: no file matches"):
        open_source(f"{tmp_path}/y-*.tar")
    with pytest.raises(FileMissing, match=r"x-012\.tar: no such file"):
        rows(open_source(f"{tmp_path}/x-{{011..012}}.tar"))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("kept", [0.99, 0.9, 0.6, 0.5, 0.3])
def test_a_cut_tar_loses_nothing_in_silence(tmp_path: Path, kept: float, mode: str):
    """Every picture before the cut is read or told of, and a row says that there was more."""
    files = {f"{i:02d}.png": encoded(i) + bytes(range(256)) * 7 for i in range(20)}
    path = write_tar(tmp_path / ("x.tar.gz" if mode == "w:gz" else "x.tar"), files, mode)
    with tarfile.open(path) as whole:
        end = max(one.offset_data + one.size for one in whole)
    size = path.stat().st_size - 40 if mode == "w:gz" else end
    path.write_bytes(path.read_bytes()[: int(size * kept)])
    planned = rows(open_source(path))
    assert planned[-1]["id"] == f"{path.name}!(cut).end"
    *before, last = planned[:-1]
    for i, row in enumerate(before):
        assert row["id"] == f"{path.name}!{i:02d}.png"
        assert read_bytes(row["uri"], row["member"]) == files[f"{i:02d}.png"]
    assert mode == "w:gz" or len(before) >= int(20 * kept) - 1
    try:
        said = str(read_bytes(last["uri"], last["member"]) == files[f"{len(before):02d}.png"])
    except PictureError as error:
        said = str(error)
    assert said == "True" or "ends within this picture" in said or "cannot be read" in said
    with pytest.raises(PictureError, match="is cut or damaged at byte"):
        read_bytes(planned[-1]["uri"], planned[-1]["member"])


def test_a_tar_without_its_end_or_with_a_damaged_header_says_so(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {f"{i}.png": encoded(i) for i in range(3)})
    data = path.read_bytes()
    with tarfile.open(path) as whole:
        offsets = [one.offset for one in whole]
    end = offsets[2] + 1024
    path.write_bytes(data[:end])
    assert column(open_source(path), "id")[-1] == "x.tar!(cut).end"
    path.write_bytes(data[: offsets[1]] + b"garbage" + data[offsets[1] + 7 :])
    assert column(open_source(path), "id") == ["x.tar!0.png", "x.tar!(cut).end"]
    path.write_bytes(b"no tar at all" * 99)
    assert column(open_source(path), "id") == ["x.tar!(cut).end"]
    path.write_bytes(data)
    assert column(open_source(path), "id") == ["x.tar!0.png", "x.tar!1.png", "x.tar!2.png"]


FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["zero", "one"], "_type": "ClassLabel"}}


def save(folder: Path, first: int, metadata: bool = True) -> None:
    """As `Dataset.save_to_disk` does: two Arrow streams of two batches each."""
    folder.mkdir(parents=True)
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = pa.schema({"image": image, "label": pa.int64(), "n": pa.float32()})
    if metadata:
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})
    names = [f"data-{i:05d}-of-00002.arrow" for i in range(2)]
    for i, name in enumerate(names):
        with pa.ipc.new_stream(str(folder / name), schema) as writer:
            for b in range(2):
                reds = [first + 4 * i + 2 * b + k for k in range(2)]
                images = [{"bytes": encoded(red), "path": None} for red in reds]
                columns = {"image": images, "label": [r % 2 for r in reds], "n": [r / 2 for r in reds]}
                writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=schema))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


@pytest.mark.parametrize("metadata", [True, False])
def test_a_saved_data_set(tmp_path: Path, metadata: bool):
    save(tmp_path / "set", 10, metadata)
    source = open_source(tmp_path / "set")
    planned = rows(source)
    first, second = (f"data-{i:05d}-of-00002.arrow" for i in range(2))
    assert [row["id"] for row in planned] == [f"{name}!{i}" for name in (first, second) for i in range(4)]
    assert reds(source) == list(range(10, 18))
    for i in (7, 0, 5, 2):
        assert read_bytes(planned[i]["uri"], planned[i]["member"]) == encoded(10 + i)
    assert [row["label"] for row in planned] == ["zero", "one"] * 4
    assert [row["n"] for row in planned] == [r / 2 for r in range(10, 18)]
    assert source.classes == ("zero", "one")
    assert source.description["parts"][0]["kind"] == "saved data set"


def test_a_saved_data_set_of_several_parts(tmp_path: Path):
    save(tmp_path / "set/train", 0)
    save(tmp_path / "set/test", 100)
    (tmp_path / "set/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    source = open_source(tmp_path / "set")
    assert reds(source) == [*range(8), *range(100, 108)]
    assert column(source, "split") == ["train"] * 8 + ["test"] * 8
    assert column(source, "id")[8] == "test/data-00000-of-00002.arrow!0"


def test_a_saved_data_set_that_is_damaged_is_refused(tmp_path: Path):
    save(tmp_path / "set", 0)
    path = tmp_path / "set/data-00001-of-00002.arrow"
    data = path.read_bytes()
    path.write_bytes(data[:-300])
    with pytest.raises(InvalidValue, match=r"data-00001-of-00002\.arrow.*damaged"):
        rows(open_source(tmp_path / "set"))
    path.write_bytes(b"x" + data[1:])
    with pytest.raises(InvalidValue, match=r"data-00001-of-00002\.arrow.*damaged"):
        rows(open_source(tmp_path / "set"))
    path.unlink()
    with pytest.raises(FileMissing, match=r"data-00001-of-00002\.arrow: no such file"):
        rows(open_source(tmp_path / "set"))
    (tmp_path / "set/state.json").write_text('{"_data_files": [], "_indices_data_files": [1]}')
    with pytest.raises(InvalidValue, match="chosen by a list of indices"):
        open_source(tmp_path / "set")
    (tmp_path / "set/state.json").write_text("{")
    with pytest.raises(InvalidValue, match=r"state\.json must be JSON"):
        open_source(tmp_path / "set")


@pytest.mark.parametrize("missing", ["_data_files", "filename"])
def test_a_state_that_says_too_little_is_refused(tmp_path: Path, missing: str):
    save(tmp_path / "set", 0)
    state = tmp_path / "set/state.json"
    state.write_text(state.read_text().replace(missing, "other"))
    with pytest.raises(InvalidValue, match=rf"set: .*damaged .*{missing}"):
        open_source(tmp_path / "set")


def test_a_damaged_batch_ends_no_process(tmp_path: Path):
    """Places of values that lie outside of their data are found before they are used."""
    save(tmp_path / "set", 0)
    path = tmp_path / "set/data-00000-of-00002.arrow"
    planned = rows(open_source(tmp_path / "set"))
    data, first = path.read_bytes(), encoded(0)
    ends = np.cumsum([0, len(first), len(encoded(1))]).astype("<i4").tobytes()
    at = data.index(ends)
    path.write_bytes(data[: at + 4] + b"\xff\xff\xff\x7f" + data[at + 8 :])
    with pytest.raises(PictureError, match="is damaged, or no longer what it was"):
        read_bytes(planned[0]["uri"], planned[0]["member"])
    path.write_bytes(data)
    assert read_bytes(planned[0]["uri"], planned[0]["member"]) == first


def test_a_folder_of_parquet_files(tmp_path: Path):
    for i in range(3):
        made: dict[str, Any] = {"image": pa.array([encoded(2 * i), encoded(2 * i + 1)]), "label": [i, None]}
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(pa.table(made), tmp_path / f"data/train-{i}.parquet")
    (tmp_path / "README.md").write_text("# a data set")
    for source in (open_source(tmp_path), open_source(f"{tmp_path}/data/*.parquet")):
        assert reds(source) == list(range(6))
        assert column(source, "label") == ["0", None, "1", None, "2", None]
        assert column(source, "id")[3] == "train-1.parquet!1"
        assert source.count == 6


def test_pictures_beside_an_archive_are_a_folder_of_pictures(tmp_path: Path):
    pq.write_table(pa.table({"path": ["z.png"]}), tmp_path / "a.parquet")
    (tmp_path / "z.png").write_bytes(encoded(3))
    assert column(open_source(tmp_path), "id") == ["z.png"]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same 240 pictures in each kind of archive."""
    folder = tmp_path_factory.mktemp("many")
    data = {f"{i:03d}.png": encoded(i % 250) + bytes([i % 256]) * 3000 for i in range(240)}
    pq.write_table(pa.table({"image": list(data.values())}), folder / "x.parquet", row_group_size=150)
    write_tar(folder / "x.tar", data)
    write_tar(folder / "x.tar.gz", data, "w:gz")
    return folder


@pytest.mark.parametrize("name", ["x.parquet", "x.tar", "x.tar.gz"])
@pytest.mark.parametrize("window", [1 << 26, 20_000])
def test_threads_share_what_is_read_in_order(
    many: Path, name: str, window: int, monkeypatch: pytest.MonkeyPatch
):
    """In any order, with a window of all pictures or of a few: each thread gets what it asked for."""
    monkeypatch.setattr(handles, "_SHARED", handles._Shared())
    monkeypatch.setattr(handles, "WINDOW", window)
    monkeypatch.setattr(handles, "_PIECE", 1000)
    planned = rows(open_source(many / name))
    numbers = [*range(240), *range(239, -1, -7), *range(100, 140), 0, 239, 0, 120]
    expected = [encoded(i % 250) + bytes([i % 256]) * 3000 for i in numbers]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda i: read_bytes(planned[i]["uri"], planned[i]["member"]), numbers))
    assert found == expected
    for kept in handles._SHARED.open.values():
        if isinstance(kept, handles._Group) and window == 20_000:
            assert kept.size == sum(values.nbytes for _, values in kept.window) < 50_000
        if isinstance(kept, handles._Packed) and window == 20_000:
            assert sum(map(len, kept.pieces)) < 50_000 + 3200


@pytest.mark.parametrize("name", ["x.parquet", "x.tar.gz"])
def test_each_picture_is_decoded_once_however_many_threads_read(
    many: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(handles, "_SHARED", handles._Shared())
    begun: list[str] = []
    for kind, method in ((handles._Group, "_begin"), (handles._Packed, "_open")):
        real = getattr(kind, method)
        monkeypatch.setattr(kind, method, lambda self, real=real: (begun.append(self.uri), real(self))[1])
    planned = rows(open_source(many / name))
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda row: len(read_bytes(row["uri"], row["member"])), planned)
        assert sum(found) == sum(len(encoded(i % 250)) + 3000 for i in range(240))
    times = 2 if name == "x.parquet" else 1  # two row groups
    assert begun == [str(many / name)] * times


def test_a_file_that_is_restored_is_read_again(tmp_path: Path):
    for name in ("x.tar.gz", "x.parquet", "x.tar"):
        path = tmp_path / name
        if name == "x.parquet":
            pq.write_table(pa.table({"image": [encoded(1), encoded(2)]}), path)
        else:
            write_tar(
                path, {"1.png": encoded(1), "2.png": encoded(2)}, "w:gz" if name.endswith("gz") else "w"
            )
        row, data = rows(open_source(path))[1], path.read_bytes()
        path.unlink()
        path.write_bytes(data[: 1500 if name == "x.tar" else len(data) // 3])
        with pytest.raises(PictureError, match=re.escape(name)):
            read_bytes(row["uri"], row["member"])
        path.unlink()  # a file of the same name, but another one
        path.write_bytes(data)
        assert read_bytes(row["uri"], row["member"]) == encoded(2)


def test_a_forked_child_opens_its_own_files(many: Path, monkeypatch: pytest.MonkeyPatch):
    """The position of an open file is shared with a child, and so would be a lock that somebody holds."""
    monkeypatch.setattr(handles, "_SHARED", handles._Shared())
    monkeypatch.setattr(handles, "WINDOW", 5000)
    planned = {name: rows(open_source(many / name)) for name in ("x.tar", "x.tar.gz", "x.parquet")}
    for some in planned.values():
        read_bytes(some[3]["uri"], some[3]["member"])
    with handles._SHARED.lock:
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            good = all(
                read_bytes(one["uri"], one["member"]) == encoded(i) + bytes([i]) * 3000
                for some in planned.values()
                for i, one in enumerate(some[:60])
            )
            os._exit(0 if good else 1)
    for some in planned.values():
        for i in range(59, 0, -1):
            assert read_bytes(some[i]["uri"], some[i]["member"]) == encoded(i) + bytes([i]) * 3000
    assert os.waitpid(child, 0)[1] == 0
