"""What Python objects hold: the ways in which a value may lead to a module."""

import types
import weakref
from collections import deque
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LEAF_TYPES = {
    int, float, bool, str, bytes, complex, type(None), type, torch.Size, torch.dtype, torch.device, Tensor,
    nn.Parameter, np.ndarray, types.ModuleType, types.BuiltinFunctionType, slice, range,
}  # fmt: skip
"""Types that lead to no module."""
PROXIES = (weakref.ProxyType, weakref.CallableProxyType)
_LEFT_ALONE = {
    "torch", "numpy", "builtins", "threading", "logging",
    "lightning", "lightning_fabric", "pytorch_lightning",
}  # fmt: skip
"""Packages whose objects are no part of a model, whatever they hold: a trainer has the model and its data."""


def behind(proxy: Any) -> Any:
    """What a weak proxy stands for; None where it is gone."""
    try:
        return proxy.__repr__.__self__
    except ReferenceError:
        return None


def parts_of(value: Any) -> Iterator[Any]:
    """What a value holds that a module may be found in."""
    if type(value) in PROXIES:  # isinstance would look through it
        yield behind(value)
    elif isinstance(value, (dict, list, tuple, set, frozenset, deque)):
        items = list(value.values() if isinstance(value, dict) else value)
        if not set(map(type, items)) <= LEAF_TYPES:
            yield from items
    elif isinstance(value, types.MethodType):
        yield value.__self__
    elif isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, weakref.ref):
        yield value()
    elif isinstance(value, types.FunctionType):
        yield from vars(value).values()
        for cell in value.__closure__ or ():
            yield from cell_content(cell)
    elif not _foreign(value):
        yield from list(getattr(value, "__dict__", {}).values())
        yield from (item for _, item in slots_of(value))


def cell_content(cell: types.CellType) -> Iterator[Any]:
    """What a closure's cell holds, if anything yet."""
    try:
        yield cell.cell_contents
    except ValueError:
        return


def _foreign(value: Any) -> bool:
    """Whether an object is a class, has no attributes, or is one of PyTorch's own, which are left alone."""
    kind = type(value)
    return (
        isinstance(value, type)
        or not (hasattr(value, "__dict__") or any(slots_of(value)))
        or vars(object)["__new__"] is not getattr(kind, "__new__", None)
        or kind.__module__.partition(".")[0] in _LEFT_ALONE
    )


def slots_of(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of an object that lie in slots."""
    kind: Any = type(value)
    for name in _slot_names(kind):
        if hasattr(value, name):
            yield name, getattr(value, name)


@lru_cache(1024)
def _slot_names(kind: Any) -> tuple[str, ...]:
    slots = [base.__dict__.get("__slots__", ()) for base in kind.__mro__]
    names = [name for some in slots for name in ((some,) if isinstance(some, str) else some)]
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))
