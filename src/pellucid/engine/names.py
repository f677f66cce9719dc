"""What PyTorch's functions are called, whichever way a model calls them, and which of them work in place."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor

SYNONYMS = {
    "__add__": "add", "__radd__": "add", "__iadd__": "add", "__sub__": "sub", "__isub__": "sub",
    "subtract": "sub", "__rsub__": "rsub", "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul",
    "multiply": "mul", "__truediv__": "div", "__itruediv__": "div", "divide": "div", "true_divide": "div",
    "__div__": "div", "__idiv__": "div", "__rtruediv__": "rdiv", "__rdiv__": "rdiv", "__matmul__": "matmul",
    "__rmatmul__": "rmatmul", "bmm": "matmul", "mm": "matmul", "mv": "matmul", "__neg__": "neg",
    "negative": "neg", "__pow__": "pow", "__ipow__": "pow", "__abs__": "abs", "absolute": "abs",
    "concat": "cat", "concatenate": "cat", "clip": "clamp", "special_expit": "sigmoid",
    "__getitem__": "getitem", "__setitem__": "setitem",
}  # fmt: skip
"""Names under which PyTorch shows the same operation."""


ASKED = {
    "size", "dim", "ndimension", "numel", "nelement", "stride", "storage_offset", "is_contiguous",
    "is_floating_point", "is_complex", "get_device", "element_size", "data_ptr", "untyped_storage",
    "register_hook", "retain_grad", "__len__", "__hash__", "__repr__", "__format__",
}  # fmt: skip
"""What models ask of a tensor that is no operation on its numbers."""
LOOKS = {f"get {name}" for name in ("T", "mT", "H", "mH", "real", "imag")}
"""The attributes that are operations."""


@dataclass(frozen=True)
class Known:
    """What is known of a function by itself.

    `position` is that of the argument by which it is told to work in place; `asks` says that it is no
    operation on numbers.
    """

    name: str
    in_place: bool
    position: int | None
    asks: bool


@lru_cache(4096)
def recognised(func: Callable[..., Any]) -> Known:
    """What is known of a function, whichever way it is called.

    Example:
        >>> import torch
        >>> recognised(torch.Tensor.__iadd__).name, recognised(torch.relu_).in_place
        ('add', True)
        >>> recognised(torch.nn.functional.relu).position
        1
    """
    name = str(getattr(func, "__name__", type(func).__name__)).split(".")[0]  # torch.ops: "relu.default"
    if name == "__get__":
        name = f"get {func.__self__.__name__}"  # type: ignore[attr-defined]
        return Known(name, False, None, name not in LOOKS)
    augments = name.startswith("__i") and hasattr(Tensor, f"__{name[3:]}")
    in_place = augments or name == "__setitem__"
    if name.endswith("_") and not name.endswith("__"):
        name, in_place = name[:-1], True
    code = getattr(func, "__code__", None)
    taken = () if code is None else code.co_varnames[: code.co_argcount]
    position = taken.index("inplace") if "inplace" in taken else None
    return Known(SYNONYMS.get(name, name), in_place, position, name in ASKED)
