"""Samples that influence one another: their scores depend on which images run together.

A batch norm on the statistics of its batch, a softmax over the batch, or a mean taken off. The first pass of
a model with several samples is watched for operations that may do so; only where there is one, the last
sample is run alone as well, and must give what it gave beside the others. What was found to keep its samples
apart is not watched again.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

_ALONG = frozenset({
    "softmax", "log_softmax", "softmin", "gumbel_softmax", "cumsum", "cumprod", "cummax", "cummin",
    "logcumsumexp", "sort", "argsort", "topk", "flip", "flipud", "roll", "normalize",
    "index_select", "gather", "take_along_dim", "renorm", "fft", "ifft", "rfft", "irfft", "fft2",
    "ifft2", "rfft2", "irfft2", "mean", "nanmean", "sum", "nansum", "prod", "std", "var",
    "std_mean", "var_mean", "amax", "amin", "aminmax", "max", "min", "median", "mode", "norm",
    "vector_norm", "logsumexp", "quantile", "all", "any", "argmax", "argmin", "transpose",
    "swapaxes", "swapdims", "movedim", "moveaxis"
})  # fmt: skip
"""Functions that work along a dimension, or move it."""
_WHOLE = frozenset({
    "fftn", "ifftn", "rfftn", "irfftn", "lstm", "gru", "rnn_tanh", "rnn_relu",
    "multi_head_attention_forward"
})  # fmt: skip
"""Functions that work along the first dimension too, unless told otherwise."""
_EACH = frozenset({
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "max_pool1d",
    "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool2d", "interpolate", "pad", "unfold",
    "linear", "pixel_shuffle", "pixel_unshuffle", "group_norm", "scaled_dot_product_attention"
})  # fmt: skip
"""Functions of each sample by itself, whatever sides their results happen to have."""
_PAIRING = frozenset({
    "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "baddbmm", "einsum", "tensordot", "cdist",
    "outer", "inner", "kron"
})  # fmt: skip
"""Functions that may bring every sample together with every other."""
_LIKE = ("new_", "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like")
"""Functions whose results hold nothing of their arguments."""


_ASKING = frozenset({"__get__", "size", "dim", "numel", "is_floating_point", "is_contiguous", "stride"})
"""What asks for a tensor's shape or kind."""
_TURNED = (Tensor.T.__get__, Tensor.H.__get__)  # type: ignore[attr-defined]


class SamplesMix(Exception):
    """The samples of a batch influence one another; `suspect` is the operation that is likely to do so.

    No `PellucidError`: the work begins again, sample by sample.
    """

    def __init__(self, suspect: str) -> None:
        super().__init__(suspect)
        self.suspect = suspect

    @property
    def note(self) -> str:
        """What is told of results whose samples were run alone for this."""
        return (
            f"The samples of a batch influence one another in this model ({self.suspect}): each was run "
            "alone, so that its scores do not depend on which samples run together."
        )


class RowsUnknown(SamplesMix):
    """An operation, the `suspect`, has rows of which it is not known which sample they belong to."""

    @property
    def note(self) -> str:
        """What is told of results whose samples were run alone for this."""
        return (
            f"The model runs {self.suspect} on other rows than one for each sample: each was run alone, so "
            "that what belongs to which is known."
        )


class Watch(TorchFunctionMode):
    """Looks for the first operation that may mix the samples of a batch."""

    def __init__(self, module: Any, batch: int) -> None:
        super().__init__()
        self.batch = batch
        modules = module.modules() if isinstance(module, nn.Module) else ()
        opaque = any(isinstance(child, torch.jit.ScriptModule) for child in modules)
        self.suspect = "a scripted module" if opaque else ""  # whose operations are not seen
        # Tensors whose samples do not come first, and along which axis they lie.
        self._turned: dict[int, tuple[weakref.ref[Tensor], int]] = {}

    def _axis(self, args: tuple[Any, ...]) -> int | None:
        """Along which axis the samples lie, of the first argument whose samples do not come first."""
        for value in args[:2] if self._turned else ():
            known, axis = self._turned.get(id(value), (None, 0))
            if known is not None and known() is value:
                return axis
        return None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        axis = self._axis(args)
        if axis is not None:
            result = func(*args, **kwargs)
            if name in _ASKING:
                return result
            if not (name == "unbind" and len(args) == 1 and not kwargs) and not (
                name == "__getitem__" and type(args[1]) is int
            ):
                self.suspect = self.suspect or name
            elif axis > 1:
                for part in _flat((result,)):
                    self._turned[id(part)] = weakref.ref(part), axis - 1
            return result
        shapes = [] if self.suspect else [t.shape for t in _samples((args, kwargs), self.batch)]
        result = func(*args, **kwargs)
        if shapes and name == "permute" and 0 in (order := list(_flat([*args[1:], *kwargs.values()]))):
            if order[0] != 0:  # as attention does, whose queries, keys and values are then taken apart
                self._turned[id(result)] = weakref.ref(result), order.index(0)
            return result
        if shapes and may_mix(func, args, kwargs, shapes, result, self.batch):
            self.suspect = getattr(func, "__name__", type(func).__name__)
        return result


def may_mix(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    shapes: list[torch.Size],
    result: Any,
    batch: int,
) -> bool:
    """Whether a function of samples, of these shapes, may let them influence one another.

    It does not if its result has one row per sample, and the function is none that works along the samples.
    """
    name = getattr(func, "__name__", "")
    if name.startswith(_LIKE):
        return False
    if name == "batch_norm":
        return bool(args[5] if len(args) > 5 else kwargs.get("training", False))
    if name in _WHOLE:
        return True
    if name in _ALONG:
        first = {0, -len(shapes[0])}
        given = [*args[1:], kwargs.get("dim"), kwargs.get("dims"), kwargs.get("axis")]
        if name == "flipud" or any(type(value) is int and value in first for value in _flat(given)):
            return True
    if name == "permute":
        return next(_flat([*args[1:], *kwargs.values()]), 0) != 0
    if name == "t" or func in _TURNED:
        return True
    if name == "layer_norm":
        return any(len(shape) == len(args[1]) for shape in shapes[:1]) if len(args) > 1 else True
    if name == "__getitem__":
        index = args[1][0] if isinstance(args[1], tuple) and args[1] else args[1]
        picks = isinstance(index, (int, list, Tensor))
        if picks and any(
            True for _ in _samples(args[:1], batch)
        ):  # not a table that samples are looked up in
            return True
    if name in _EACH:
        return False
    pairs = name in _PAIRING  # of samples with samples, where a result has as many of them twice
    most = max(shape.count(batch) for shape in shapes) if pairs else batch**9
    return any(
        value.ndim == 0 or len(value) != batch or value.shape.count(batch) > most
        for value in _flat((result,))
        if isinstance(value, Tensor)
    )


def differ(raw: Any, alone: Any, row: int, *, low: bool = False) -> bool:
    """Whether the outputs for one sample alone are others than a row of those for a batch.

    Rounding does not count: that of the outputs' type, of bfloat16 where the model ran `low`, and of TF32 on
    CUDA.
    """
    rows, own = ([t for t in tree_leaves(out) if isinstance(t, Tensor) and t.ndim] for out in (raw, alone))
    if len(rows) != len(own):
        return True
    for many, one in zip(rows, own, strict=True):
        if many.shape[1:] != one.shape[1:] or not many.is_floating_point():
            continue
        reference, value = many.detach()[row].double(), one.detach()[-1].double()
        coarser = torch.bfloat16 if low else many.dtype
        eps = max(torch.finfo(many.dtype).eps, torch.finfo(coarser).eps, 2**-10 if many.is_cuda else 0.0)
        tolerance = eps**0.6 * float(reference.abs().max()) if one.numel() else 0.0
        if not torch.allclose(reference, value, rtol=0.0, atol=tolerance, equal_nan=True):
            return True
    return False


_APART: WeakKeyDictionary[Any, set[tuple[int, ...]]] = WeakKeyDictionary()
"""Of each model, the shapes of inputs whose samples do not influence one another."""


def known_apart(module: Any, inputs: Tensor) -> bool:
    """Whether it is known that the model keeps samples of this shape apart."""
    try:
        return tuple(inputs.shape[1:]) in _APART.get(module, ())
    except TypeError:  # a callable that can be neither hashed nor watched
        return False


def remember_apart(module: Any, inputs: Tensor) -> None:
    """Keeps in mind that the model keeps samples of this shape apart."""
    try:
        _APART.setdefault(module, set()).add(tuple(inputs.shape[1:]))
    except TypeError:
        return


def _samples(value: Any, batch: int) -> Iterator[Tensor]:
    """The tensors among arguments that may hold one row per sample."""
    for item in _flat((value,)):
        own = isinstance(item, Tensor) and not isinstance(item, nn.Parameter)
        if own and item.ndim and len(item) == batch:
            yield item


def _flat(value: Any) -> Iterator[Any]:
    """What is in arguments or results, lists and dicts opened."""
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (list, tuple, dict)):
            yield from _flat(item)
        else:
            yield item
