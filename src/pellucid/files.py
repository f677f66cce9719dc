"""Files that are whole or absent: atomic writing, and tensors with metadata in .npz or .safetensors."""

import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import FileMissing, InvalidType, InvalidValue
from pellucid.structures import tensor_of

METADATA = "metadata"


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` once the block ends well.

    Readers see the old file or the new one, never a part. If the block raises (Ctrl-C included), the old
    file stays as it was and the temporary one is removed. Its suffix is that of `path`.

    Raises:
        FileMissing: the folder does not exist.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(f"{folder}/note.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (Path(folder) / "note.txt").read_text()
    'whole'
    """
    final = Path(path)
    if not final.parent.is_dir():
        raise FileMissing(
            f"The folder of {str(final)!r} must exist; there is no {str(final.parent)!r}: create it first."
        )
    handle, name = tempfile.mkstemp(dir=final.parent, prefix=f".{final.stem[:40]}-", suffix=final.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(final.stat().st_mode & 0o777 if final.exists() else 0o666 & ~_umask())
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_bundle(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and JSON metadata to one .npz or .safetensors file, atomically.

    Tensors keep their values and dtype exactly, bfloat16 included; they come back on the CPU.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        if temporary.suffix.lower() == ".npz":
            foreign = {name: str(t.dtype) for name, t in plain.items() if _numpy_lacks(t.dtype)}
            arrays = {
                name: _as_bits(t).numpy() if name in foreign else t.numpy() for name, t in plain.items()
            }
            text = json.dumps({**metadata, "dtypes": foreign}, allow_nan=False)
            with temporary.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **{METADATA: np.array(text)}, **arrays)
        else:
            from safetensors.torch import save_file

            # Tensors that share memory are refused by the format, hence the clones.
            text = json.dumps(metadata, allow_nan=False)
            save_file({name: t.clone() for name, t in plain.items()}, temporary, metadata={METADATA: text})


def read_bundle(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata of a file that `write_bundle` wrote. Nothing in the file is executed.

    Raises:
        FileMissing: there is no such file.
        InvalidValue: the file is damaged, or was not written by `write_bundle`.
    """
    file = Path(path)
    if not file.is_file():
        raise FileMissing(f"There must be a file at {str(file)!r}, and there is none: check the path.")
    try:
        return _read_npz(file) if file.suffix.lower() == ".npz" else _read_safetensors(file)
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidValue(
            f"{str(file)!r} must be a whole file saved by Pellucid, and is not ({error}): "
            "save the explanation again."
        ) from error


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


def _numpy_lacks(dtype: torch.dtype) -> bool:
    try:
        torch.empty(0, dtype=dtype, device="cpu").numpy()
    except TypeError:
        return True
    return False


def _as_bits(tensor: Tensor) -> Tensor:
    """The same bytes as integers, for dtypes that NumPy does not know."""
    return tensor.view({1: torch.uint8, 2: torch.int16}[tensor.dtype.itemsize])


def pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON; its tensors go to `tensors` under `name`, and `unpack` gives an equal value back.

    Lists, tuples, dicts (any keys that can be packed), tensors, NumPy scalars and arrays (back as tensors),
    strings, numbers (NaN and infinities too), bools and None, nested as they come.

    Raises:
        InvalidType: anything else.

    >>> parts = {}
    >>> packed = pack({"weights": torch.ones(2), "size": (3, 4)}, "details", parts)
    >>> packed
    {'weights': {'$tensor': 'details.weights'}, 'size': {'$tuple': [3, 4]}}
    >>> unpack(packed, parts)
    {'weights': tensor([1., 1.]), 'size': (3, 4)}
    """
    match value:
        case None | bool() | str():
            return value
        case int() | np.integer():
            return int(value)
        case float() | np.floating():
            return float(value) if np.isfinite(value) else {"$float": str(float(value))}
        case Tensor() | np.ndarray():
            # Archives take plain names only, and "x.npy" is how NumPy files "x".
            name = re.sub(r"[^\w.-]|\.(?=npy$)", "_", name, flags=re.ASCII)
            while name in tensors:  # {"a": {"b": t}, "a.b": u} would meet under one name
                name += "_"
            tensors[name] = tensor_of(value)
            return {"$tensor": name}
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
    raise InvalidType(
        f"{name} must be made of tensors, numbers, strings, lists and dicts to be saved; "
        f"got {type(value).__name__}: convert it or leave it out."
    )


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `pack`."""
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


RESULTS = ".pellucid-results"
"""The hidden file that names, line by line, which pictures of its folder are results and not photographs."""


def mark_results(paths: Iterable[Path]) -> None:
    """Notes beside them that these files are results, so that their folder can be searched for pictures."""
    for folder, names in _by_folder(paths).items():
        new = [name for name in names if name not in results_in(folder)]
        if new:
            with (folder / RESULTS).open("a", encoding="utf-8") as file:
                file.writelines(f"{name}\n" for name in new)


def results_in(folder: Path) -> set[str]:
    """The names of a folder's files that are results; none where no one noted any, or it cannot be read."""
    try:
        return set((folder / RESULTS).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return set()


def _by_folder(paths: Iterable[Path]) -> dict[Path, list[str]]:
    folders: dict[Path, list[str]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path.name)
    return folders
