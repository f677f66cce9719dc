"""Sources that are not on this machine: fsspec's memory, and a web server with or without byte ranges."""

import http.server
import io
import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_sources import column, picture, rows
from test_sources_annotated import COCO, voc
from test_sources_archives import FILES, encoded, reds, save, write_tar

from pellucid.errors import FileMissing, InvalidValue, PictureError
from pellucid.runner.sources import open_source, places, read_bytes, read_picture


class Server(http.server.SimpleHTTPRequestHandler):
    """Lists folders; sends parts of files where its server says so; fails as often as asked."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.failing > 0 and not self.path.endswith("/"):
            self.server.failing -= 1
            self.send_error(503)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if wanted is None or not self.server.ranges or not path.is_file():
            super().do_GET()
            return
        data = path.read_bytes()
        start, stop = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1) + 1
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(data[start:stop])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """Serves the folder `web`."""
    (tmp_path / "web").mkdir()
    handler = partial(Server, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        made.asked, made.failing, made.ranges = [], 0, True
        made.folder, made.url = tmp_path / "web", f"http://127.0.0.1:{made.server_port}"
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "WAIT", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def store() -> Iterator[Any]:
    """A folder of fsspec's memory."""
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


def upload(folder: Path, system: Any, to: str) -> str:
    system.put(str(folder), to, recursive=True)
    return f"memory:/{to}"


def everything(folder: Path) -> None:
    """One source of each kind."""
    for i, name in enumerate(("photos/cat/1.png", "photos/dog/2.png", "photos/dog/3.png")):
        picture(folder / name, (i + 1, 0, 0))
    (folder / "photos/.pellucid-results").write_text("")
    (folder / "list.csv").write_text("path,label\nphotos/cat/1.png,cat\nphotos/dog/3.png,dog\n")
    (folder / "list.jsonl").write_text('{"path": "photos/dog/2.png", "n": 1}\n')
    pq.write_table(pa.table({"image": [encoded(7), encoded(8)], "n": [1, 2]}), folder / "x.parquet")
    write_tar(folder / "x-0.tar", FILES)
    write_tar(folder / "x-1.tar.gz", FILES, "w:gz")
    save(folder / "saved", 20)
    (folder / "coco").mkdir()
    (folder / "coco/instances.json").write_text(json.dumps(COCO))
    for i, one in enumerate(COCO["images"]):
        picture(folder / "coco/images" / one["file_name"], (i, 0, 0))
    picture(folder / "voc/JPEGImages/a.png", (4, 0, 0))
    voc(folder / "voc/Annotations/a.xml", "a.png", ("cat", 3))


KINDS = {
    "photos/": ([1, 2, 3], ["cat", "dog", "dog"]),
    "photos/dog/2.png": ([2], [None]),
    "photos/*/[13].png": ([1, 3], [None, None]),
    "list.csv": ([1, 3], ["cat", "dog"]),
    "list.jsonl": ([2], [None]),
    "x.parquet": ([7, 8], [None, None]),
    "x-{0..0}.tar": ([1, 2, 3, 4], ["5", "dog", "dog", None]),
    "x-1.tar.gz": ([1, 2, 3, 4], ["5", "dog", "dog", None]),
    "saved/": (list(range(20, 28)), ["zero", "one"] * 4),
    "coco/instances.json": ([0, 1, 2, 3], ["dog", "cat", None, None]),
    "voc/": ([4], ["cat"]),
}


@pytest.mark.parametrize("where", ["memory", "http"])
def test_every_kind_from_elsewhere(tmp_path: Path, where: str, server: Any, store: Any):
    everything(server.folder)
    root = upload(server.folder, store, "/bucket") if where == "memory" else server.url
    for spec, (red, labels) in KINDS.items():
        source = open_source(f"{root}/{spec}")
        assert reds(source) == red, spec
        assert column(source, "label") == labels, spec
        assert all(uri.startswith(root) for uri in column(source, "uri")), spec


def test_many_remote_tars_stay_in_order(store: Any, tmp_path: Path):
    for i in range(20):
        write_tar(tmp_path / f"t/{i:02d}.tar", {f"{i}-{k}.png": encoded(k) for k in range(20 - i)})
    root = upload(tmp_path / "t", store, "/bucket")
    expected = [f"{i:02d}.tar!{i}-{k}.png" for i in range(20) for k in range(20 - i)]
    assert column(open_source(f"{root}/*.tar"), "id") == expected
    with store.open("/bucket/07.tar", "wb") as file:
        file.write((tmp_path / "t/07.tar").read_bytes()[:3000])
    gone = expected.index("07.tar!7-3.png")
    expected[gone : expected.index("08.tar!8-0.png")] = ["07.tar!(cut).end"]
    assert column(open_source(f"{root}/*.tar"), "id") == expected
    store.rm("/bucket/13.tar")
    with pytest.raises(FileMissing, match=r"13\.tar: no such file"):
        rows(open_source(f"{root}/{{00..19}}.tar"))


def test_every_kind_from_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    made = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    made.start()
    host, port = made.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    everything(tmp_path / "web")
    system = fsspec.filesystem("s3", endpoint_url=f"http://{host}:{port}")
    system.mkdir("bucket")
    system.put(f"{tmp_path}/web/", "bucket/", recursive=True)
    monkeypatch.setattr(fsspec.config, "conf", {"s3": {"endpoint_url": f"http://{host}:{port}"}})
    for spec, (red, labels) in KINDS.items():
        source = open_source(f"s3://bucket/{spec}")
        assert (reds(source), column(source, "label")) == (red, labels), spec
    made.stop()


def test_a_web_server_without_byte_ranges(server: Any):
    everything(server.folder)
    server.ranges = False
    for spec in ("photos/", "list.csv", "list.jsonl", "coco/instances.json"):
        assert reds(open_source(f"{server.url}/{spec}")) == KINDS[spec][0]
    write_tar(server.folder / "big.tar", {f"{i}.png": encoded(i) + bytes(9_000_000) for i in range(2)})
    with pytest.raises(InvalidValue, match=r"big\.tar cannot be read .*range requests"):
        rows(open_source(f"{server.url}/big.tar"))
    tar, member = f"{server.url}/x-0.tar", rows(open_source(server.folder / "x-0.tar"))[1]["member"]
    assert read_bytes(tar, member) == FILES["a/0002.left.PNG"]  # all of it came, of which this is a part


def test_a_server_is_asked_again(server: Any):
    picture(server.folder / "a.png", (5, 0, 0))
    server.failing = 2
    found, _ = read_picture(f"{server.url}/a.png", None, "a")
    assert found.rgb.getpixel((0, 0)) == (5, 0, 0)
    assert server.asked == ["/a.png"] * 3
    server.failing = 3
    with pytest.raises(PictureError, match=r"a\.png cannot be read \(.*503.*and the network"):
        read_bytes(f"{server.url}/a.png")
    server.asked.clear()
    with pytest.raises(FileMissing, match=r"b\.png: no such file"):
        read_bytes(f"{server.url}/b.png")
    assert server.asked == ["/b.png"]


def test_a_server_that_does_not_answer():
    with pytest.raises(InvalidValue, match=r"127\.0\.0\.1:9/photos/ cannot be read .*the network"):
        rows(open_source("http://127.0.0.1:9/photos/"))
    with pytest.raises(PictureError, match=r"^http://127\.0\.0\.1:9/a\.png cannot be read"):
        read_bytes("http://127.0.0.1:9/a.png")


def test_what_is_not_there(store: Any, server: Any):
    for root in ("memory://bucket", server.url):
        for name in ("list.csv", "x.parquet", "x.tar", "instances.json"):
            with pytest.raises(FileMissing, match=rf"{name}: no such file"):
                rows(open_source(f"{root}/{name}"))
    with pytest.raises(FileMissing, match=r"memory://bucket/photos: no such file"):
        open_source("memory://bucket/photos")


def test_an_address_in_a_list(server: Any, tmp_path: Path, store: Any):
    picture(server.folder / "a.png", (9, 0, 0))
    picture(tmp_path / "b.png", (8, 0, 0))
    with store.open("/c.png", "wb") as file:
        file.write(encoded(7))
    lines = [f"{server.url}/a.png", "b.png", "memory://c.png", "sample:cat", f"file://{tmp_path}/b.png"]
    (tmp_path / "l.csv").write_text("\n".join(["url", *lines]))
    planned = rows(open_source(tmp_path / "l.csv"))
    assert [row["id"] for row in planned] == lines
    found = [read_picture(row["uri"], row["member"], row["id"])[0] for row in planned]
    assert [one.rgb.getpixel((0, 0))[0] for one in found] == [9, 8, 7, found[3].rgb.getpixel((0, 0))[0], 8]
    assert [one.name for one in found] == ["a", "b", "c", "cat", "b"]
    assert found[4].path == tmp_path / "b.png"
    assert found[0].path is None


def test_a_picture_whose_address_has_no_suffix(server: Any):
    (server.folder / "picture").write_bytes(encoded(6))
    assert reds(open_source(f"{server.url}/picture?size=big")) == [6]
    assert io.BytesIO(read_bytes(f"{server.url}/picture")).getvalue() == encoded(6)
