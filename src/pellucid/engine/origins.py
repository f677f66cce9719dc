"""How outputs come about: the operations that made them, and the bounds these put on their values.

Only what a classifier's last operations tell is followed: tensors of at most two axes, and what comes of a
sigmoid, a softmax and their like.
"""

import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pellucid.output_scale import LINEAR, UNKNOWN, Origin

_FORMS = {
    "sigmoid": (0.0, 1.0, "sigmoid"),
    "special_expit": (0.0, 1.0, "sigmoid"),
    "hardsigmoid": (0.0, 1.0, "sigmoid"),
    "softmax": (0.0, 1.0, "softmax"),
    "gumbel_softmax": (0.0, 1.0, "softmax"),
    "log_softmax": (-math.inf, 0.0, "log_softmax"),
    "logsigmoid": (-math.inf, 0.0, "logsigmoid"),
    "log_sigmoid": (-math.inf, 0.0, "logsigmoid"),
    "tanh": (-1.0, 1.0, None),
    "sin": (-1.0, 1.0, None),
    "cos": (-1.0, 1.0, None),
    "cosine_similarity": (-1.0, 1.0, None),
    "erf": (-1.0, 1.0, None),
    "sign": (-1.0, 1.0, None),
    "relu6": (0.0, 6.0, None),
    "softplus": (0.0, math.inf, None),
    "abs": (0.0, math.inf, None),
    "square": (0.0, math.inf, None),
}
# Means keep the bounds, and the form of probabilities; those of windows count what lies around as 0.
_MEANS = frozenset(
    f"{kind}{n}d" for kind in ("avg_pool", "adaptive_avg_pool") for n in (1, 2, 3)
) | {"mean", "nanmean"}  # fmt: skip
# What moves values or picks among them.
_MOVING = frozenset(
    [
        "view",
        "reshape",
        "view_as",
        "squeeze",
        "unsqueeze",
        "flatten",
        "unflatten",
        "permute",
        "transpose",
        "t",
        "swapaxes",
        "movedim",
        "moveaxis",
        "contiguous",
        "clone",
        "detach",
        "to",
        "float",
        "half",
        "double",
        "bfloat16",
        "type",
        "type_as",
        "cpu",
        "cuda",
        "expand",
        "expand_as",
        "repeat",
        "getitem",
        "select",
        "narrow",
        "index_select",
        "gather",
        "cat",
        "concat",
        "concatenate",
        "stack",
        "hstack",
        "vstack",
        "chunk",
        "split",
        "unbind",
        "flip",
        "roll",
        "repeat_interleave",
        "as_subclass",
        "requires_grad",
        "nan_to_num",
        "dropout",
        "alias",
        "feature_dropout",
        "alpha_dropout",
    ]
)
_PICKING = frozenset(
    ["amax", "amin", "max", "min", "median", "maximum", "minimum", "sort", "topk", "where"]
    + [f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)]
)
_PRODUCTS = frozenset(["linear", "mm", "bmm", "matmul", "rmatmul", "einsum"])
_MAKERS = frozenset(["ones", "zeros", "full", "tensor", "ones_like", "zeros_like", "full_like", "eye"])
MOST_VALUES = 1 << 20
"""Of weights that are looked at."""
_LOG = {"softmax": "log_softmax", "sigmoid": "logsigmoid"}
_EXP = {log: form for form, log in _LOG.items()}
_PLAIN_NAMES: dict[str, str] = {}


def _plain_name(name: str) -> str:
    """An operation's name without the marks of its operator and of its working in place."""
    if name not in _PLAIN_NAMES:
        bare = name.strip("_")
        if name.startswith("__i") and name != "__invert__":
            bare = bare[1:]
        short = {
            "truediv": "div",
            "rtruediv": "rdiv",
            "true_divide": "div",
            "divide": "div",
            "negative": "neg",
        }
        short |= {"subtract": "sub", "multiply": "mul", "clip": "clamp", "special_log_softmax": "log_softmax"}
        _PLAIN_NAMES[name] = short.get(bare, bare)
    return _PLAIN_NAMES[name]


class Origins(TorchFunctionMode):
    """Within it the origins of small tensors are kept, for as long as the tensors live."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[int, tuple[weakref.ref[Tensor], Origin]] = {}

    def of(self, value: Any) -> Origin:
        """How a tensor came about."""
        found = self._known.get(id(value))
        return found[1] if found is not None and found[0]() is value else UNKNOWN

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by PyTorch with every function that a model calls."""
        made = func(*args, **kwargs) if kwargs else func(*args)
        if isinstance(made, Tensor):
            if made.ndim <= 2 or func.__name__ in _FORMS or self._follows(args):
                self._keep(made, _plain_name(func.__name__), args, kwargs or {}, func)
        elif isinstance(made, tuple | list) and self._follows(args):
            for one in made:
                if isinstance(one, Tensor):
                    self._keep(one, _plain_name(func.__name__), args, {})
        return made

    def _follows(self, args: Sequence[Any]) -> bool:
        """Whether an operation's first argument, or a tensor in a list of such, is known."""
        first = args[0] if args else None
        return id(first) in self._known or (
            isinstance(first, tuple | list) and any(id(one) in self._known for one in first)
        )

    def _keep(
        self,
        made: Tensor,
        name: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        func: Callable[..., Any] | None = None,
    ) -> None:
        given = [item for value in args for item in (value if isinstance(value, tuple | list) else [value])]
        given += [value for value in kwargs.values() if isinstance(value, Tensor)]
        parents = tuple(self.of(value) for value in given if isinstance(value, Tensor))
        if name == "get" or (made.requires_grad and made.is_leaf):  # a property: .T, .data
            name = "get"
        origin = _origin(name, given, kwargs, parents)
        if name in _MAKERS and 0 < made.numel() <= MOST_VALUES and made.device.type == "cpu":
            values = made.detach().float()
            origin = Origin(name, float(values.min()), float(values.max()))
        elif name in _PRODUCTS and func is not None and self._averages(func, args, kwargs):
            averaged = next(p for p in parents if p.low >= 0 and p.high <= 1 and p.operation not in _MAKERS)
            origin = Origin(name, averaged.low, averaged.high, averaged.form, parents=parents)
        self._known[id(made)] = weakref.ref(made), origin

    def _averages(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
        """Whether a product with weights takes averages of probabilities: it gives 1 of ones."""
        operands = [one for one in args if isinstance(one, Tensor)]
        known = [one for one in operands if self.of(one).operation not in _MAKERS]
        shares = [one for one in known if self.of(one).low >= 0 and self.of(one).high <= 1]
        weights = [one for one in operands if not any(one is share for share in shares)]
        if len(shares) != 1 or len(weights) != 1 or weights[0].numel() > MOST_VALUES:
            return False
        with torch.no_grad():
            if bool((weights[0] < 0).any()):
                return False
            ones = [torch.ones_like(one) if one is shares[0] else one for one in args]
            return bool(((func(*ones, **kwargs) - 1).abs() < 1e-4).all())


def _origin(name: str, given: Sequence[Any], kwargs: dict[str, Any], parents: tuple[Origin, ...]) -> Origin:
    """The origin of what an operation gives, by those of what it was given."""
    if name in _FORMS:
        low, high, form = _FORMS[name]
        return Origin(name, low, high, form, parents=parents)
    if name in LINEAR:
        mixing = any(parent.form == "softmax" for parent in parents)  # of rows that may be probabilities
        return Origin(name, affine=not mixing, parents=parents)
    if not parents:
        return UNKNOWN
    if name == "where" and isinstance(given[0], Tensor) and len(parents) > 1:
        parents = parents[1:]  # the first only says which of the others
    first = parents[0]
    low, high = min(p.low for p in parents), max(p.high for p in parents)
    if name in _MEANS and name not in ("mean", "nanmean"):
        low, high = min(low, 0.0), max(high, 0.0)
    if name in _MOVING or name in _PICKING or name in _MEANS:
        kept = name not in _PICKING and all(p.form == first.form for p in parents)
        form = first.form if kept and not (name in _MEANS and first.form in _EXP) else None
        affine = all(p.affine for p in parents)
        return Origin(first.operation, low, high, form, affine, parents, moved=True)
    low, high, form = _bounds(name, given, kwargs, parents)
    scaled = name in ("add", "sub", "mul", "div", "batch_norm", "layer_norm", "neg", "radd", "rmul", "rsub")
    known = [p for p in parents if p is not UNKNOWN and p.operation not in _MAKERS]
    several = name in ("add", "sub", "radd", "rsub")  # of logits the sum is one
    affine = scaled and (len(known) == 1 or several) and bool(known) and all(p.affine for p in known)
    return Origin(name, low, high, form, affine, parents)


def _bounds(
    name: str, given: Sequence[Any], kwargs: dict[str, Any], parents: tuple[Origin, ...]
) -> tuple[float, float, str | None]:
    """Bounds by interval arithmetic."""
    first = parents[0]
    a = (first.low, first.high)
    match name:
        case "relu":
            return max(0.0, a[0]), max(0.0, a[1]), None
        case "exp":
            return _exp(a[0]), _exp(a[1]), _EXP.get(first.form or "")
        case "log" | "log_":
            return _log(a[0]), _log(a[1]), _LOG.get(first.form or "")
        case "neg":
            return -a[1], -a[0], None
        case "reciprocal":
            return (*_divided((1.0, 1.0), a), None)
        case "clamp" | "hardtanh":
            names = ("min", "max") if name == "clamp" else ("min_val", "max_val")
            limits = [
                kwargs.get(key, value) for key, value in zip(names, (*given[1:3], None, None), strict=False)
            ]
            if name == "hardtanh" and limits[0] is None:
                limits = [-1.0, 1.0]
            low = max(a[0], limits[0]) if isinstance(limits[0], int | float) else a[0]
            high = min(a[1], limits[1]) if isinstance(limits[1], int | float) else a[1]
            return float(low), float(high), first.form
    operands = _operands(given, parents)
    if len(operands) == 2:
        (x, y) = operands if not name.startswith("r") else operands[::-1]
        match name.removeprefix("r"):
            case "add":
                return x[0] + y[0], x[1] + y[1], None
            case "sub":
                return x[0] - y[1], x[1] - y[0], None
            case "mul":
                return (*_multiplied(x, y), None)
            case "div":
                return (*_divided(x, y), None)
            case "pow" if x[0] >= 0 and y[0] == y[1] > 0:
                return x[0] ** y[0], x[1] ** y[0], None
    return -math.inf, math.inf, None


def _operands(given: Sequence[Any], parents: tuple[Origin, ...]) -> list[tuple[float, float]]:
    ahead, found = list(parents), list[tuple[float, float]]()
    for value in given[:2]:
        if isinstance(value, Tensor):
            one = ahead.pop(0)
            found.append((one.low, one.high))
        elif isinstance(value, int | float):
            found.append((float(value), float(value)))
    return found


def _multiplied(x: tuple[float, float], y: tuple[float, float]) -> tuple[float, float]:
    ends = [0.0 if 0.0 in (a, b) else a * b for a in x for b in y]
    return min(ends), max(ends)


def _divided(x: tuple[float, float], y: tuple[float, float]) -> tuple[float, float]:
    if y[0] < 0 < y[1] or (y[0] == 0 == y[1]):
        return -math.inf, math.inf
    inverse = (
        (0.0 if math.isinf(y[1]) else 1 / y[1]) if y[1] else -math.inf,
        (0.0 if math.isinf(y[0]) else 1 / y[0]) if y[0] else math.inf,
    )
    return _multiplied(x, inverse)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
