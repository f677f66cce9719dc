"""Folders, globs, single pictures and lists: what is planned of them, and read by what is planned."""

import base64
import csv
import gzip
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pellucid.errors import ExtraMissing, FileMissing, InvalidValue, PellucidError, PictureError
from pellucid.images import find_pictures, open_picture
from pellucid.runner.schema import plan_schema
from pellucid.runner.sources import Source, open_source, read_bytes, read_picture
from pellucid.runner.sources.lists import BLOCK
from test_picture_range import tiff, write_png


def picture(path: Path, colour: Any = (200, 10, 20), size: tuple[int, int] = (6, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def rows(source: Source) -> list[dict[str, Any]]:
    found = []
    for batch in source.batches():
        assert batch.schema == plan_schema(source.carried)
        found += batch.to_pylist()
    return found


def column(source: Source, name: str) -> list[Any]:
    return [row[name] for row in rows(source)]


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """cat/1.png, cat/deep/2.png, dog/1.JPG, what is no picture, what is hidden, and a result."""
    for name in ("cat/1.png", "cat/deep/2.png", "cat/result.png", "dog/1.JPG", ".hidden/3.png", "cat/.4.png"):
        picture(tmp_path / "zoo" / name)
    (tmp_path / "zoo/cat/notes.txt").write_text("no picture")
    (tmp_path / "zoo/cat/.pellucid-results").write_text("result.png\n")
    return tmp_path / "zoo"


def test_a_folder_is_all_pictures_below_it_in_order(zoo: Path):
    picture(zoo / "cat.b/1.png")  # "cat.b/" comes before "cat/", as whole paths are sorted
    source = open_source(zoo)
    assert column(source, "id") == ["cat.b/1.png", "cat/1.png", "cat/deep/2.png", "dog/1.JPG"]
    assert column(source, "uri") == [str(zoo / one) for one in column(source, "id")] == find_pictures([zoo])
    assert column(source, "member") == column(source, "boxes") == column(source, "mask") == [None] * 4
    assert source.carried == []
    assert json.loads(json.dumps(source.description))["parts"][0]["kind"] == "folder"


def test_class_folders_are_labels_if_there_is_no_picture_beside_them(zoo: Path):
    source = open_source(zoo)
    assert column(source, "label") == ["cat", "cat", "dog"]
    assert source.classes == ("cat", "dog")
    assert source.description["parts"][0]["labels"] == {"from": "folders", "level": 1}
    assert column(open_source(zoo, label="none"), "label") == [None] * 3
    picture(zoo / "top.png")
    source = open_source(zoo)
    assert column(source, "label") == [None] * 4
    assert source.classes is None
    source = open_source(zoo, label="folder")
    assert column(source, "label") == ["cat", "cat", "dog", None]
    assert source.classes == ("cat", "dog")


def test_one_folder_is_no_class_and_splits_are_none(tmp_path: Path):
    picture(tmp_path / "a/all/1.png")
    assert open_source(tmp_path / "a").classes is None
    for name in ("train/cat/1.png", "train/dog/2.png", "val/cat/3.png"):
        picture(tmp_path / "b" / name)
    source = open_source(tmp_path / "b")
    assert column(source, "label") == ["cat", "dog", "cat"]
    assert source.classes == ("cat", "dog")
    assert source.description["parts"][0]["labels"]["level"] == 2


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("**/*.png", ["cat/1.png", "cat/deep/2.png"]),
        ("*/1.*", ["cat/1.png", "dog/1.JPG"]),
        ("cat/**", ["1.png", "deep/2.png"]),
        ("*/deep/*", ["cat/deep/2.png"]),
        ("**/deep/**/?.png", ["cat/deep/2.png"]),
        (".hidden/*.png", ["3.png"]),
        ("[cd]*/1.[pj]*", ["cat/1.png"]),
    ],
)
def test_globs_mean_what_they_mean_elsewhere(zoo: Path, pattern: str, found: list[str]):
    source = open_source(str(zoo / pattern))
    assert column(source, "id") == found
    assert column(source, "uri") == find_pictures([str(zoo / pattern)])
    assert column(source, "label") == [None] * len(found)


def test_several_sources_stand_one_after_the_other(zoo: Path, tmp_path: Path):
    listed = tmp_path / "list.csv"
    listed.write_text("path,weight\nzoo/dog/1.JPG,2\n")
    source = open_source(["sample:cat", str(zoo / "cat/1.png"), zoo / "dog", listed])
    assert column(source, "id") == ["sample:cat", str(zoo / "cat/1.png"), f"{zoo}/dog/1.JPG", "zoo/dog/1.JPG"]
    assert column(source, "uri") == [
        "sample:cat",
        *[str(zoo / p) for p in ("cat/1.png", "dog/1.JPG", "dog/1.JPG")],
    ]
    assert column(source, "weight") == [None, None, None, 2]
    assert [part["kind"] for part in source.description["parts"]] == ["pictures", "folder", "csv"]


def test_relative_names_hold_wherever_they_are_read(zoo: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(zoo.parent)
    found = [column(open_source(one), "uri") for one in ("zoo/cat/1.png", "zoo/cat/1.*", "zoo/cat/deep")]
    assert found == [[str(zoo / "cat/1.png")], [str(zoo / "cat/1.png")], [str(zoo / "cat/deep/2.png")]]


def test_a_link_to_a_folder_above_is_not_followed_for_ever(zoo: Path):
    (zoo / "cat/deep/up").symlink_to(zoo)
    (zoo / "dog/other").symlink_to(zoo / "cat/deep")
    assert column(open_source(zoo), "id") == ["cat/1.png", "cat/deep/2.png", "dog/1.JPG", "dog/other/2.png"]


def test_a_name_that_is_not_utf_8_is_planned_and_read(tmp_path: Path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9.png"
    picture(tmp_path / "plain.png")
    Path(os.fsdecode(raw)).write_bytes((tmp_path / "plain.png").read_bytes())
    planned = rows(open_source(tmp_path))
    assert [row["id"] for row in planned] == ["caf\\xe9.png", "plain.png"]
    assert planned[0]["uri"].endswith("/caf%E9.png")
    assert read_bytes(planned[0]["uri"]) == read_bytes(planned[1]["uri"])


CSV = """\
file_name,Label,bbox,mask,age,when,note
a.png,cat,"[1, 2, 3, 4]",m/a.png,3,2024-01-02,x
sub/b.png,,,,,,
/abs/c.png,7,1 2 3.5 4,,5,2024-01-03,"y, z"
s3://b/d.png,dog,"[[0,0,1,1],[1,1,2,2]]",,6,,w
"""


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz"])
def test_a_list_in_text(tmp_path: Path, kind: str):
    path = tmp_path / f"list.{kind}"
    text = CSV
    if kind == "tsv":
        text = "\n".join("\t".join(row) for row in csv.reader(CSV.splitlines())) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    source = open_source(path)
    planned = rows(source)
    assert [row["id"] for row in planned] == ["a.png", "sub/b.png", "/abs/c.png", "s3://b/d.png"]
    uris = [f"{tmp_path}/a.png", f"{tmp_path}/sub/b.png", "/abs/c.png", "s3://b/d.png"]
    assert [row["uri"] for row in planned] == uris
    assert [row["label"] for row in planned] == ["cat", None, "7", "dog"]
    boxes = [
        [[1.0, 2.0, 3.0, 4.0]],
        None,
        [[1.0, 2.0, 3.5, 4.0]],
        [[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 2.0, 2.0]],
    ]
    assert [row["boxes"] for row in planned] == boxes
    assert [row["mask"] for row in planned] == [f"{tmp_path}/m/a.png", None, None, None]
    assert [row["age"] for row in planned] == [3, None, 5, 6]
    assert {one.name: str(one.type) for one in source.carried} == {
        "age": "int64", "when": "date32[day]", "note": "string",
    }  # fmt: skip
    (told,) = source.description["parts"]
    assert told["columns"] == {"image": "file_name", "label": "Label", "boxes": "bbox", "mask": "mask"}
    assert told["carried"] == {"age": "int64", "when": "date32[day]", "note": "string"}


def test_types_of_a_list_hold_for_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pellucid.runner.sources.lists.BLOCK", 64)
    lines = ["path,n,x,word,none"] + [f"{i}.png,{i},{i},{i}," for i in range(40)] + ["40.png,41,1.5,w,late"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    source = open_source(tmp_path / "list.csv")
    kinds = {one.name: str(one.type) for one in source.carried}
    assert kinds == {"n": "int64", "x": "double", "word": "string", "none": "string"}
    planned = rows(source)
    assert [(row["n"], row["x"], row["word"]) for row in planned[-2:]] == [(39, 39.0, "39"), (41, 1.5, "w")]
    assert len(planned) == 41
    assert len(list(source.batches())) > 4


def test_lines_within_quotes_may_lie_across_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pellucid.runner.sources.lists.BLOCK", 96)
    texts = ["word\n" * (i % 7) for i in range(50)]
    lines = ["path,text", *(f'{i}.png,"{text}"' for i, text in enumerate(texts))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    assert column(open_source(tmp_path / "list.csv"), "text") == texts


def test_a_folder_is_listed_twice_at_most(zoo: Path, monkeypatch: pytest.MonkeyPatch):
    """Once for a look, once for its pictures: listing one of millions of files takes long."""
    asked: list[str] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (asked.append(str(path)), real(path))[1])
    picture(zoo / "top.png")
    assert len(rows(open_source(zoo))) == 4
    assert asked.count(str(zoo)) == 2
    asked.clear()
    assert len(rows(open_source(f"{zoo}/*.png"))) == 1
    assert asked == [str(zoo)]


def table(**more: Any) -> pa.Table:
    return pa.table({"path": ["a.png", "b/c.png"], **more})


def test_a_list_in_parquet(tmp_path: Path):
    made = table(
        label=pa.array([3, None], pa.int8()),
        boxes=pa.array([[[1, 2, 3, 4]], None], pa.list_(pa.list_(pa.float32()))),
        tags=pa.array([["x", "y"], []], pa.list_(pa.string())),
        error=pa.array([0.5, 1.0]),
    )
    pq.write_table(made, tmp_path / "list.parquet", row_group_size=1)
    source = open_source(tmp_path / "list.parquet")
    assert source.count == 2
    first, second = rows(source)
    assert first == {
        "id": "a.png", "uri": f"{tmp_path}/a.png", "member": None, "label": "3", "boxes": [[1, 2, 3, 4]],
        "mask": None, "tags": ["x", "y"], "source_error": 0.5,
    }  # fmt: skip
    assert (second["uri"], second["label"], second["boxes"], second["tags"]) == (
        f"{tmp_path}/b/c.png",
        None,
        None,
        [],
    )


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1, 2, 3, 4], None], pa.list_(pa.int64())),
        pa.array([[1.0, 2.0, 3.0, 4.0], None], pa.list_(pa.float32(), 4)),
        pa.array(["1,2,3,4", ""]),
        pa.array([[[1, 2, 3, 4]], None], pa.large_list(pa.list_(pa.int16(), 4))),
    ],
)
def test_boxes_in_any_spelling(tmp_path: Path, values: pa.Array):
    pq.write_table(table(bbox=values), tmp_path / "list.parquet")
    assert column(open_source(tmp_path / "list.parquet"), "boxes") == [[[1.0, 2.0, 3.0, 4.0]], None]
    sizes = open_source(tmp_path / "list.parquet", boxes="xywh")
    assert column(sizes, "boxes") == [[[1.0, 2.0, 4.0, 6.0]], None]


@pytest.mark.parametrize("box", ["[10, 20, 5, 30]", "[1, 2, 3]", "[1, 2, NaN, 4]", "{}", "some"])
def test_boxes_that_are_none_are_refused(tmp_path: Path, box: str):
    (tmp_path / "list.tsv").write_text(f"path\tbox\na.png\t1 2 3 4\nb.png\t{box}\n")
    with pytest.raises(InvalidValue, match=r"list.tsv: a box must be four numbers.*row 1 has"):
        rows(open_source(tmp_path / "list.tsv"))


@pytest.fixture
def encoded(tmp_path: Path) -> list[bytes]:
    return [picture(tmp_path / f"{i}.png", (i, 0, 0)).read_bytes() for i in range(100)]


@pytest.mark.parametrize("layout", ["struct", "binary"])
def test_pictures_in_parquet(tmp_path: Path, encoded: list[bytes], layout: str):
    values: Any = [{"bytes": one, "path": f"{i}.png"} for i, one in enumerate(encoded)]
    features = {"label": {"names": ["zero", "one"], "_type": "ClassLabel"}}
    if layout == "struct":
        column_of_pictures = pa.array(values, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    else:
        column_of_pictures = pa.array(encoded)
    made = pa.table({"image": column_of_pictures, "label": [i % 2 for i in range(100)], "n": range(100)})
    made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(made, tmp_path / "x.parquet", row_group_size=70)
    source = open_source(tmp_path / "x.parquet")
    planned = rows(source)
    assert [row["id"] for row in planned] == [f"x.parquet!{i}" for i in range(100)]
    assert [row["label"] for row in planned[:3]] == ["zero", "one", "zero"]
    assert source.classes == ("zero", "one")
    assert [row["n"] for row in planned] == list(range(100))
    for i in (0, 1, 40, 33, 69, 70, 99, 2):
        assert read_bytes(planned[i]["uri"], planned[i]["member"]) == encoded[i]
    found, _ = read_picture(planned[71]["uri"], planned[71]["member"], planned[71]["id"])
    assert found.rgb.getpixel((0, 0)) == (71, 0, 0)
    assert found.name == "x.parquet!71"
    assert found.path is None


def test_pictures_alone_in_parquet_and_a_row_without(tmp_path: Path, encoded: list[bytes]):
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    values = [{"bytes": encoded[5], "path": None}, {"bytes": None, "path": "7.png"}, None]
    pq.write_table(pa.table({"img": pa.array(values, kind)}), tmp_path / "x.parquet")
    first, second, third = rows(open_source(tmp_path / "x.parquet"))
    assert read_bytes(first["uri"], first["member"]) == encoded[5]
    assert read_bytes(second["uri"], second["member"]) == encoded[7]
    with pytest.raises(PictureError, match=r"This row of .*x.parquet holds no picture"):
        read_bytes(third["uri"], third["member"])


def test_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lines = [{"image": f"{i}.png", "label": f"c{i}", "boxes": [[0, 0, i, 1]], "n": i} for i in range(30)]
    lines[-1] |= {"n": 0.5, "late": {"x": [1]}}
    text = "\n".join(map(json.dumps, lines[:10])) + "\n\n" + "\n".join(map(json.dumps, lines[10:]))
    (tmp_path / "l.jsonl").write_text(text)
    for block in (1 << 22, 200):
        monkeypatch.setattr("pellucid.runner.sources.lists.BLOCK", block)
        source = open_source(tmp_path / "l.jsonl")
        planned = rows(source)
        assert [row["uri"] for row in planned] == [f"{tmp_path}/{i}.png" for i in range(30)]
        assert [row["label"] for row in planned] == [f"c{i}" for i in range(30)]
        assert [row["boxes"] for row in planned] == [[[0.0, 0.0, i, 1.0]] for i in range(30)]
        assert [row["n"] for row in planned] == [*map(float, range(29)), 0.5]
        assert [row["late"] for row in planned] == [None] * 29 + [{"x": [1]}]


@pytest.mark.parametrize("layout", ["struct", "text", "url"])
def test_pictures_in_json_lines(tmp_path: Path, encoded: list[bytes], layout: str):
    texts = [base64.b64encode(one).decode() for one in encoded[:5]]
    made = {
        "struct": lambda text: {"bytes": text, "path": "é.png"},
        "url": lambda text: f"data:image/png;base64,{text}",
        "text": lambda text: {"bytes": text},
    }[layout]
    lines = [json.dumps({"image": made(text), "x": "é"}, ensure_ascii=False) for text in texts]
    (tmp_path / "l.jsonl").write_text("\n \n".join(lines), encoding="utf-8")
    planned = rows(open_source(tmp_path / "l.jsonl"))
    assert [row["id"] for row in planned] == [f"l.jsonl!{i}" for i in range(5)]
    assert [read_bytes(row["uri"], row["member"]) for row in planned] == encoded[:5]
    assert [row["x"] for row in planned] == ["é"] * 5


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_row_that_names_no_picture_is_not_lost(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pellucid.runner.sources.lists.BLOCK", 64)
    paths = ["" if i == 45 else None if i == 46 and kind != "csv" else f"{i}.png" for i in range(50)]
    path = tmp_path / f"l.{kind}"
    if kind == "csv":
        path.write_text("path,n\n" + "".join(f"{one},{i}\n" for i, one in enumerate(paths)))
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps({"path": one, "n": i}) for i, one in enumerate(paths)))
    else:
        pq.write_table(pa.table({"path": paths, "n": range(50)}), path, row_group_size=10)
    planned = rows(open_source(path))
    assert [row["n"] for row in planned] == list(range(50))
    for i, row in enumerate(planned):
        if paths[i]:
            assert (row["id"], row["uri"]) == (paths[i], f"{tmp_path}/{paths[i]}")
        else:
            assert (row["id"], row["uri"]) == (f"{path}!{i}", "")
    with pytest.raises(PictureError, match="This row of the list names no picture"):
        read_bytes(planned[45]["uri"], planned[45]["member"])


def test_paths_of_a_list_lie_in_its_folder(tmp_path: Path):
    (tmp_path / "l.csv").write_text("path\n./a.png\n././b.png\n../c.png\n.d.png\n~/e.png\n")
    names = ["a.png", "b.png", "../c.png", ".d.png", "~/e.png"]
    assert column(open_source(tmp_path / "l.csv"), "uri") == [f"{tmp_path}/{name}" for name in names]


def test_the_columns_can_be_named(tmp_path: Path):
    (tmp_path / "l.csv").write_text("where,label,kind\na.png,1,x\n")
    with pytest.raises(
        InvalidValue, match=r"must have a column of pictures.*columns are 'where', 'label', 'kind'"
    ):
        open_source(tmp_path / "l.csv")
    source = open_source(tmp_path / "l.csv", image="where", label="kind")
    assert (column(source, "label"), column(source, "source_label")) == (["x"], [1])
    source = open_source(tmp_path / "l.csv", image="where", label="none")
    assert (column(source, "label"), column(source, "source_label")) == ([None], [1])
    with pytest.raises(InvalidValue, match=r"has no column 'wher'; there are 'where', 'label', 'kind'"):
        open_source(tmp_path / "l.csv", image="wher")
    pq.write_table(table(label=[1, 2]), tmp_path / "l.parquet")
    with pytest.raises(InvalidValue, match=r"must hold paths or bytes; 'label' holds int64"):
        open_source(tmp_path / "l.parquet", image="label")


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-20])
    return path


def damaged(folder: Path, kind: str) -> Path:
    path = folder / f"list.{kind}"
    match kind:
        case "parquet":
            pq.write_table(table(), path)
            cut(path)
        case "csv":
            path.write_text("path,x\na.png,1\nb.png\n")
        case "csv.gz":
            path.write_bytes(gzip.compress(b"path,x\n" + b"".join(b"%d.png,1\n" % i for i in range(999))))
            cut(path)
        case "tsv":
            path.write_bytes(b"path\tx\nx\xff.png\t1\n")
        case "jsonl":
            path.write_text('{"path": "a.png"}\n{"path": ')
    return path


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz", "tsv", "jsonl"])
def test_a_damaged_list_is_refused_by_its_name(tmp_path: Path, kind: str):
    path = damaged(tmp_path, kind)
    with pytest.raises(InvalidValue, match=rf"list\.{kind}") as caught:
        rows(open_source(path))
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["path,n\n", "path\n"])
def test_damage_further_down_is_found(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pellucid.runner.sources.lists.BLOCK", 64)
    more = ",1" if "n" in text.split(",")[-1] and "," in text else ""
    lines = [f"{i}.png{more}\n" for i in range(60)]
    (tmp_path / "list.csv").write_text(text + "".join(lines) + "a,b,c,d\n")
    with pytest.raises(InvalidValue, match=r"list\.csv: a list must be a whole file.*got 4"):
        rows(open_source(tmp_path / "list.csv"))


def test_what_is_no_file_is_not_waited_for(tmp_path: Path):
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    source = open_source(tmp_path)
    assert column(source, "id") == ["a.png", "broken.png", "circle.png"]
    for uri in column(source, "uri")[1:]:
        with pytest.raises(PellucidError, match=r"(broken|circle)\.png"):
            read_picture(uri)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("csv", b"path,l\xbdbel\na.png,1\n"),
        ("jsonl", b'{"path": "a\xda.png"}\n'),
        ("jsonl", b'{"path": "a.png", "\xda": 1}\n'),
        ("jsonl", b'{"path": "a.png", "n": "\xff"}\n'),
    ],
)
def test_text_must_be_utf_8(tmp_path: Path, kind: str, text: bytes):
    (tmp_path / f"l.{kind}").write_bytes(text)
    with pytest.raises(InvalidValue, match=rf"l\.{kind}: .*damaged"):
        rows(open_source(tmp_path / f"l.{kind}"))


def test_there_must_be_pictures(tmp_path: Path):
    (tmp_path / "none").mkdir()
    (tmp_path / "l.csv").write_text("path\n")
    for source in (tmp_path / "none", tmp_path / "l.csv", str(tmp_path / "*.png")):
        with pytest.raises(FileMissing, match="there must be at least one picture, and there is none"):
            rows(open_source(source))
    with pytest.raises(FileMissing, match="nowhere: no such file or folder"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(FileMissing, match=r"l2\.csv: no such file"):
        open_source(tmp_path / "l2.csv")
    with pytest.raises(InvalidValue, match="at least one source"):
        open_source([])


def test_a_scheme_must_be_known_and_its_library_be_installed():
    with pytest.raises(InvalidValue, match=r"of a scheme that fsspec knows"):
        open_source("nonsense://x/y/")
    with pytest.raises(ExtraMissing, match="pip install s3fs"):
        open_source("s3://bucket/photos/")
    with pytest.raises(ExtraMissing, match="pip install gcsfs"):
        read_bytes("gs://bucket/cat.png")


def test_read_picture_is_open_picture(tmp_path: Path):
    """Whatever is special about a file is seen in its bytes as well."""
    grey = (np.arange(48).reshape(6, 8) * 80).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    write_png(tmp_path / "sbit.png", grey, sbit=b"\x0c")
    tiff(tmp_path / "deep.tif", np.stack([grey] * 3, -1), 16, 1, bands=3, photometric=2)
    rotated = Image.new("RGB", (6, 4), "red")
    exif = rotated.getexif()
    exif[274] = 6
    rotated.save(tmp_path / "exif.jpg", exif=exif)
    Image.new("RGBA", (6, 4), (9, 9, 9, 60)).save(tmp_path / "clear.webp")
    names = ["deep.png", "sbit.png", "deep.tif", "exif.jpg", "clear.webp"]
    for name in [str(tmp_path / one) for one in names] + ["sample:cat"]:
        opened, (read, digest) = open_picture(name), read_picture(name)
        np.testing.assert_array_equal(np.asarray(read.rgb), np.asarray(opened.rgb))
        assert (read.name, read.notes, read.guessed) == (opened.name, opened.notes, opened.guessed)
        assert (read.rgba is None) == (opened.rgba is None)
        assert digest == hashlib.blake2b(read_bytes(name), digest_size=16).hexdigest()
    assert read_picture(str(tmp_path / "clear.webp"))[0].path == tmp_path / "clear.webp"
    assert read_picture(str(tmp_path / "deep.png"), range=(0, 8000))[0].rgb.getpixel((7, 5))[0] == 120
    assert read_picture("sample:cat", range=(0, 8000))[0].rgb.size == (451, 300)  # 8 bits: no use for it


@pytest.mark.parametrize(("data", "said"), [(b"", "is empty"), (b"no picture", "not a picture in a format")])
def test_what_is_no_picture_is_told_by_its_id(tmp_path: Path, data: bytes, said: str):
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(PictureError, match=rf"^cats/x.png .*{said}"):
        read_picture(str(tmp_path / "x.png"), None, "cats/x.png")
    picture(tmp_path / "y.png")
    (tmp_path / "y.png").write_bytes((tmp_path / "y.png").read_bytes()[:-30])
    with pytest.raises(PictureError, match=r"^y cannot be read"):
        read_picture(str(tmp_path / "y.png"), None, "y")
    with pytest.raises(PictureError, match="embedded null byte"):
        read_picture(f"{tmp_path}/a\0.png")
    with pytest.raises(FileMissing, match=r"gone.png: no such file"):
        read_picture(str(tmp_path / "gone.png"), None, "gone")


@pytest.mark.parametrize("member", ["", "tar:x:1", "zip:0:1", "parquet:0:1", "tar:1"])
def test_a_member_that_no_plan_holds_is_refused(tmp_path: Path, member: str):
    (tmp_path / "x.tar").write_bytes(b"0123")
    with pytest.raises(PictureError, match="a member must be one of those that a plan holds"):
        read_bytes(str(tmp_path / "x.tar"), member)


def test_many_threads_read_rows_of_one_file(tmp_path: Path, encoded: list[bytes]):
    pq.write_table(pa.table({"image": pa.array(encoded)}), tmp_path / "x.parquet", row_group_size=30)
    planned = rows(open_source(tmp_path / "x.parquet")) * 3
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: read_bytes(row["uri"], row["member"]), planned))
    assert found == encoded * 3


def test_a_list_is_never_in_memory_as_a_whole(tmp_path: Path):
    """Forty times the rows of what Arrow holds at most."""
    path = tmp_path / "l.csv"
    with path.open("w") as file:
        file.write("path,label,text\n")
        for i in range(400_000):
            file.write(f"pictures/of/a/folder/{i:08d}.jpg,{i % 10},some words that are carried along\n")
    source = open_source(path)
    held, count = 0, 0
    for batch in source.batches():
        held, count = max(held, pa.total_allocated_bytes()), count + batch.num_rows
        del batch
    assert count == 400_000
    assert held < 12 * BLOCK < 2 * path.stat().st_size * 3
