"""What PyTorch's functions are called, whichever way a model calls them, and which of them work in place."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor

from pellucid.engine.spellings import Respell, respelling

SYNONYMS = {
    "__add__": "add", "__radd__": "add", "__iadd__": "add", "__sub__": "sub", "__isub__": "sub",
    "subtract": "sub", "__rsub__": "rsub", "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul",
    "multiply": "mul", "__truediv__": "div", "__itruediv__": "div", "divide": "div", "true_divide": "div",
    "__div__": "div", "__idiv__": "div", "__rtruediv__": "rdiv", "__rdiv__": "rdiv", "__matmul__": "matmul",
    "__rmatmul__": "rmatmul", "bmm": "matmul", "mm": "matmul", "mv": "matmul", "__neg__": "neg",
    "negative": "neg", "__pow__": "pow", "__ipow__": "pow", "__abs__": "abs", "absolute": "abs",
    "concat": "cat", "concatenate": "cat", "clip": "clamp", "special_expit": "sigmoid",
    "__getitem__": "getitem", "__setitem__": "setitem", "index": "getitem", "slice": "getitem",
    "_unsafe_view": "view", "unsafe_view": "view", "_reshape_alias": "view", "lift_fresh": "alias",
    "lift_fresh_copy": "clone", "_to_copy": "to", "_adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "_adaptive_avg_pool3d": "adaptive_avg_pool3d", "_prelu_kernel": "prelu",
    "_safe_softmax": "softmax",
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
    operation on numbers; `respell` writes a call as `torch.nn.functional` does, where it is another way.
    """

    name: str
    in_place: bool
    position: int | None
    asks: bool
    respell: Respell | None = None

    @property
    def norm(self) -> bool:
        """Whether it is a norm in whose place one of `engine.norms` is run."""
        return "batch_norm" in self.name or "instance_norm" in self.name


@lru_cache(4096)
def recognised(func: Callable[..., Any]) -> Known:
    """What is known of a function, whichever way it is called.

    Example:
        >>> import torch
        >>> recognised(torch.Tensor.__iadd__).name, recognised(torch.relu_).in_place
        ('add', True)
        >>> recognised(torch.nn.functional.relu).position
        1
        >>> recognised(torch.ops.aten.relu_.default).name
        'relu'
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
    respell = respelling(func, name)
    if code is None and name.startswith("adaptive_max_pool"):  # gives indices too, as functional's does not
        name += "_with_indices"
    space = _namespace(func)
    if space not in ("aten", "prims"):  # an operation of a library's own, whatever its name
        return Known(f"{space}::{name}", in_place, position, False)
    return Known(SYNONYMS.get(name, name), in_place, position, name in ASKED, respell)


def _namespace(func: Callable[..., Any]) -> str:
    """The library that an operation of torch.ops belongs to; "aten" of all else."""
    name = getattr(func, "_qualified_op_name", None)  # of all overloads together
    if isinstance(name, str):
        return name.partition("::")[0]
    space = getattr(func, "namespace", None)
    return space if isinstance(space, str) else "aten"
