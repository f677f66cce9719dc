"""How an explanation lies in a file: its tensors as they are, everything else as JSON."""

from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pellucid.engine.cost import Cost
from pellucid.errors import InvalidValue
from pellucid.explanation import Explanation, Prediction
from pellucid.files import pack, read_bundle, unpack, write_bundle
from pellucid.images import Box, Picture

SCHEMA_VERSION = 1
_FORMAT = "pellucid.explanation"


def write(explanation: Explanation, path: Path) -> None:
    """Writes all of an explanation to a .npz or .safetensors file, whole or not at all.

    Raises:
        FileMissing: the folder does not exist.
        InvalidType: `options`, `details` or `trace` hold what a file cannot.
    """
    values = {f.name: getattr(explanation, f.name) for f in fields(explanation)}
    values["cost"] = vars(explanation.cost)
    values["prediction"] = [
        [(p.index, p.label, p.probability) for p in image] for image in explanation.prediction
    ]
    values["boxes"] = [(b.left, b.top, b.right, b.bottom) for b in explanation.boxes]
    values["pictures"] = [
        (_encoded(p.rgb), p.name, p.path and str(p.path), p.rgba and _encoded(p.rgba))
        for p in explanation.pictures
    ]
    tensors: dict[str, Tensor] = {}
    packed = {name: pack(value, name, tensors) for name, value in values.items()}
    write_bundle(path, tensors, {"format": _FORMAT, "schema_version": SCHEMA_VERSION, "fields": packed})


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote, as the arguments of `Explanation`.

    Raises:
        FileMissing: there is no such file.
        InvalidValue: a damaged or foreign file, or one from a newer Pellucid.
    """
    tensors, metadata = read_bundle(path)
    if metadata.get("format") != _FORMAT:
        raise InvalidValue(f"{str(path)!r} must be an explanation saved by Pellucid; it is another file.")
    if metadata["schema_version"] > SCHEMA_VERSION:
        raise InvalidValue(
            f"{str(path)!r} must have schema version {SCHEMA_VERSION} or older; got "
            f"{metadata['schema_version']}: it comes from a newer Pellucid, upgrade to read it."
        )
    known: dict[str, Any] = unpack(metadata["fields"], tensors)
    known["cost"] = Cost(**known["cost"])
    known["trace"] = known["trace"] or {}  # None in files of before there were courses
    known["prediction"] = [[Prediction(*best) for best in image] for image in known["prediction"]]
    known["boxes"] = [Box(*edges) for edges in known["boxes"]]
    known["pictures"] = [
        Picture(_decoded(rgb), name, path and Path(path), None if rgba is None else _decoded(rgba))
        for rgb, name, path, rgba in known["pictures"]
    ]
    return known


def _encoded(picture: Image.Image) -> Tensor:
    """A picture as the bytes of a PNG file, which loses nothing."""
    stream = BytesIO()
    picture.save(stream, "PNG")
    return torch.frombuffer(bytearray(stream.getvalue()), dtype=torch.uint8)


def _decoded(png: Tensor) -> Image.Image:
    """The inverse of `_encoded`."""
    return Image.open(BytesIO(png.numpy().tobytes())).copy()
