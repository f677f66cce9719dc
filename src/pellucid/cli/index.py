"""`index.jsonl`, the list of results in their folder: a line of JSON for each, once its files are written.

What a line says was asked, and the digests of its files, tell whether a result is still what is wanted.
"""

import json
import re
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.caching import cached_property
from pellucid.cli.own_model import ModelOptions
from pellucid.files import written_to
from pellucid.model import Model
from pellucid.request import Request

INDEX = "index.jsonl"
Row = dict[str, Any]
"""A result as `--json` prints it."""


class Index:
    """The results of a folder, by the name that their files share."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / INDEX

    def find(self, name: str, asked: Mapping[str, Any]) -> Row | None:
        """The result of that name, if the same was asked and its files are what was written then."""
        line = self._lines.get(name)
        if line is None or line["asked"] != plain(asked):
            return None
        row = {key: value for key, value in line.items() if key not in ("file", "asked", "digests")}
        return row if [digest(file) for file in row["files"]] == line["digests"] else None

    def add(self, name: str, asked: Mapping[str, Any], row: Row) -> None:
        """Appends a line, whole, or a part of one that will not be read.

        Raises:
            NotWritten: the file cannot be written.
        """
        digests = [digest(file) for file in row["files"]]
        line = _json({"file": name, **row, "asked": asked, "digests": digests}).encode() + b"\n"
        with written_to(self.path), self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, 2)
                if file.read(1) != b"\n":  # the process that wrote it was killed
                    line = b"\n" + line
            file.write(line)

    @cached_property
    def _lines(self) -> dict[str, Row]:
        """The last line of each name; broken ones are left out."""
        found: dict[str, Row] = {}
        if not self.path.exists():
            return found
        with written_to(self.path, done="read"):
            text = self.path.read_bytes()
        for line in text.split(b"\n"):
            try:
                row = json.loads(line)
                if {"file", "files", "asked", "digests"} <= row.keys():
                    found[row["file"]] = row
            except (ValueError, AttributeError):
                continue
        return found


def model_facts(model: Model, spec: str, given: ModelOptions) -> dict[str, Any]:
    """What makes a model's answers: its numbers, its own code, what it makes of pictures, its class names."""
    seen = blake2b(digest_size=16)
    module = model.module
    for name, value in module.state_dict().items() if isinstance(module, nn.Module) else ():
        seen.update(name.encode())
        seen.update(_bytes(value) if isinstance(value, Tensor) else repr(value).encode())
    code = Path(spec.rpartition(":")[0])
    return {
        "spec": spec,
        "options": asdict(given),
        "class": type(module).__name__,
        "weights": seen.hexdigest(),
        "code": digest(code) if code.suffix == ".py" else None,
        "preprocess": repr(model.preprocess),
        "transform": re.sub(" at 0x[0-9a-f]+", "", repr(model.transform)),
        "labels": text_digest(_json(model.labels)),
        "outputs": repr((model.output_key, model.output_scale, model.multi_label)),
        "runs on": f"{model.device}, {model.dtype}",
    }


def request_facts(request: Request) -> dict[str, Any]:
    """A method with its options, and the state of the files that these name."""
    files = [value for value in request.given.values() if isinstance(value, str | Path)]
    return {"method": request.title, "files": [facts for value in files if (facts := file_facts(value))]}


def file_facts(path: str | Path) -> list[Any] | None:
    """The size of a file or folder and when it was changed; None where there is none."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return [str(path), found.st_size, found.st_mtime_ns]


def plain(asked: Any) -> Any:
    """As it is read back from JSON."""
    return json.loads(_json(asked))


def digest(file: str | Path) -> str | None:
    """Of a file's bytes; None where there is none."""
    try:
        return blake2b(Path(file).read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return None


def text_digest(text: str) -> str:
    """Of a text that would be too long for every line."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


@contextmanager
def unbroken() -> Iterator[None]:
    """Ctrl-C within the block counts at its end, so that a result is written and listed, or neither."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = False

    def later(*_: object) -> None:
        nonlocal pressed
        pressed = True

    before = signal.signal(signal.SIGINT, later)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
