"""A set is downloaded whole and with the right checksums, or nothing is written."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from digit_sets import write_set

from pellucid.digits.data import read_folder
from pellucid.digits.download import DownloadFailed, Source, download, source_of


class Server:
    """Serves files of a folder; `cut` names one whose connection ends half-way."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cut, self.asked = folder, "", []

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                server.asked.append(name)
                data = (server.folder / name).read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if name == server.cut else data)

            def log_message(self, *_: object) -> None: ...

        return Handler


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Source]]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server(write_set(tmp_path / "served", tests=5, suffix=".gz"))
    http = ThreadingHTTPServer(("127.0.0.1", 0), server.handler())
    threading.Thread(target=http.serve_forever, daemon=True).start()
    checksums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in server.folder.iterdir()}
    yield server, Source((f"http://127.0.0.1:{http.server_port}/",), checksums)
    http.shutdown()
    http.server_close()


def test_what_was_downloaded_is_read_and_not_asked_for_again(served: tuple[Server, Source], tmp_path: Path):
    server, source = served
    folder = download("mnist", tmp_path / "here", source=source, progress=False)
    assert (len(read_folder(folder).train), len(read_folder(folder).test)) == (20, 5)
    assert len(server.asked) == 4
    download("mnist", tmp_path / "here", source=source, progress=False)
    assert len(server.asked) == 4


def test_an_interrupted_download_leaves_nothing(served: tuple[Server, Source], tmp_path: Path):
    server, source = served
    server.cut = sorted(source.checksums)[-1]
    with pytest.raises(DownloadFailed, match=r"^mnist cannot be downloaded .*: nothing was written\. Pass"):
        download("mnist", tmp_path / "here", source=source, progress=False)
    assert not (tmp_path / "here").exists()


def test_a_damaged_file_is_refused_and_leaves_nothing(served: tuple[Server, Source], tmp_path: Path):
    server, source = served
    name = sorted(source.checksums)[0]
    (server.folder / name).write_bytes(b"something else")
    with pytest.raises(DownloadFailed, match=f"{name} came damaged, with the MD5"):
        download("mnist", tmp_path / "here", source=source, progress=False)
    assert not (tmp_path / "here").exists()


def test_a_second_address_is_tried_and_no_network_is_said(served: tuple[Server, Source], tmp_path: Path):
    _, source = served
    nobody = "http://127.0.0.1:9/"
    both = Source((nobody, *source.addresses), source.checksums)
    assert download("mnist", tmp_path / "both", source=both, progress=False).is_dir()
    with pytest.raises(DownloadFailed, match=r"127\.0\.0\.1:9/: .*refused"):
        download("mnist", tmp_path / "none", source=Source((nobody,), source.checksums), progress=False)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_addresses_and_checksums_are_torchvisions(name: str):
    source = source_of(name)
    assert all(address.startswith("http") for address in source.addresses)
    assert sorted(source.checksums) == [
        "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz",
        "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
    ]  # fmt: skip
    assert all(len(checksum) == 32 for checksum in source.checksums.values())
