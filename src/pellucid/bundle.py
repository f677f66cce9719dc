"""Tensors and JSON in one file, .npz or .safetensors, and values of Python as that JSON."""

import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import FileMissing, InvalidType, InvalidValue
from pellucid.files import by_suffix
from pellucid.structures import tensor_of

METADATA = "metadata"
LISTED = 1024
"""An array of more values for each entry of its first axis is not written out in plain JSON."""


def write_bundle(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Writes tensors and JSON metadata to one file, by its suffix: a writer for `files.save_by_suffix`.

    Tensors keep their values and dtype exactly, bfloat16 included; they come back on the CPU.

    Raises:
        InvalidValue: a suffix that is not in `SUFFIXES`.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    by_suffix(path, _WRITERS)(Path(path), plain, metadata)


def read_bundle(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata of a file that `write_bundle` wrote. Nothing in the file is executed.

    Raises:
        FileMissing: there is no such file.
        InvalidValue: another suffix, or the file is damaged, or was not written by `write_bundle`.
    """
    file, read = Path(path), by_suffix(path, _READERS)
    if not file.is_file():
        raise FileMissing(f"There must be a file at {str(file)!r}, and there is none: check the path.")
    try:
        return read(file)
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidValue(
            f"{str(file)!r} must be a whole file saved by Pellucid, and is not ({error}): "
            "save the explanation again."
        ) from error


def _write_npz(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    foreign = {name: str(t.dtype) for name, t in tensors.items() if _numpy_lacks(t.dtype)}
    arrays = {name: _as_bits(t).numpy() if name in foreign else t.numpy() for name, t in tensors.items()}
    text = json.dumps({**metadata, "dtypes": foreign}, allow_nan=False)
    with file.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **{METADATA: np.array(text)}, **arrays)


def _write_safetensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    # Tensors that share memory are refused by the format, hence the clones.
    text = json.dumps(metadata, allow_nan=False)
    save_file({name: t.clone() for name, t in tensors.items()}, file, metadata={METADATA: text})


def _read_npz(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    # Opened here, because np.load leaves its own handle open when the file turns out to be no archive.
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InvalidValue("it holds one array")
        metadata = json.loads(archive[METADATA].item())
        foreign = metadata.pop("dtypes")
        tensors = {name: torch.from_numpy(archive[name]) for name in archive.files if name != METADATA}
    for name, dtype in foreign.items():
        tensors[name] = tensors[name].view(getattr(torch, dtype.removeprefix("torch.")))
    return tensors, metadata


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as archive:
            metadata = json.loads((archive.metadata() or {})[METADATA])
            return {name: archive.get_tensor(name) for name in archive.keys()}, metadata  # noqa: SIM118
    except SafetensorError as error:
        raise InvalidValue(str(error)) from error


_WRITERS: dict[str, Callable[[Path, Mapping[str, Tensor], Mapping[str, Any]], None]] = {
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
}
_READERS = {".npz": _read_npz, ".safetensors": _read_safetensors}
SUFFIXES = tuple(_WRITERS)


def _numpy_lacks(dtype: torch.dtype) -> bool:
    try:
        torch.empty(0, dtype=dtype, device="cpu").numpy()
    except TypeError:
        return True
    return False


def _as_bits(tensor: Tensor) -> Tensor:
    """The same bytes as integers, for dtypes that NumPy does not know."""
    return tensor.view({1: torch.uint8, 2: torch.int16}[tensor.dtype.itemsize])


def pack(value: Any, name: str, tensors: dict[str, Tensor] | None = None) -> Any:
    """`value` as JSON: what JSON lacks is written as a dict with one key, which begins with `$`.

    Lists, tuples, dicts (any keys that can be packed), tensors, NumPy scalars and arrays (back as tensors),
    strings, numbers (NaN and infinities too), bools and None, nested as they come.

    Args:
        value: what to pack.
        name: what it is called, in errors and as the name of its tensors.
        tensors: takes the tensors, by name; `unpack` then gives an equal value back. Without it the JSON
            stands alone: arrays of at most `LISTED` values for each entry of their first axis are nested
            lists, larger ones are told by shape and dtype, and anything else is text.

    Raises:
        InvalidType: anything else, where `tensors` is given.

    Example:
        >>> parts = {}
        >>> packed = pack({"weights": torch.ones(2), "size": (3, 4)}, "details", parts)
        >>> packed
        {'weights': {'$tensor': 'details.weights'}, 'size': {'$tuple': [3, 4]}}
        >>> unpack(packed, parts)
        {'weights': tensor([1., 1.]), 'size': (3, 4)}
        >>> pack([torch.ones(2), torch.ones(1, 64, 64)], "details")
        [[1.0, 1.0], {'$array': {'shape': [1, 64, 64], 'dtype': 'float32'}}]
    """
    match value:
        case None | bool() | str():
            return value
        case int() | np.integer():
            return int(value)
        case float() | np.floating():
            return float(value) if np.isfinite(value) else {"$float": str(float(value))}
        case Tensor() | np.ndarray():
            tensor = tensor_of(value)
            return _listed(tensor, name) if tensors is None else {"$tensor": _filed(tensor, name, tensors)}
        case tuple():
            return {"$tuple": [pack(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]}
        case list():
            return [pack(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
        case dict() if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: pack(item, f"{name}.{key}", tensors) for key, item in value.items()}
        case dict():
            pairs = enumerate(value.items())
            return {
                "$dict": [
                    [pack(k, f"{name}.k{i}", tensors), pack(v, f"{name}.{i}", tensors)] for i, (k, v) in pairs
                ]
            }
    if tensors is None:
        return str(value)
    raise InvalidType(
        f"{name} must be made of tensors, numbers, strings, lists and dicts to be saved; "
        f"got {type(value).__name__}: convert it or leave it out."
    )


def _listed(tensor: Tensor, name: str) -> Any:
    """An array in JSON that stands alone."""
    if tensor.numel() > LISTED * (len(tensor) if tensor.ndim else 1):
        return {"$array": {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}}
    return pack(tensor.tolist(), name)


def _filed(tensor: Tensor, name: str, tensors: dict[str, Tensor]) -> str:
    """The name under which a tensor is in `tensors` from now on."""
    for known, filed in tensors.items():
        if filed is tensor:  # the same array in several places is filed once
            return known
    # Archives take plain names only, and "x.npy" is how NumPy files "x".
    name = re.sub(r"[^\w.-]|\.(?=npy$)", "_", name, flags=re.ASCII)
    while name in tensors:  # {"a": {"b": t}, "a.b": u} would meet under one name
        name += "_"
    tensors[name] = tensor
    return name


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `pack` with `tensors`."""
    match value:
        case list():
            return [unpack(item, tensors) for item in value]
        case {"$tensor": name}:
            return tensors[name]
        case {"$float": text}:
            return float(text)
        case {"$tuple": items}:
            return tuple(unpack(item, tensors) for item in items)
        case {"$dict": pairs}:
            return {unpack(key, tensors): unpack(item, tensors) for key, item in pairs}
        case dict():
            return {key: unpack(item, tensors) for key, item in value.items()}
    return value
