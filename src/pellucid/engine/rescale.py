"""A model run on images and, in the same breath, on their references: its way back gives DeepLIFT's multipliers.

Every tensor that carries has with it the reference's own, on which each operation is run again outside the
graph. So an operation knows what it was given and what it gave for both, wherever the samples lie. Its
multipliers are the mean of its gradient on the line from the reference to the image, which is

- of a linear operation its own gradient,
- of a product its gradient in the middle,
- of a function of one number the quotient (f(x) - f(x')) / (x - x'),
- of softmax and of what divides by a norm, those of the steps that they are made of,
- of others an integral, in a few nodes.

Times the differences of its inputs they sum to the difference of its outputs: so the map is complete.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_map

from pellucid.engine.operations import Call, Operations, Tag
from pellucid.engine.paths import rule
from pellucid.model import Model

NODES = 16
"""Of the integral for operations whose multipliers have no closed form."""

_LINEAR = """
    add sub rsub neg positive sum mean cumsum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d interpolate upsample upsample_nearest upsample_bilinear masked_fill
    view view_as reshape reshape_as flatten unflatten ravel squeeze unsqueeze permute transpose t swapaxes
    swapdims movedim moveaxis contiguous clone detach expand expand_as broadcast_to repeat repeat_interleave tile
    roll flip fliplr flipud rot90 narrow select index_select getitem unfold fold diagonal chunk split
    split_with_sizes tensor_split unbind cat stack hstack vstack pad pixel_shuffle pixel_unshuffle channel_shuffle
    to type float double half bfloat16 type_as dropout dropout1d dropout2d dropout3d alpha_dropout
    feature_alpha_dropout tril triu
""".split()
_PRODUCTS = """
    mul matmul rmatmul linear bilinear einsum addmm baddbmm addbmm dot outer square addcmul conv1d conv2d conv3d
    conv_transpose1d conv_transpose2d conv_transpose3d
""".split()
_ONE_TO_ONE = """
    relu relu6 hardtanh threshold leaky_relu rrelu prelu elu selu celu gelu silu mish hardswish hardsigmoid sigmoid
    logsigmoid tanh tanhshrink softsign softplus softshrink hardshrink exp exp2 expm1 log log2 log10 log1p pow
    rpow sqrt rsqrt abs clamp clamp_min clamp_max reciprocal rdiv sin cos tan atan arctan asinh erf
""".split()


class Instead(Function):
    """A value whose way back is that of another."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor, way: Tensor) -> Tensor:
        """The value."""
        return value.view_as(value)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> tuple[None, Any]:
        """To the other."""
        return None, gradients[0]


class Rescale(Operations):
    """Operations whose way back is the multipliers of images against `references`, one of each.

    `estimated` names the operations whose multipliers are an integral in nodes, with their places.
    """

    def __init__(self, references: Tensor) -> None:
        super().__init__()
        self.references = references
        self.estimated: dict[str, None] = {}
        self.handlers = {
            **dict.fromkeys(_LINEAR, self._linear),
            **dict.fromkeys(_PRODUCTS, self._product),
            **dict.fromkeys(_ONE_TO_ONE, self._one_to_one),
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
            "var": self._var,
            "std": self._std,
            "amax": self._amax,
            "max": self._max,
            **{
                f"{kind}max_pool{d}d{with_indices}": self._max_pool(d, f"{kind}max_pool{d}d")
                for kind in ("", "adaptive_")
                for d in (1, 2, 3)
                for with_indices in ("", "_with_indices")
            },
        }

    # What is known of tensors

    @contextmanager
    def over(self, model: Model, inputs: Tensor) -> Iterator[None]:
        """See `Operations.over`; the inputs are paired with the references."""
        references = torch.empty_like(inputs).copy_(self.references)
        with super().over(model, inputs):
            self.pair(inputs, references)
            yield

    def pair(self, made: Any, references: Any) -> Any:
        """Keeps what stands beside each tensor of a structure for the references."""
        for tensor, reference in zip(tree_leaves(made), tree_leaves(references), strict=True):
            if isinstance(tensor, Tensor):
                self.tags[tensor] = Tag({"reference": reference})
        return made

    def _reference(self, value: Any) -> Any:
        """What the references have in the place of a value: their own tensor, or the same constant."""
        return self.tags[value].notes["reference"] if self.carries(value) else value

    def _beside(self, call: Call) -> Any:
        """What an operation gives for the references."""
        args, kwargs = tree_map(self._reference, (call.args, call.kwargs))
        return replace(call, args=args, kwargs=kwargs).value()

    def _at(self, call: Call, t: float) -> Call:
        """An operation at a point of the line from the references (t = 0) to the images."""

        def point(value: Any) -> Any:
            if not (self.carries(value) and value.is_floating_point()):
                return value
            return Instead.apply(torch.lerp(self._reference(value), value.detach(), t), value)

        args, kwargs = tree_map(point, (call.args, call.kwargs))
        return replace(call, args=args, kwargs=kwargs)

    def _carriers(self, call: Call) -> list[Tensor]:
        """The operands that depend on the input, each as often as it is one."""
        return [x for x in tree_leaves((call.args, call.kwargs)) if self.carries(x) and x.requires_grad]

    def _made(self, call: Call, way: Tensor) -> Tensor:
        """An operation's own value, with another way back."""
        return self.pair(Instead.apply(call.value(), way), self._beside(call))  # type: ignore[no-any-return]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """See `Operations`; what is written into a part of a tensor is written into its reference's too."""
        if getattr(func, "__name__", "") != "__setitem__":
            return super().__torch_function__(func, types, args, kwargs)
        now = tree_map(lambda x: self._current(x, []) if isinstance(x, Tensor) else x, args)
        whole, place, part = tree_map(self._reference, now)
        made = super().__torch_function__(func, types, args, kwargs)
        if self.carries(made):
            with torch.no_grad():
                whole = whole.clone()
                whole[place] = part
            self.pair(made, whole)
        return made

    # Kinds of operations

    def _linear(self, call: Call) -> Any:
        return self.pair(call.run(), self._beside(call))

    def _product(self, call: Call) -> Any:
        """d(ab) = da (b + b') / 2 + (a + a') / 2 db: the gradient in the middle."""
        operands = len(self._carriers(call))
        if operands > 2:
            return self.other(call)
        return (
            self._linear(call)
            if operands == 1 and call.name != "square"
            else self._made(call, self._at(call, 0.5).run())
        )

    def _one_to_one(self, call: Call) -> Any:
        """dy / dx."""
        if len(carriers := self._carriers(call)) != 1:
            return self.other(call)
        x, y, start = carriers[0], call.value(), self._beside(call)
        with torch.enable_grad():
            middle = torch.lerp(self._reference(x), x.detach(), 0.5).expand_as(y).clone().requires_grad_()
            args, kwargs = tree_map(lambda value: middle if value is x else value, (call.args, call.kwargs))
            (slope,) = torch.autograd.grad(replace(call, args=args, kwargs=kwargs).run().sum(), middle)
        way = quotient(x.detach(), self._reference(x), y, start, slope) * x
        return self.pair(Instead.apply(y, way), start)

    def other(self, call: Call) -> Any:
        """The integral of the gradient on the line from the references to the images.

        Of an operation whose value in the middle is the mean of those at the ends, its own gradient is taken.
        """
        made = call.run()
        if not any(isinstance(y, Tensor) for y in tree_leaves(made)):
            return made
        start = self._beside(call)
        if not any(map(_differentiable, tree_leaves(made))) or self._straight(call, made, start):
            return self.pair(made, start)
        self.estimated[f"{call.name} in layer {call.where!r}" if call.where else call.name] = None
        nodes, weights = (values.tolist() for values in rule("gauss-legendre", NODES))
        runs = [self._at(call, t).run() for t in nodes]

        def mean(y: Any, *parts: Any) -> Any:
            if not _differentiable(y):
                return y
            return Instead.apply(y.detach(), sum(w * part for w, part in zip(weights, parts, strict=True)))

        return self.pair(tree_map(mean, made, *runs), start)

    def _straight(self, call: Call, made: Any, start: Any) -> bool:
        parts = map(tree_leaves, (made, start, self._at(call, 0.5).value()))
        return all(
            bool(((y + y0) / 2 - middle).abs().max() <= torch.finfo(y.dtype).eps ** 0.75 * y.abs().max())
            for y, y0, middle in zip(*parts, strict=True)
            if _differentiable(y)
        )

    def _quotient(self, call: Call) -> Any:
        """a / b as a times 1 / b."""
        over = call.get(1, "other")
        if not self.carries(over) or call.get(2, "rounding_mode"):
            return self._linear(call)
        with self:
            way = over.reciprocal() * call.args[0]
        return self._made(call, way)

    def _larger(self, call: Call) -> Tensor:
        a, b = call.args
        with self:
            way = a + (b - a).relu()
        return self._made(call, way)

    def _smaller(self, call: Call) -> Tensor:
        a, b = call.args
        with self:
            way = a - (a - b).relu()
        return self._made(call, way)

    def _gated(self, call: Call) -> Tensor:
        with self:
            a, b = call.args[0].chunk(2, call.get(1, "dim", -1))
            way = a * b.sigmoid()
        return self._made(call, way)

    # Softmax: exp(z - log sum_j exp(z_j))

    def _softmax(self, call: Call) -> Any:
        if call.get(1, "dim") is None:
            return self.other(call)
        z, start, dim = call.args[0], self._reference(call.args[0]), call.get(1, "dim")
        u, u0 = (_finite(values.detach()).log_softmax(dim) for values in (z, start))
        slopes = quotient(u, u0, u.exp(), u0.exp(), torch.lerp(u, u0, 0.5).exp())
        return self._made(call, slopes * (z - self._summed(z, start, dim)))

    def _log_softmax(self, call: Call) -> Any:
        if call.get(1, "dim") is None:
            return self.other(call)
        z = call.args[0]
        return self._made(call, z - self._summed(z, self._reference(z), call.get(1, "dim")))

    def _logsumexp(self, call: Call) -> Tensor:
        z, dim = call.args[0], call.get(1, "dim")
        way = self._summed(z, self._reference(z), dim)
        return self._made(call, way if call.get(2, "keepdim", False) else way.squeeze(dim))

    def _summed(self, z: Tensor, start: Tensor, dim: Any) -> Tensor:
        """The way back of log sum_j exp(z_j): both sums are taken relative to the larger of both maxima."""
        x, x0 = _finite(z.detach()), _finite(start)
        top = torch.maximum(x, x0).amax(dim, keepdim=True)
        e, e0 = (x - top).exp(), (x0 - top).exp()
        s, s0 = e.sum(dim, keepdim=True), e0.sum(dim, keepdim=True)
        logs = (values.logsumexp(dim, keepdim=True) - top for values in (x, x0))
        outer = quotient(s, s0, *logs, 2 / (s + s0))
        inner = quotient(x, x0, e, e0, (torch.lerp(x, x0, 0.5) - top).exp())
        return outer * (inner * z).sum(dim, keepdim=True)

    # What divides by a norm; within `with self`, so that its steps are replaced in turn

    def _scaled(self, x: Tensor, dims: Any, eps: float, centred: bool = True) -> Tensor:
        if centred:
            x = x - x.mean(dims, keepdim=True)
        return x * (x.square().mean(dims, keepdim=True) + eps).rsqrt()

    def _layer_norm(self, call: Call) -> Tensor:
        x, weight = call.args[0], call.get(2, "weight")
        dims = tuple(range(-len(call.get(1, "normalized_shape")), 0))
        with self:
            way = self._scaled(x, dims, call.get(4, "eps", 1e-5))
            way = way if weight is None else way * weight
        return self._made(call, way)

    def _rms_norm(self, call: Call) -> Tensor:
        x, weight, eps = call.args[0], call.get(2, "weight"), call.get(3, "eps")
        dims = tuple(range(-len(call.get(1, "normalized_shape")), 0))
        with self:
            way = self._scaled(x, dims, torch.finfo(x.dtype).eps if eps is None else eps, centred=False)
            way = way if weight is None else way * weight
        return self._made(call, way)

    def _group_norm(self, call: Call) -> Tensor:
        x, groups, weight = call.args[0], call.get(1, "num_groups"), call.get(2, "weight")
        with self:
            split = x.unflatten(1, (groups, -1))
            way = self._scaled(split, tuple(range(2, split.ndim)), call.get(4, "eps", 1e-5)).flatten(1, 2)
            way = way if weight is None else way * weight.view(-1, *[1] * (x.ndim - 2))
        return self._made(call, way)

    def _instance_norm(self, call: Call) -> Tensor:
        x, weight = call.args[0], call.get(3, "weight")
        if not call.get(5, "use_input_stats", True):
            return self._linear(call)  # type: ignore[no-any-return]
        with self:
            way = self._scaled(x, tuple(range(2, x.ndim)), call.get(7, "eps", 1e-5))
            way = way if weight is None else way * weight.view(-1, *[1] * (x.ndim - 2))
        return self._made(call, way)

    def _batch_norm(self, call: Call) -> Any:
        return self.other(call) if call.get(5, "training", False) else self._linear(call)

    def _normalize(self, call: Call) -> Any:
        x, p, dim, eps = (
            call.get(*at) for at in ((0, "input"), (1, "p", 2.0), (2, "dim", 1), (3, "eps", 1e-12))
        )
        with self:
            way = x * x.norm(p, dim, keepdim=True).clamp_min(eps).reciprocal()
        return self._made(call, way)

    def _norm(self, call: Call) -> Any:
        """The root of the sum of squares; other norms are estimated."""
        order = "p" if call.name == "norm" else "ord"
        if call.get(1, order, 2) not in (2, "fro", None):
            return self.other(call)
        x, dim, keep = call.args[0], call.get(2, "dim"), call.get(3, "keepdim", False)
        with self:
            way = x.square().sum(dim, keepdim=keep).sqrt()
        return self._made(call, way)

    def _variance(self, call: Call) -> Tensor | None:
        """The way back of a variance, unless it is asked for in an uncommon way."""
        x, dim = call.args[0], call.get(1, "dim")
        if isinstance(dim, bool) or "unbiased" in call.kwargs or len(call.args) > 2:
            return None
        dims = tuple(range(x.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
        correction = call.kwargs.get("correction", 1)
        count = torch.Size(x.shape[d] for d in dims).numel()
        with self:
            centred = x - x.mean(dims, keepdim=True)
            squares = centred.square().sum(dims, keepdim=call.kwargs.get("keepdim", False))
            return squares / (count - correction)

    def _var(self, call: Call) -> Any:
        way = self._variance(call)
        return self.other(call) if way is None else self._made(call, way)

    def _std(self, call: Call) -> Any:
        way = self._variance(call)
        if way is None:
            return self.other(call)
        with self:
            way = way.sqrt()
        return self._made(call, way)

    # Maxima: their whole change goes to the larger one's place, which lies beyond the other there

    def _max_pool(self, d: int, name: str) -> Callable[[Call], Any]:
        pool = getattr(functional, name)

        def handler(call: Call) -> Any:
            options = {key: value for key, value in call.kwargs.items() if key != "return_indices"}
            x, start = call.args[0], self._reference(call.args[0])
            with torch.no_grad():
                (y, at), (y0, at0) = (
                    pool(values, *call.args[1:], **options, return_indices=True) for values in (x, start)
                )
            flat, place = x.flatten(-d), torch.where(y >= y0, at, at0)
            way = self._from(flat, start.flatten(-d), place.flatten(-d), (y - y0).flatten(-d)).view_as(y)
            made = self.pair(Instead.apply(y, way), y0)
            return (made, self.pair(at, at0)) if "with_indices" in call.name else made

        return handler

    def _amax(self, call: Call) -> Any:
        dims, keep = call.get(1, "dim", ()), call.get(2, "keepdim", False)
        return self._made(call, self._largest(call.args[0], dims, keep))

    def _max(self, call: Call) -> Any:
        dim = call.get(1, "dim")
        if isinstance(dim, Tensor) or "other" in call.kwargs:
            return self._larger(call)
        way = self._largest(call.args[0], () if dim is None else dim, call.get(2, "keepdim", False))
        if dim is None:
            return self._made(call, way)
        made, start = call.value(), self._beside(call)
        return self.pair(type(made)((Instead.apply(made.values, way), made.indices)), start)

    def _largest(self, x: Tensor, dims: Any, keep: bool) -> Tensor:
        """The way back of a maximum over axes, of all if there are none."""
        dims = sorted(d % x.ndim for d in ((dims,) if isinstance(dims, int) else dims or range(x.ndim)))
        others = [d for d in range(x.ndim) if d not in dims]
        flat, start = (
            values.permute(*others, *dims).flatten(len(others)) for values in (x, self._reference(x))
        )
        (y, at), (y0, at0) = (values.detach().max(-1, keepdim=True) for values in (flat, start))
        way = self._from(flat, start, torch.where(y >= y0, at, at0), y - y0)
        shape = [1 if d in dims else size for d, size in enumerate(x.shape) if keep or d not in dims]
        return way.view(shape)

    @staticmethod
    def _from(x: Tensor, start: Tensor, place: Tensor, change: Tensor) -> Tensor:
        chosen = x.gather(-1, place)
        gained = chosen.detach() - start.gather(-1, place)
        return torch.where(gained == 0, 1, change / gained) * chosen


def quotient(x: Tensor, x0: Tensor, y: Tensor, y0: Tensor, slope: Tensor) -> Tensor:
    """(y - y0) / (x - x0), or the slope in between where that explains the change as well as rounding allows.

    There the quotient is one of rounding errors. Where the slope does not, as across a kink, the change is
    larger than they are.

    Example:
        >>> x, x0 = torch.tensor([3.0, 1.0]), torch.tensor([-1.0, 1.0])
        >>> quotient(x, x0, x.relu(), x0.relu(), torch.tensor([1.0, 1.0]))
        tensor([0.7500, 1.0000])
    """
    change, gained, rounding = y - y0, x - x0, 4 * torch.finfo(y.dtype).eps
    slope = torch.where(slope.isfinite(), slope, 0)
    same = gained.abs() <= rounding * (x.abs() + x0.abs())
    same |= (slope * gained - change).abs() <= rounding * (y.abs() + y0.abs())
    return torch.where(same, slope, change / gained)


def _finite(z: Tensor) -> Tensor:
    """Scores of what is hidden, minus infinity, as a number that can be subtracted."""
    return z.clamp(min=torch.finfo(z.dtype).min / 4)


def _differentiable(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.requires_grad
