"""What models return: tensors, alone or in tuples, mappings and records; their rows, one for each image."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

OUTPUT_NAMES = ("logits", "out", "output", "scores", "pred")
Path = tuple[str | int, ...]


def as_tensor(value: Any) -> Tensor | None:
    """A tensor or array as a plain tensor; None for anything else."""
    if isinstance(value, np.ndarray):  # of a callable that runs elsewhere, such as an ONNX Runtime session
        return torch.from_numpy(np.ascontiguousarray(value)) if value.dtype.kind in "fiub" else None
    return value if isinstance(value, Tensor) else None


def tensors_in(value: Any, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """All tensors and arrays of an output, with the keys and indices that lead to them."""
    tensor = as_tensor(value)
    if tensor is not None:
        yield path, tensor
    elif isinstance(value, Mapping) and len(path) < 3:
        for key, item in value.items():
            yield from tensors_in(item, (*path, key))
    elif isinstance(value, tuple | list) and len(path) < 3:
        names: Sequence[str | int] = getattr(value, "_fields", range(len(value)))
        for name, item in zip(names, value, strict=True):
            yield from tensors_in(item, (*path, name))
    elif not path:
        for name in OUTPUT_NAMES:
            tensor = as_tensor(getattr(value, name, None))
            if tensor is not None:
                yield (name,), tensor


def tensor_of(value: Any) -> Tensor:
    """A tensor as it is, and an array or nested numbers as a tensor on the CPU, whatever the default device.

    Example:
        >>> tensor_of([1, 2])
        tensor([1, 2])
    """
    return plain(value) if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


def described(raw: Any) -> str:
    """What a model gave, in short."""
    if isinstance(raw, Tensor):
        return f"{tuple(raw.shape)}" + ("" if raw.is_floating_point() else f" of {raw.dtype}")
    if isinstance(raw, Mapping):
        entries = ", ".join(f"{key}: {described(value)}" for key, value in raw.items())
        return f"{type(raw).__name__} with " + (entries or "no keys")
    if isinstance(raw, tuple | list):
        return f"{type(raw).__name__} of " + (", ".join(map(described, raw)) or "nothing")
    return type(raw).__name__


def restored(raw: Any, rows: int) -> Any:
    """A model's output with the axis of the batch put back where it squeezed that of a single image away."""
    if not isinstance(raw, Tensor) or rows != 1:
        return raw
    squeezed = raw.ndim == 0 or (raw.ndim == 1 and len(raw) > 1) or (raw.ndim == 3 and len(raw) != 1)
    return raw.unsqueeze(0) if squeezed else raw


def some_rows(raw: Any, which: Tensor, rows: int) -> Any:
    """An output of some of its rows: of all tensors in it that have one row per image."""

    def pick(value: Any) -> Any:
        return value[which.to(value.device)] if isinstance(value, Tensor) else value[which.numpy()]

    return _by_row(raw, rows, pick)


def repeated(raw: Any, row: int, times: int, rows: int) -> Any:
    """An output of one of its rows, so many times; tensors are views."""

    def pick(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[row : row + 1].expand(times, *value.shape[1:])
        return value[[row] * times]

    return _by_row(raw, rows, pick)


def _by_row(raw: Any, rows: int, pick: Callable[[Any], Any]) -> Any:
    return _mapped(raw, lambda value: pick(value) if value.ndim and len(value) == rows else value)


def _mapped(raw: Any, change: Callable[[Any], Any]) -> Any:
    """An output with every tensor and array in it changed."""
    if isinstance(raw, Tensor | np.ndarray):
        return change(raw)
    if isinstance(raw, tuple) and hasattr(raw, "_fields"):
        return type(raw)(*(_mapped(item, change) for item in raw))
    if isinstance(raw, tuple | list):
        return type(raw)(_mapped(item, change) for item in raw)
    if isinstance(raw, Mapping):
        made: Any = copy(raw) if isinstance(raw, MutableMapping) else dict(raw)
        for key, item in raw.items():
            made[key] = _mapped(item, change)
        return made
    if is_dataclass(raw) and not isinstance(raw, type):
        made = copy(raw)
        for one in fields(raw):
            object.__setattr__(made, one.name, _mapped(getattr(raw, one.name), change))
        return made
    return raw


def plain(value: Any) -> Any:
    """A tensor without the subclass that a library gave it (its metadata, its own rules), data shared.

    A subclass that answers for every operation itself, such as a quantised one, has no plain data and stays.
    """
    if type(value) is Tensor or not isinstance(value, Tensor) or isinstance(value, torch.nn.Parameter):
        return value
    own = type(value).__torch_dispatch__ is not Tensor.__torch_dispatch__
    return value if own else value.as_subclass(Tensor)


def as_plain(raw: Any) -> Any:
    """An output whose tensors are plain ones."""
    if isinstance(raw, Tensor):
        return plain(raw)
    if not any(isinstance(t, Tensor) and type(t) is not Tensor for _, t in tensors_in(raw)):
        return raw
    return _mapped(raw, plain)
