"""Records of explanations as JSON, in one form for files, reports and the command line; and those files."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pellucid.bundle import pack, read_bundle, unpack, write_bundle
from pellucid.engine.cost import Cost
from pellucid.errors import InvalidValue
from pellucid.images import Box, Picture
from pellucid.prediction import Prediction

SCHEMA_VERSION = 2
"""Of what is in a file under "explanation". Version 1 had "fields", with tuples of unnamed values."""
_FORMAT, _COMPARISON = "pellucid.explanation", "pellucid.comparison"


def to_json(
    record: Mapping[str, Any], tensors: dict[str, Tensor] | None = None, *, prefix: str = ""
) -> dict[str, Any]:
    """A record as JSON, which is the same in a file, a report and on the command line but for its arrays.

    Args:
        record: values by name; "cost", "prediction", "boxes" and "pictures" hold what an `Explanation` does.
        tensors: takes the arrays, pixels included, by the names that the JSON then has for them. Without it,
            small arrays are lists, large ones are described by shape, and pictures by name, path and size.
        prefix: of the arrays' names, which tells the records of one file apart.

    Raises:
        InvalidType: a value that a file cannot hold, where `tensors` is given.

    Example:
        >>> to_json({"score": torch.tensor([0.5]), "boxes": [Box(0.0, 0.0, 3.0, 2.0)]})
        {'score': [0.5], 'boxes': [[0.0, 0.0, 3.0, 2.0]]}
    """
    plain = dict(record)
    if "cost" in plain:
        plain["cost"] = vars(plain["cost"])
    if "prediction" in plain:
        plain["prediction"] = [[vars(best) for best in image] for image in plain["prediction"]]
    if "boxes" in plain:
        plain["boxes"] = [[box.left, box.top, box.right, box.bottom] for box in plain["boxes"]]
    if "pictures" in plain:
        encoded = tensors.pixels if isinstance(tensors, Pictured) else None if tensors is None else _encoded
        plain["pictures"] = [_described(one, encoded) for one in plain["pictures"]]
    return {name: pack(value, f"{prefix}{name}", tensors) for name, value in plain.items()}


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Writes all of a record to a .npz or .safetensors file: a writer for `files.save_by_suffix`.

    Raises:
        InvalidType: a value that a file cannot hold.
    """
    tensors: dict[str, Tensor] = {}
    form = to_json(record, tensors)
    write_bundle(path, tensors, {"format": _FORMAT, "schema_version": SCHEMA_VERSION, "explanation": form})


def read(path: Path) -> dict[str, Any]:
    """The record that `write` wrote; also one that an older Pellucid did.

    Raises:
        FileMissing: there is no such file.
        InvalidValue: another suffix, a damaged or foreign file, or one from a newer Pellucid.
    """
    tensors, metadata = read_bundle(path)
    version = _check(path, metadata, _FORMAT, "an explanation")
    form = _from_version_1(metadata["fields"]) if version == 1 else metadata["explanation"]
    return _record(form, tensors)


def write_several(
    path: Path, entries: Sequence[tuple[str, Mapping[str, Any]]], others: Mapping[str, Any]
) -> None:
    """Writes titled records and what else is known of them to one .npz or .safetensors file.

    Raises:
        InvalidType: a value that a file cannot hold.
    """
    tensors = Pictured()
    forms = [
        {"title": title, "explanation": to_json(record, tensors, prefix=f"{i}.")}
        for i, (title, record) in enumerate(entries)
    ]
    metadata = {"format": _COMPARISON, "schema_version": SCHEMA_VERSION, "entries": forms, **others}
    write_bundle(path, tensors, metadata)


def read_several(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]:
    """What `write_several` wrote: the titled records, and the rest by name.

    Raises:
        FileMissing: there is no such file.
        InvalidValue: another suffix, a damaged or foreign file, or one from a newer Pellucid.
    """
    tensors, metadata = read_bundle(path)
    _check(path, metadata, _COMPARISON, "a comparison")
    forms = metadata.pop("entries")
    return [(form["title"], _record(form["explanation"], tensors)) for form in forms], metadata


def _check(path: Path, metadata: Mapping[str, Any], wanted: str, what: str) -> int:
    """The version of a file, which is refused if it is of another kind or newer than this Pellucid."""
    if metadata.get("format") != wanted:
        raise InvalidValue(f"{str(path)!r} must be {what} saved by Pellucid; it is another file.")
    version: int = metadata["schema_version"]
    if version > SCHEMA_VERSION:
        raise InvalidValue(
            f"{str(path)!r} must have schema version {SCHEMA_VERSION} or older; got "
            f"{version}: it comes from a newer Pellucid, upgrade to read it."
        )
    return version


def _record(form: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    known: dict[str, Any] = unpack(form, tensors)
    known["cost"] = Cost(**known["cost"])
    known["prediction"] = [[Prediction(**best) for best in image] for image in known["prediction"]]
    known["boxes"] = [Box(*edges) for edges in known["boxes"]]
    known["pictures"] = [_picture(described) for described in known["pictures"]]
    return known


def _from_version_1(form: Mapping[str, Any]) -> dict[str, Any]:
    """What a file of version 1 holds, as version 2 has it."""

    def named(rows: Sequence[Any], *names: str) -> list[dict[str, Any]]:
        return [dict(zip(names, row["$tuple"], strict=True)) for row in rows]

    return {
        **form,
        "trace": form["trace"] or {},  # None in files of before there were courses
        "boxes": [box["$tuple"] for box in form["boxes"]],
        "prediction": [named(image, "index", "label", "probability") for image in form["prediction"]],
        "pictures": named(form["pictures"], "rgb", "name", "path", "rgba"),
    }


class Pictured(dict[str, Tensor]):
    """The arrays of several records, in which pixels that several of them show are one array."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: dict[Any, Tensor] = {}

    def pixels(self, picture: Image.Image) -> Tensor:
        """A picture as PNG: the same array for the same pixels."""
        key = picture.mode, picture.size, blake2b(picture.tobytes()).digest()
        if key not in self.encoded:
            self.encoded[key] = _encoded(picture)
        return self.encoded[key]


def _described(picture: Picture, encoded: Callable[[Image.Image], Tensor] | None) -> dict[str, Any]:
    """A picture's name, where it came from and its size, and its pixels where they are asked for."""
    described: dict[str, Any] = {
        "name": picture.name,
        "path": picture.path and str(picture.path),
        "size": list(picture.rgb.size),
        "note": picture.note,
        "remarks": list(picture.remarks),
    }
    if encoded is not None:
        described |= {
            "rgb": encoded(picture.rgb),
            "rgba": None if picture.rgba is None else encoded(picture.rgba),
        }
    return described


def _picture(described: Mapping[str, Any]) -> Picture:
    """The inverse of `_described` with pixels."""
    path, rgba = described["path"], described["rgba"]
    return Picture(
        _decoded(described["rgb"]),
        described["name"],
        path and Path(path),
        None if rgba is None else _decoded(rgba),
        described.get("note", ""),
        remarks=tuple(described.get("remarks", ())),
    )


def _encoded(picture: Image.Image) -> Tensor:
    """A picture as the bytes of a PNG file, which loses nothing."""
    stream = BytesIO()
    picture.save(stream, "PNG")
    return torch.frombuffer(bytearray(stream.getvalue()), dtype=torch.uint8)


def _decoded(png: Tensor) -> Image.Image:
    """The inverse of `_encoded`."""
    return Image.open(BytesIO(png.numpy().tobytes())).copy()
