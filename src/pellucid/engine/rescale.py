"""DeepLIFT's multipliers in the place of gradients, for all that networks are made of.

Times the differences of an operation's inputs they sum to the difference of its outputs, so a chain of them
does as well, and the map is complete. They are

- of a linear operation its own gradient,
- of a product its gradient in the middle between the reference and the image,
- of a function of one number the quotient (f(x) - f(x')) / (x - x'),
- of softmax, maxima and quotients those of `engine.multipliers`,
- of what divides by a norm those of the steps that it is made of,
- of others the mean of their gradient on the line from the reference to the image, in a few nodes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_map

from pellucid.engine import multipliers
from pellucid.engine.beside import Beside, instead
from pellucid.engine.operations import Call
from pellucid.engine.paths import rule

NODES = 16
"""Of the integral for operations whose multipliers have no closed form."""

_LINEAR = (
    "add", "sub", "rsub", "neg", "positive", "sum", "mean", "cumsum", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "interpolate",
    "upsample", "upsample_nearest", "upsample_bilinear", "masked_fill", "view", "view_as", "reshape",
    "reshape_as", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "permute", "transpose", "t",
    "swapaxes", "swapdims", "movedim", "moveaxis", "contiguous", "clone", "detach", "expand",
    "expand_as", "broadcast_to", "repeat", "repeat_interleave", "tile", "roll", "flip", "fliplr",
    "flipud", "rot90", "narrow", "select", "index_select", "getitem", "unfold", "fold", "diagonal",
    "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "cat", "stack", "hstack", "vstack",
    "pad", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "to", "type", "float", "double",
    "half", "bfloat16", "type_as", "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout",
    "feature_alpha_dropout", "tril", "triu",
)  # fmt: skip
"""What only moves, weighs and adds up numbers, whichever of its operands depend on the input."""
_PRODUCTS = (
    "mul", "matmul", "rmatmul", "linear", "bilinear", "einsum", "addmm", "baddbmm", "addbmm", "dot",
    "outer", "addcmul", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d",
)  # fmt: skip
"""What is linear in each of two operands."""
_RAMPS = (
    "relu", "relu6", "hardtanh", "threshold", "_threshold", "leaky_relu", "rrelu", "prelu", "abs", "clamp",
    "clamp_min", "clamp_max",
)  # fmt: skip
"""Functions of one number, applied to each, made of straight pieces: their quotients are exact."""
_CURVES = (
    "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardsigmoid", "sigmoid", "logsigmoid",
    "tanh", "tanhshrink", "softsign", "softplus", "softshrink", "hardshrink", "exp", "exp2", "expm1",
    "log", "log2", "log10", "log1p", "pow", "rpow", "sqrt", "rsqrt", "reciprocal", "rdiv", "sin", "cos",
    "tan", "atan", "arctan", "asinh", "erf",
)  # fmt: skip
"""Other functions of one number."""


class Rescale(Beside):
    """Operations whose way back is the multipliers of images against `references`, one of each.

    `estimated` names the operations whose multipliers are an integral in nodes, with their places.
    """

    def __init__(self, references: Tensor) -> None:
        super().__init__(references)
        self.estimated: dict[str, None] = {}
        self.handlers = {
            **dict.fromkeys(_LINEAR, self._linear),
            **dict.fromkeys(_PRODUCTS, self._product),
            **dict.fromkeys(("square", "var", "var_mean"), self._in_the_middle),
            **dict.fromkeys(_RAMPS, self._ramp),
            **dict.fromkeys(_CURVES, self._curve),
            "setitem": self._linear,
            "div": self._quotient,
            "maximum": self._larger,
            "minimum": self._smaller,
            "glu": self._gated,
            "softmax": self._softmax,
            "log_softmax": self._log_softmax,
            "logsumexp": self._logsumexp,
            "layer_norm": self._layer_norm,
            "rms_norm": self._rms_norm,
            "group_norm": self._group_norm,
            "instance_norm": self._instance_norm,
            "batch_norm": self._batch_norm,
            "normalize": self._normalize,
            "norm": self._norm,
            "linalg_norm": self._norm,
            "linalg_vector_norm": self._norm,
            "std": self._std,
            "amax": self._amax,
            "max": self._max,
            **{
                f"{name}{ending}": self._max_pool(name, d)
                for d in (1, 2, 3)
                for name in (f"max_pool{d}d", f"adaptive_max_pool{d}d")
                for ending in ("", "_with_indices")
            },
        }

    # Kinds of operations

    def _linear(self, call: Call) -> Any:
        return self.pair(call.run(), self.beside(call))

    def _product(self, call: Call) -> Any:
        match len(self.carriers(call)):
            case 0 | 1:
                return self._linear(call)
            case 2:
                return self._in_the_middle(call)
            case _:
                return self.other(call)

    def _in_the_middle(self, call: Call) -> Any:
        """d(ab) = da (b + b') / 2 + (a + a') / 2 db: the gradient in the middle."""
        return self._integral(call, [0.5], [1.0])

    def _ramp(self, call: Call) -> Any:
        """dy / dx."""
        if len(carriers := self.carriers(call)) != 1:
            return self.other(call)
        x, y, y0 = carriers[0], call.value(), self.beside(call)
        gained = x.detach() - self.reference(x)
        slope, same = (y - y0).div_(gained), gained == 0
        if same.any():
            slope = torch.where(same, self._slope(call, x, y), slope)
        return self.pair(instead(y, slope * x), y0)

    def _curve(self, call: Call) -> Any:
        """dy / dx, as far as rounding lets it be known."""
        if len(carriers := self.carriers(call)) != 1:
            return self.other(call)
        x, y, y0 = carriers[0], call.value(), self.beside(call)
        slope = multipliers.quotient(x.detach(), self.reference(x), y, y0, self._slope(call, x, y))
        return self.pair(instead(y, slope * x), y0)

    def _slope(self, call: Call, x: Tensor, y: Tensor) -> Tensor:
        """The derivative at (x + x') / 2."""
        with torch.enable_grad():
            middle = torch.lerp(self.reference(x), x.detach(), 0.5).expand_as(y).clone().requires_grad_()
            args, kwargs = tree_map(lambda value: middle if value is x else value, (call.args, call.kwargs))
            return torch.autograd.grad(replace(call, args=args, kwargs=kwargs).run().sum(), middle)[0]

    def other(self, call: Call) -> Any:
        """Its own gradient if its value in the middle is the mean of those at the ends, else an integral."""
        made = call.run()
        if not any(isinstance(y, Tensor) for y in tree_leaves(made)):
            return made
        start = self.beside(call)
        if self._straight(made, start, self.at(call, 0.5).value()):
            return self.pair(made, start)
        self.estimated[f"{call.name} in layer {call.where!r}" if call.where else call.name] = None
        nodes, weights = rule("gauss-legendre", NODES)
        return self._integral(call, nodes.tolist(), weights.tolist())

    @staticmethod
    def _straight(made: Any, start: Any, middle: Any) -> bool:
        return all(
            bool(((y + y0) / 2 - half).abs().max() <= torch.finfo(y.dtype).eps ** 0.75 * y.abs().max())
            for y, y0, half in zip(*map(tree_leaves, (made, start, middle)), strict=True)
            if _differentiable(y)
        )

    def _integral(self, call: Call, nodes: Sequence[float], weights: Sequence[float]) -> Any:
        """The mean of its gradient on the line from the references to the images."""
        runs = [self.at(call, t).run() for t in nodes]

        def mean(y: Any, *parts: Any) -> Any:
            if not _differentiable(parts[0]):
                return y
            return instead(y, sum(w * part for w, part in zip(weights, parts, strict=True)))

        return self.pair(tree_map(mean, call.value(), *runs), self.beside(call))

    def _quotient(self, call: Call) -> Any:
        a, b = call.get(0, "input"), call.get(1, "other")
        if not self.carries(b) or call.get(2, "rounding_mode"):
            return self._linear(call)
        return self.made(call, multipliers.divided(a, self.reference(a), b, self.reference(b)))

    def _larger(self, call: Call) -> Tensor:
        a, b = call.get(0, "input"), call.get(1, "other")
        with self:
            way = a + (b - a).relu()
        return self.made(call, way)

    def _smaller(self, call: Call) -> Tensor:
        a, b = call.get(0, "input"), call.get(1, "other")
        with self:
            way = a - (a - b).relu()
        return self.made(call, way)

    def _gated(self, call: Call) -> Tensor:
        with self:
            a, b = call.get(0, "input").chunk(2, call.get(1, "dim", -1))
            way = a * b.sigmoid()
        return self.made(call, way)

    def _softmax(self, call: Call) -> Any:
        z, dim = call.get(0, "input"), call.get(1, "dim")
        return self.made(call, multipliers.softmax(z, self.reference(z), dim))

    def _log_softmax(self, call: Call) -> Any:
        z, dim = call.get(0, "input"), call.get(1, "dim")
        return self.made(call, z - multipliers.log_sum_exp(z, self.reference(z), dim))

    def _logsumexp(self, call: Call) -> Tensor:
        z, dim = call.get(0, "input"), call.get(1, "dim")
        way = multipliers.log_sum_exp(z, self.reference(z), dim)
        return self.made(call, way if call.get(2, "keepdim", False) else way.squeeze(dim))

    # What divides by a norm; within `with self`, so that its steps are replaced in turn

    def _scaled(self, x: Tensor, dims: Any, eps: float, centred: bool = True) -> Tensor:
        if centred:
            x = x - x.mean(dims, keepdim=True)
        return x / (x.square().mean(dims, keepdim=True) + eps).sqrt()

    def _layer_norm(self, call: Call) -> Tensor:
        x, weight = call.get(0, "input"), call.get(2, "weight")
        dims = tuple(range(-len(call.get(1, "normalized_shape")), 0))
        with self:
            way = self._scaled(x, dims, call.get(4, "eps", 1e-5))
            way = way if weight is None else way * weight
        return self.made(call, way)

    def _rms_norm(self, call: Call) -> Tensor:
        x, weight, eps = call.get(0, "input"), call.get(2, "weight"), call.get(3, "eps")
        dims = tuple(range(-len(call.get(1, "normalized_shape")), 0))
        with self:
            way = self._scaled(x, dims, torch.finfo(x.dtype).eps if eps is None else eps, centred=False)
            way = way if weight is None else way * weight
        return self.made(call, way)

    def _group_norm(self, call: Call) -> Tensor:
        x, groups, weight = call.get(0, "input"), call.get(1, "num_groups"), call.get(2, "weight")
        with self:
            split = x.unflatten(1, (groups, -1))
            way = self._scaled(split, tuple(range(2, split.ndim)), call.get(4, "eps", 1e-5)).flatten(1, 2)
            way = way if weight is None else way * weight.view(-1, *[1] * (x.ndim - 2))
        return self.made(call, way)

    def _instance_norm(self, call: Call) -> Tensor:
        x, weight = call.get(0, "input"), call.get(3, "weight")
        if not call.get(5, "use_input_stats", True):
            return self._linear(call)  # type: ignore[no-any-return]
        with self:
            way = self._scaled(x, tuple(range(2, x.ndim)), call.get(7, "eps", 1e-5))
            way = way if weight is None else way * weight.view(-1, *[1] * (x.ndim - 2))
        return self.made(call, way)

    def _batch_norm(self, call: Call) -> Any:
        return self.other(call) if call.get(5, "training", False) else self._linear(call)

    def _normalize(self, call: Call) -> Any:
        x, p, dim, eps = (
            call.get(*at) for at in ((0, "input"), (1, "p", 2.0), (2, "dim", 1), (3, "eps", 1e-12))
        )
        with self:
            way = x / x.norm(p, dim, keepdim=True).clamp_min(eps)
        return self.made(call, way)

    def _norm(self, call: Call) -> Any:
        """The root of the sum of squares; other norms are integrated."""
        order = call.get(1, "p" if call.name == "norm" else "ord")
        x, dim, keepdim = call.get(0, "input"), call.get(2, "dim"), call.get(3, "keepdim", False)
        spectral = call.name == "linalg_norm" and order is not None and not isinstance(dim, int)
        if order not in (2, "fro", None) or spectral:
            return self.other(call)
        with self:
            way = x.square().sum(dim, keepdim=keepdim).sqrt()
        return self.made(call, way)

    def _std(self, call: Call) -> Any:
        with self:
            way = call.get(0, "input").var(*call.args[1:], **call.kwargs).sqrt()
        return self.made(call, way)

    # Maxima

    def _max_pool(self, name: str, d: int) -> Callable[[Call], Any]:
        pool = getattr(functional, name)

        def handler(call: Call) -> Any:
            options = {key: value for key, value in call.kwargs.items() if key != "return_indices"}
            x, start = call.get(0, "input"), self.reference(call.get(0, "input"))
            with torch.no_grad():
                (y, at), (y0, at0) = (
                    pool(values, *call.args[1:], **options, return_indices=True) for values in (x, start)
                )
            place, change = torch.where(y >= y0, at, at0), y - y0
            way = multipliers.chosen(*(values.flatten(-d) for values in (x, start, place, change)))
            made = self.pair(instead(y, way.view_as(y)), y0)
            return (made, self.pair(at, at0)) if call.name.endswith("with_indices") else made

        return handler

    def _amax(self, call: Call) -> Any:
        x, dims, keepdim = call.get(0, "input"), call.get(1, "dim", ()), call.get(2, "keepdim", False)
        return self.made(call, multipliers.maximum(x, self.reference(x), dims, keepdim))

    def _max(self, call: Call) -> Any:
        dim = call.get(1, "dim")
        if isinstance(dim, Tensor) or "other" in call.kwargs:
            return self._larger(call)
        if dim is None:
            return self._amax(call)
        x, y, y0 = call.get(0, "input"), call.value(), self.beside(call)
        way = multipliers.maximum(x, self.reference(x), dim, call.get(2, "keepdim", False))
        return self.pair(type(y)((instead(y.values, way), y.indices)), y0)


def _differentiable(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.requires_grad
