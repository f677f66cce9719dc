"""Every bias of a network, explicit or implicit, found operation by operation.

What an operation y = F(a, b, ...) gives splits, to first order, into what is linear in the tensors that carry
and a rest, its implicit bias:

    y = sum_i dF/da_i a_i + beta.

A convolution's or a linear layer's is its bias, a batch norm's beta - mean gamma / sigma, an addition's the
constant that it adds; a ReLU has none, and f(z) has f(z) - f'(z) z. Summed over all operations of a network,

    S(x) = x dS/dx + sum beta dS/dy

holds exactly, whatever the network.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from inspect import signature
from typing import Any

import torch
import torch.autograd.forward_ad as forward
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import batch_norm
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from pellucid.engine.axes.kinds import Axes, Tokens
from pellucid.engine.axes.layout import layout_of
from pellucid.engine.calls import Call, Handler
from pellucid.engine.following import Following
from pellucid.engine.mixing import RowsUnknown
from pellucid.errors import ModelError
from pellucid.layers import Layout

HOMOGENEOUS = {
    "relu", "leaky_relu", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d",
    "avg_pool2d", "adaptive_avg_pool2d", "interpolate", "dropout", "mean", "sum", "neg", "view", "reshape",
    "flatten", "unflatten", "permute", "transpose", "squeeze", "unsqueeze", "expand", "contiguous", "clone",
    "roll", "chunk", "split", "unbind", "getitem",
}  # fmt: skip
"""Operations without a bias: F(s a) = s F(a) for s > 0. Others are found to have none, at more cost."""
BILINEAR = {"mul", "matmul", "einsum"}
"""Products, which have none where only one factor depends on the input."""
SUMS = {"add", "sub", "cat"}
"""Sums, which have none where all parts depend on the input."""
AFFINE = {"linear": 0} | {f"conv{kind}{n}d": n for kind in ("", "_transpose") for n in (1, 2, 3)}
"""Operations with a weight and a bias, and how many dimensions follow that of the bias."""
NORMS = {"layer_norm", "group_norm", "instance_norm", "batch_norm"}
ADDING = {"add", "sub", "rsub"} | NORMS
"""Besides convolutions and linear layers, operations that add what does not depend on the input."""
ROUNDING = 16
"""An implicit bias that is found as a difference counts from so many units in the last place on."""

_BATCH_NORM = signature(batch_norm)


@dataclass(eq=False)
class Bias:
    """What one operation adds to its output: `value`, which may have to be expanded to the output's shape.

    `number` counts the operations of a run; `added` tells whether the operation is known to add a constant,
    or its bias is what a nonlinear one leaves; `where` is the layer that ran it. `layout` is how its output
    holds the picture's grid, if it does; `lost` tells of a convolution, linear layer or norm that it holds
    one, but not how; `grouped` that its first axis is known to be the batch, with other axes behind it.
    """

    number: int
    value: Tensor
    added: bool
    where: str
    layout: Layout | None = None
    grouped: bool = False
    lost: bool = False

    def times(self, gradient: Tensor) -> Tensor:
        """What it adds to the score: nothing where the gradient is 0, even if it is minus infinity."""
        return torch.where(gradient == 0, 0, self.value * gradient)


See = Callable[[Bias, Tensor], None]


class Biases(Following):
    """Nothing is replaced, but every operation that has a bias shows it, and its output's gradient.

    Args:
        inputs: the shape of the model's input.
    """

    def __init__(self, inputs: torch.Size) -> None:
        super().__init__()
        _load_forward_derivatives()
        self.inputs = inputs
        self.count = 0
        self._made: list[
            tuple[Bias, Tensor, bool]
        ] = []  # of the operation that runs; whether it is a layer's
        self.see: See | None = None
        self.handlers: Mapping[str, Handler] = {
            **dict.fromkeys(HOMOGENEOUS, Call.run),
            **dict.fromkeys(BILINEAR, self._product),
            **dict.fromkeys(SUMS, self._sum),
            **{name: partial(self._affine, dims=dims) for name, dims in AFFINE.items()},
            "batch_norm": self._batch_norm,
            "setitem": self.other,
        }

    @contextmanager
    def shown(self, see: See) -> Iterator[None]:
        """Within this block each way back through this run calls `see(bias, gradient of the output)`."""
        self.see = see
        try:
            yield
        finally:
            self.see = None

    def other(self, call: Call) -> Any:
        """Any operation: its bias is what it gives but for its derivative along what goes in."""
        made = call.run()
        found = [y for y in tree_leaves(made) if isinstance(y, Tensor)]
        if any(y.requires_grad for y in found):
            for y, slope in zip(found, self._slopes(call), strict=True):
                if y.requires_grad:
                    value = y.detach()
                    bias = value if slope is None else value - slope
                    least = ROUNDING * torch.finfo(value.dtype).eps * value.abs()
                    self._bias(call, y, torch.where(bias.abs() > least, bias, 0), call.name in ADDING)
        return made

    def _slopes(self, call: Call) -> list[Tensor | None]:
        """sum_i dF/da_i a_i of each tensor that an operation gives; None where it is zero."""

        def dual(value: Any) -> Any:
            still = value.detach() if isinstance(value, Tensor) else value
            return forward.make_dual(still, still) if self.depends_on_input(value) else still

        # PyTorch crashes where a dispatch mode, as the first pass of a model has one, meets such derivatives.
        with torch.no_grad(), _disable_current_modes(), forward.dual_level():
            args, kwargs = tree_map(dual, (call.args, call.kwargs))
            try:
                made = replace(call, args=args, kwargs=kwargs).run()
            except NotImplementedError as error:
                where = f" in layer {call.where!r}" if call.where else ""
                raise ModelError(
                    f"Operation {call.name!r}{where} has no forward derivative, so its bias cannot be told "
                    "apart: use a gradient method."
                ) from error
            return [forward.unpack_dual(y).tangent for y in tree_leaves(made) if isinstance(y, Tensor)]

    def _product(self, call: Call) -> Any:
        carrying = sum(self.depends_on_input(value) for value in tree_leaves((call.args, call.kwargs)))
        return call.run() if carrying == 1 else self.other(call)

    def _sum(self, call: Call) -> Any:
        parts = call.get(0, "tensors") if call.name == "cat" else (call.get(0, "input"), call.get(1, "other"))
        return call.run() if all(self.depends_on_input(part) for part in parts) else self.other(call)

    def _affine(self, call: Call, dims: int) -> Any:
        bias = call.get(2, "bias")
        if any(self.depends_on_input(value) for value in (call.get(1, "weight"), bias)):
            return self.other(call)
        y = call.run()
        if bias is not None:
            self._bias(call, y, bias.view(-1, *[1] * dims), added=True)
        return y

    def _batch_norm(self, call: Call) -> Any:
        given = _BATCH_NORM.bind(*call.args, **call.kwargs)
        given.apply_defaults()
        x, mean, var, weight, bias, training, _, eps = given.args
        if (
            training
            or mean is None
            or any(self.depends_on_input(value) for value in (mean, var, weight, bias))
        ):
            return self.other(call)
        y = call.run()
        scale = (var + eps).rsqrt() if weight is None else weight * (var + eps).rsqrt()
        shift = -mean * scale if bias is None else bias - mean * scale
        self._bias(call, y, shift.view(-1, *[1] * (x.ndim - 2)), added=True)
        return y

    def _bias(self, call: Call, y: Tensor, value: Tensor, added: bool) -> None:
        self.count += 1
        if not (y.requires_grad and value.any()):
            return
        bias = Bias(self.count, value, added, call.where or call.name)
        self._made.append((bias, y, call.name in AFFINE or call.name in NORMS))

        def show(gradient: Tensor) -> None:
            if self.see is not None:
                self.see(bias, gradient)

        y.register_hook(show)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by PyTorch with every function that a model calls; then it is known how its output lies."""
        made = super().__torch_function__(func, types, args, kwargs)
        for bias, y, of_layer in self._made:
            trace = self.follower.of(y) if self.follower is not None else None
            if trace is not None:
                bias.layout = layout_of(trace, y.shape, self.inputs[0])
                bias.grouped = trace.axes is not None and trace.axes[:1] == ("N",)
                bias.lost = of_layer and bias.layout is None and _holds_positions(trace.axes, y.shape)
        self._made.clear()
        return made


def _holds_positions(axes: Axes | None, shape: Sequence[int]) -> bool:
    """Whether a layer's output has values for several positions of the picture, as feature maps have.

    Of unknown axes all but the batch may hold positions,
    if more than one, that of the channels, holds anything.
    """
    if axes is None:
        return sum(size > 1 for size in shape[1:]) > 1
    held = zip(axes, shape, strict=True)
    return any(size > 1 for axis, size in held if axis in ("h", "w") or isinstance(axis, Tokens))


def by_sample(bias: Bias, gradient: Tensor, samples: int) -> Float[Tensor, "N numbers"]:
    """A bias times its output's gradient, with what belongs to each sample in a row.

    Samples come first; or second, as in torch's (T, N, E); or first together with their parts, where those
    are known to be in order.

    Raises:
        RowsUnknown: it is not known which rows belong to which sample: each must be run alone.
    """
    value = bias.times(gradient)
    rows = len(value) if value.ndim else 0
    if samples == 1 or rows == samples:
        return value.reshape(samples, -1)
    if value.ndim == 3 and value.shape[1] == samples:
        return value.transpose(0, 1).flatten(1)
    if bias.grouped and rows % samples == 0:
        return value.reshape(samples, -1)
    raise RowsUnknown(bias.where)


@cache
def _load_forward_derivatives() -> None:
    """PyTorch loads some of them at their first use, and warns about how it does that itself."""
    with warnings.catch_warnings(), forward.dual_level():
        warnings.simplefilter("ignore", FutureWarning)
        forward.make_dual(
            torch.zeros((), dtype=torch.float32, device="cpu"),
            torch.zeros((), dtype=torch.float32, device="cpu"),
        )
