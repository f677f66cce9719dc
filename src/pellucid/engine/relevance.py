"""Layer-wise relevance propagation on a network as it stands: every operation's way back is a rule.

What flows back through the graph is relevance instead of a gradient. Operations that only move numbers move
relevance by their own gradient; linear ones share it by the composite's rule; activations pass it on; sums,
means and norms (their scale taken as it is) share it in proportion; of a product with a gate the signal
answers. A batch norm is folded into the linear operation before it, or, if there is none, into the one after
it, through a ReLU and into zero-padded borders; a layer in between has the relevance of the two as one. What
biases answer for and what stabilisers take is counted, so that the sum of all can be compared with what went
in.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from pellucid.engine.composites import Composite
from pellucid.engine.operations import Call, Operations, Tag
from pellucid.engine.rules import (
    STABILISER,
    Apply,
    Operands,
    Rule,
    Shared,
    epsilon,
    passing,
    stabilised,
    z_box,
)
from pellucid.errors import InvalidValue, ModelError
from pellucid.model import Model

SAME = (
    "clone", "contiguous", "detach_copy", "to", "type", "type_as", "float",
    "double", "half", "bfloat16", "cpu", "cuda", "alias", "positive", "requires_grad",
)  # fmt: skip
"""Operations that give what they got."""

MOVING = (
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "ravel", "permute", "transpose",
    "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint", "squeeze", "unsqueeze", "getitem",
    "narrow", "select", "index_select", "gather", "take_along_dim", "take", "diagonal", "chunk", "split",
    "split_with_sizes", "tensor_split", "hsplit", "vsplit", "dsplit", "unbind", "unsafe_chunk",
    "unsafe_split", "stack", "cat", "hstack", "vstack", "dstack", "roll", "flip", "fliplr", "flipud",
    "rot90", "expand", "expand_as", "broadcast_to", "repeat", "repeat_interleave", "tile",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "sort",
    "topk", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "max_pool2d_with_indices", "max", "min", "amax", "amin", "aminmax", "maximum",
    "minimum", "fmax", "fmin", "get T", "get mT", "get H", "get mH", "get real", "__iter__",
    "upsample_nearest",
)  # fmt: skip
"""Operations that only move numbers, or choose among them."""

BESIDE = (
    "cat", "stack", "hstack", "vstack", "dstack", "maximum", "minimum", "max", "min", "fmax", "fmin",
)  # fmt: skip
"""Those among them that take constants as well."""

PARTLY = (
    "pad", "constant_pad_nd", "where", "masked_fill", "tril", "triu", "masked_select", "index_fill",
    "scatter", "slice_scatter", "select_scatter", "index_put", "index_copy", "setitem", "copy", "fill",
    "zero", "unfold",
)  # fmt: skip
"""Operations that move numbers, and put constants beside them or in their place."""

PASSING = (
    "relu", "relu6", "hardtanh", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu",
    "mish", "softplus", "hardswish", "log_softmax", "logsigmoid", "log_sigmoid", "softsign",
    "tanhshrink", "hardshrink", "softshrink", "threshold", "clamp", "clamp_min", "clamp_max", "abs",
    "exp", "expm1", "log", "log1p", "sqrt", "square", "pow", "sin", "cos", "neg", "normalize",
    "local_response_norm", "nan_to_num",
)  # fmt: skip
"""Operations on one number each: it answers for its own relevance."""

GATES = (
    "sigmoid", "tanh", "hardsigmoid", "softmax", "softmin", "erf", "rsqrt", "reciprocal",
)  # fmt: skip
"""Operations whose results scale something else; where they do not, they pass relevance on as activations."""

SIZES = {"norm": 1, "vector_norm": 1, "linalg_norm": 1, "linalg_vector_norm": 1, "std": 1, "var": 2}
"""Operations that tell how large numbers are, gates as well, and their degree: f(t x) = t^degree f(x)."""

AVERAGING = (
    "mean", "sum", "nansum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "cumsum", "lp_pool2d", "grid_sampler", "grid_sample",
    "fold", "upsample_bilinear", "interpolate", "upsample",
)  # fmt: skip
"""Linear operations without weights of their own: inputs answer in proportion."""

DROPPING = (
    "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "alpha_dropout",
    "feature_alpha_dropout",
)  # fmt: skip
"""Operations that do nothing, unless a model has them drop numbers while it is evaluated."""

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


class _Carried(torch.autograd.Function):
    """A value made outside the graph, with a way back of our own."""

    @staticmethod
    def forward(
        ctx: Any, make: Callable[[], Tensor], back: Callable[[Tensor], Any], *carriers: Tensor
    ) -> Tensor:
        made = make()
        kind = made.device.type
        enabled, lower = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        ctx.back, ctx.precision = back, torch.autocast(kind, lower, enabled=enabled)
        return made

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> tuple[Tensor | None, ...]:
        with ctx.precision:  # operations that run once more run as they did
            return None, None, *ctx.back(relevance[0])


def carried(make: Callable[[], Tensor], back: Callable[[Tensor], Any], *carriers: Tensor) -> Tensor:
    """What `make` gives; `back` turns its relevance into those of the carriers."""
    made: Tensor = _Carried.apply(make, back, *carriers)
    return made


def leading(call: Call, *names: str) -> tuple[Any, ...]:
    """The first arguments of an operation, by their names."""
    return tuple(call.get(position, name) for position, name in enumerate(names))


def whole(call: Call, x: Tensor) -> Tensor:
    """The operation's result; x answers for all of it."""
    size = x.shape  # nothing else of x is kept
    return carried(call.value, lambda relevance: (relevance.sum_to_size(size),), x)


@dataclass(frozen=True)
class Linear:
    """One linear operation of the run, as long as a batch norm may still be folded into it.

    `read` gives its operands when relevance comes back, so that nothing is kept but what it read; `merged`,
    if there are any, those of it and what follows it as one.
    """

    carrier: Tensor
    read: Callable[[], Operands]
    rule: Callable[[], Rule]
    channels: int | None  # the axis of its output that its weight's first axis makes
    merged: list[Callable[[], Operands]] = field(default_factory=list)

    def operands(self) -> Operands:
        """What relevance is shared by."""
        return (self.merged[-1] if self.merged else self.read)()


@dataclass(frozen=True)
class Affine:
    """A batch norm with no linear operation before it, scale * source + shift, and perhaps a ReLU behind.

    `merged` lists the layers that took it along, so that relevance only passes it.
    """

    source: Tensor
    scale: Tensor
    shift: Tensor
    rectified: bool = False
    merged: list[str] = field(default_factory=list)

    def rule(self) -> Rule:
        """Its rule where it stands alone, or where what took it along answers for it."""
        return passing if self.merged else epsilon

    def into(self, on: Operands, groups: int) -> Operands:
        """The linear operation that read its result, on its source instead: the border's zeros stay zeros."""
        x = self.source.detach()
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale, shift = self.scale.view(shape), self.shift.view(shape)
        open_ = (scale * x + shift > 0).to(x) if self.rectified else torch.ones_like(x)
        weight = on.weight.unflatten(0, (groups, -1))
        weight = weight * self.scale.view(groups, 1, -1, *[1] * (weight.ndim - 3))
        bias = on.apply(shift * open_, on.weight)
        bias = bias if on.bias is None else bias + on.bias
        return replace(on, a=x * open_, weight=weight.flatten(0, 1), bias=bias)


class Relevance(Operations):
    """LRP's operations for one run on so many samples, by a composite.

    `box` holds the lowest and highest inputs, for z-box. After a way back, `biases` and `absorbed` (N,) tell
    what biases answer for and what stabilisers took, since `clear` was called.
    """

    def __init__(self, composite: Composite, samples: int, box: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        self.composite, self.samples, self.box = composite, samples, box
        self.linears = 0
        self.matched: set[str] = set()
        self.unknown: dict[str, str] = {}  # operations without a rule -> where
        self.clear()
        self.handlers = {
            **dict.fromkeys(SAME, self._same),
            **dict.fromkeys(DROPPING, self._dropped),
            **dict.fromkeys(MOVING, self._moved),
            **dict.fromkeys(PARTLY, self._partly),
            **dict.fromkeys((*PASSING, *GATES), self._passed),
            **dict.fromkeys(SIZES, self._sized),
            **dict.fromkeys(AVERAGING, self._averaged),
            **dict.fromkeys((*CONVOLUTIONS, *TRANSPOSED), self._convolved),
            "linear": self._linear, "matmul": self._matmul, "rmatmul": self._rmatmul, "einsum": self._einsum,
            "addmm": self._addmm, "baddbmm": self._addmm, "addcmul": self._addcmul,
            "var_mean": self._spread, "std_mean": self._spread,
            "batch_norm": self._batch_norm, "layer_norm": self._layer_norm, "group_norm": self._group_norm,
            "instance_norm": self._instance_norm, "rms_norm": self._rms_norm,
            "add": self._add, "sub": self._sub, "rsub": self._rsub, "mul": self._mul, "div": self._div,
            "rdiv": self._rdiv, "glu": self._glu,
        }  # fmt: skip

    def clear(self) -> None:
        """Begins the count anew, before a way back."""
        self.biases = torch.zeros(self.samples, dtype=torch.float64)
        self.absorbed = torch.zeros(self.samples, dtype=torch.float64)

    @contextmanager
    def over(self, model: Model, inputs: Tensor) -> Iterator[None]:
        """Within this block, in which the model is run on `inputs`, its way back is relevance.

        Raises:
            ModelError: operations that have no rule, all of them, with their places.
            InvalidValue: patterns of the composite that match no layer with weights.
        """
        with super().over(model, inputs):
            self.tags[inputs].notes["raw"] = True
            yield
        if self.unknown and self.composite.choice("unknown") == "refuse":
            raise ModelError(
                f"These operations of the model have no rule that carries relevance: {self.listed()}. "
                "composite='...;unknown=gradient' takes them by their first-order expansion."
            )
        if unmatched := [p for p in self.composite.patterns if p not in self.matched]:
            raise InvalidValue(
                f"Every pattern of a composite must match a layer with weights that the model runs; "
                f"{unmatched[0]!r} matches none. `pellucid doctor --layers` lists the layers."
            )

    def listed(self) -> str:
        """The operations without a rule, with the first place of each."""
        return ", ".join(f"{name} in {where}" if where else name for name, where in self.unknown.items())

    # What is known of tensors

    def _know(self, tensor: Tensor, **notes: Any) -> Tensor:
        """Notes of a tensor; those that are false are left out."""
        if torch.is_grad_enabled():  # not within a custom autograd function, which may give this very tensor
            self.tags[tensor] = Tag({name: note for name, note in notes.items() if note})
        return tensor

    def _note(self, tensor: Any, name: str) -> Any:
        return self.tags[tensor].notes.get(name) if self.carries(tensor) else None

    def _carriers(self, call: Call) -> list[Tensor]:
        return [value for value in tree_flatten((call.args, call.kwargs))[0] if self.carries(value)]

    # Counting

    def _axis(self, values: Tensor) -> int:
        """Along which axis samples lie: the first, or, of tokens before the batch, the second."""
        if values.ndim < 2:
            return 0
        if values.ndim == 3 and values.shape[0] != self.samples == values.shape[1]:
            return 1
        return 1 if values.shape[0] % self.samples and not values.shape[1] % self.samples else 0

    def _count(self, shared: Shared) -> Tensor:
        """Keeps what an operation's biases and stabiliser took; the rest goes on."""
        for total, part in ((self.biases, shared.bias), (self.absorbed, shared.absorbed)):
            total += self._by_sample(part.detach().expand(self.samples) if not part.ndim else part).cpu()
        return shared.inputs

    def _to_constants(self, came: Tensor, went: Sequence[Tensor]) -> None:
        """Counts what constants beside the carriers answer for: what came, less what went on."""
        rest = self._rest(came, went)
        self._count(Shared(came, rest, torch.zeros_like(rest)))

    def _absorb(self, came: Tensor, went: Sequence[Tensor]) -> None:
        """Counts what a stabiliser took: what came, less what went on."""
        rest = self._rest(came, went)
        self._count(Shared(came, torch.zeros_like(rest), rest))

    def _rest(self, came: Tensor, went: Sequence[Tensor]) -> Tensor:
        return self._by_sample(came) - sum(map(self._by_sample, went))

    def _by_sample(self, values: Tensor) -> Tensor:
        rows = values.movedim(self._axis(values), 0)
        if len(rows) % self.samples:  # of no sample alone
            return (values.sum(dtype=torch.float64) / self.samples).expand(self.samples)
        return rows.reshape(self.samples, -1).sum(1, dtype=torch.float64)

    def _shared(self, make: Callable[[], Tensor], linear: Linear) -> Tensor:
        """A linear operation's result, whose relevance goes back by its rule."""

        def back(relevance: Tensor) -> tuple[Tensor]:
            on = replace(linear.operands(), axis=self._axis(relevance))
            return (self._count(linear.rule()(on, relevance)),)

        return carried(make, back, linear.carrier)

    def _proportional(
        self,
        make: Callable[[], Tensor],
        x: Tensor,
        apply: Callable[[Tensor], Tensor],
        bias: Tensor | None = None,
        a: Tensor | None = None,
        rule: Callable[[], Rule] = lambda: epsilon,
    ) -> Tensor:
        """A linear operation without a rule of its own: its input, or `a`, answers by epsilon."""
        a = x.detach() if a is None else a
        read = partial(Operands, lambda a, _: apply(a), a, a, bias)
        return self._shared(make, Linear(x, read, rule, None))

    def _merged(self, call: Call, x: Tensor, linear: Linear, read: Callable[[], Operands]) -> Tensor:
        """An operation that is one with the linear operation behind x; `read` gives the operands of both.

        Where relevance is asked for in between, it passes this one, and that one takes all of it.
        """
        if self._note(x, "kept"):
            linear.merged.append(read)
            return self._know(whole(call, x), linear=replace(linear, read=read), kept=True)
        both = replace(linear, read=read, merged=[])
        return self._know(self._shared(call.value, both), linear=both)

    # What moves and passes

    def _same(self, call: Call) -> Any:
        made, (x, *_) = call.run(), self._carriers(call)
        if made is not x and isinstance(made, Tensor) and made.requires_grad:
            self.tags[made] = Tag(dict(self.tags[x].notes))
        return made

    def _dropped(self, call: Call) -> Any:
        default = call.kwargs.get("train", "alpha" not in call.name)  # torch's own names and defaults
        training = call.get(2, "training", default)
        return self._passed(call) if training else self._same(call)

    def _moved(self, call: Call) -> Any:
        carriers = self._carriers(call)
        if call.name in BESIDE:
            given = [v for v in tree_flatten((call.args, call.kwargs))[0] if isinstance(v, Tensor)]
            if len(given) > len(carriers):  # constants among them
                return self._partly(call)
        return self._inherited(call.run(), carriers)

    def _inherited(self, made: Any, carriers: Sequence[Tensor]) -> Any:
        kept = {name: all(self._note(c, name) for c in carriers) for name in ("raw", "gate")}
        for value in tree_flatten(made)[0]:
            if isinstance(value, Tensor) and value.requires_grad:
                self._know(value, **kept)
        return made

    def _partly(self, call: Call) -> Any:
        """Numbers moved by the operation's own gradient; what falls to constants is counted."""
        carriers = self._carriers(call)

        def back(relevance: Tensor) -> Sequence[Tensor]:
            _, slopes = self._sloped(call, carriers, relevance)
            self._to_constants(relevance, slopes)
            return slopes

        return self._inherited(carried(call.value, back, *carriers), carriers)

    def _sloped(
        self,
        call: Call,
        carriers: Sequence[Tensor],
        weights: Tensor | Callable[[Tensor], Tensor],
        part: int = 0,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The operation run once more, and its gradients: its result, and J^T weights for each carrier."""
        leaves = {id(carrier): carrier.detach().requires_grad_() for carrier in carriers}
        args, kwargs = tree_map(lambda value: leaves.get(id(value), value), (call.args, call.kwargs))
        with torch.enable_grad():
            made: Tensor = tree_flatten(replace(call, args=args, kwargs=kwargs).run())[0][part]
        weights = weights(made.detach()) if callable(weights) else weights
        given = list(leaves.values())
        slopes = torch.autograd.grad(made, given, weights, allow_unused=True)
        return made.detach(), tuple(
            torch.zeros_like(leaf) if slope is None else slope
            for slope, leaf in zip(slopes, given, strict=True)
        )

    def _passed(self, call: Call) -> Any:
        (x,) = leading(call, "input")
        if not self.carries(x) or len(self._carriers(call)) > 1:
            return self.other(call)
        if call.name == "softmax" and self.composite.choice("attention") == "all":
            return self._softmax(call, x)
        affine = self._note(x, "affine") if call.name == "relu" else None
        made = whole(call, x)
        return self._know(
            made,
            gate=call.name in GATES or self._note(x, "gate"),
            raw=self._note(x, "raw"),
            affine=affine and replace(affine, rectified=True),
            kept=affine and self._note(x, "kept"),
        )

    def _sized(self, call: Call) -> Any:
        (x,) = leading(call, "input")
        if not self.carries(x):
            return self.other(call)

        def back(relevance: Tensor) -> Sequence[Tensor]:
            went = [self._first_order(call, [x], relevance)[0] / SIZES[call.name]]
            self._absorb(relevance, went)
            return went

        return self._know(carried(call.value, back, x), gate=True)

    def _spread(self, call: Call) -> Any:
        with self:
            x, options = call.get(0, "input"), {k: v for k, v in call.kwargs.items() if k != "input"}
            spread = getattr(torch, call.name.removesuffix("_mean"))(x, *call.args[1:], **options)
            dim = call.get(1, "dim")
            return spread, x.mean() if dim is None else x.mean(dim, options.get("keepdim", False))

    def _softmax(self, call: Call, x: Tensor) -> Tensor:
        """AttnLRP's: R_i = x_i (R_i - s_i sum R), the first-order expansion. Achtibat 2024, eq. 11."""
        s = call.value()
        dim = call.get(1, "dim", -1)
        a = x.detach()

        def back(relevance: Tensor) -> tuple[Tensor]:
            on = relevance - s * relevance.sum(dim, keepdim=True)
            passed = torch.where(s == 0, 0, a * on)
            self._to_constants(relevance, [passed])
            return (passed,)

        return self._know(carried(lambda: s.clone(), back, x), gate=True)

    def other(self, call: Call) -> Any:
        """An operation without a rule: told, or taken by its first-order expansion R_i = x_i J^T (R / y)."""
        made = call.run()
        parts, form = tree_flatten(made)
        flowing = [i for i, part in enumerate(parts) if isinstance(part, Tensor) and part.requires_grad]
        if not flowing:
            return made
        self.unknown.setdefault(call.name, call.where)
        carriers = self._carriers(call)
        if any(parts[i].is_complex() for i in flowing):
            if self.composite.choice("unknown") == "gradient":
                raise ModelError(
                    f"The model computes with complex numbers ({call.name}), which carry no relevance: use a "
                    "gradient method."
                )
            return made

        def back(relevance: Tensor, part: int) -> Sequence[Tensor]:
            went = self._first_order(call, carriers, relevance, part)
            self._to_constants(relevance, went)
            return went

        for i in flowing:
            parts[i] = carried(parts[i].detach, partial(back, part=i), *carriers)
        return tree_unflatten(parts, form)

    def _first_order(
        self, call: Call, carriers: Sequence[Tensor], relevance: Tensor, part: int = 0
    ) -> list[Tensor]:
        """x J^T (R / y) for each carrier x of y, or of one part of what the operation gives."""
        _, slopes = self._sloped(call, carriers, lambda y: relevance / stabilised(y, STABILISER), part)
        return [carrier.detach() * slope for carrier, slope in zip(carriers, slopes, strict=True)]

    # Linear operations

    def _weighted(
        self, call: Call, x: Tensor, weight: Tensor, bias: Tensor | None,
        apply: Apply, family: str, channels: int | None = None, groups: int | None = None,
    ) -> Tensor:  # fmt: skip
        """A linear operation with weights: `groups` where a batch norm before it can be folded into them."""
        number, where, first = self.linears, call.where, bool(self._note(x, "raw"))
        self.linears += 1
        self.matched |= set(self.composite.matching(where))

        def rule() -> Rule:
            last = number == self.linears - 1
            chosen = self.composite.rule(where, family, first=first, last=last)
            boxed = self._boxed(chosen, first)
            if self.composite.choice("bias") == "counted":
                return boxed
            return lambda on, relevance: boxed(replace(on, bias=None), relevance)

        rule()  # what is wrong with it is said before anything is run back
        a, affine = x.detach(), self._note(x, "affine")
        read = partial(Operands, apply, a, weight, bias)
        if affine is not None and groups is not None:
            plain = partial(Operands, apply, a[:0], weight, bias)
            carrier = x if self._note(x, "kept") else affine.source
            if carrier is x:  # relevance is asked for in between
                affine.merged.append(where)
            linear = Linear(carrier, lambda: affine.into(plain(), groups), rule, channels)
        else:
            linear = Linear(x, read, rule, channels)
        return self._know(self._shared(call.value, linear), linear=linear)

    def _boxed(self, rule: Callable[..., Shared], first: bool) -> Rule:
        if rule is not z_box:
            return rule
        if not first:
            raise InvalidValue(
                "The rule z-box is for operations that read the input itself: use it as first=z-box."
            )
        if self.box is None:
            raise InvalidValue(
                "The rule z-box needs the lowest and highest inputs: pass low= and high=, in the model's own "
                "(normalised) input space."
            )
        return partial(z_box, low=self.box[0], high=self.box[1])

    def _convolved(self, call: Call) -> Any:
        x, weight, bias = leading(call, "input", "weight", "bias")
        if not self.carries(x) or self.carries(weight):
            return self._bilinear(call)
        rest = {k: v for k, v in call.kwargs.items() if k not in ("input", "weight", "bias")}
        apply = partial(_applied, call.function, call.args[3:], rest)
        bias = None if bias is None else bias.view(-1, *[1] * (weight.ndim - 2))
        plain = call.name in CONVOLUTIONS and x.ndim == weight.ndim
        groups = call.get(6, "groups", 1) if plain else None
        return self._weighted(call, x, weight, bias, apply, "conv", 1 if plain else None, groups)

    def _linear(self, call: Call) -> Any:
        x, weight, bias = leading(call, "input", "weight", "bias")
        if not self.carries(x) or self.carries(weight):
            return self._bilinear(call)
        two = 1 if x.ndim == 2 else None
        return self._weighted(call, x, weight, bias, torch.nn.functional.linear, "dense", two, two)

    def _matmul(self, call: Call) -> Any:
        x, y = call.get(0, "input"), call.get(1, "other", call.kwargs.get("mat2"))
        if self.carries(x) and self.carries(y):
            return self._bilinear(call)
        if self.carries(x):
            return self._weighted(call, x, y, None, torch.matmul, "dense")
        return self._weighted(call, y, x, None, lambda a, weight: weight @ a, "dense")

    def _rmatmul(self, call: Call) -> Any:
        return self._matmul(replace(call, name="matmul", args=call.args[::-1], function=torch.matmul))

    def _addmm(self, call: Call) -> Any:
        bias, x, y = leading(call, "input", "mat1", "mat2")
        with self:
            alpha, beta = call.kwargs.get("alpha", 1), call.kwargs.get("beta", 1)
            product = torch.matmul(x, y)
            product = product if alpha == 1 else product * alpha  # the bias stays next to its weights
            return product + (bias if beta == 1 else bias * beta)

    def _addcmul(self, call: Call) -> Any:
        x, y, z = leading(call, "input", "tensor1", "tensor2")
        with self:
            return torch.add(x, y * z, alpha=call.kwargs.get("value", 1))

    def _einsum(self, call: Call) -> Any:
        operands = call.args[1] if isinstance(call.args[1], (list, tuple)) else call.args[1:]
        carriers = [i for i, operand in enumerate(operands) if self.carries(operand)]
        if len(operands) != 2 or len(carriers) != 1:
            return self._bilinear(call)
        at = carriers[0]

        def apply(a: Tensor, weight: Tensor) -> Tensor:
            return torch.einsum(call.args[0], *((a, weight) if at == 0 else (weight, a)))

        return self._weighted(call, operands[at], operands[1 - at], None, apply, "dense")

    def _bilinear(self, call: Call) -> Any:
        """A product of two that carry: of a gate and a signal the signal answers, else both by half."""
        carriers = self._carriers(call)
        if len(carriers) != 2:
            return self.other(call)
        signals = [c for c in carriers if not self._note(c, "gate")]
        whole = self.composite.choice("attention") == "all"
        answering = carriers if whole or not signals else signals

        def back(relevance: Tensor) -> Sequence[Tensor]:
            went = [part / len(answering) for part in self._first_order(call, answering, relevance)]
            self._absorb(relevance, went)
            return went

        return carried(call.value, back, *answering)

    def _averaged(self, call: Call) -> Any:
        (x,) = leading(call, "input")
        if not self.carries(x) or len(self._carriers(call)) > 1:
            return self.other(call)
        nearest = call.name in ("interpolate", "upsample") and call.get(3, "mode", "nearest").startswith(
            "nearest"
        )
        if nearest:
            return self._partly(call)
        if x.numel() == 0:
            return self.other(call)
        raw = self._note(x, "raw")
        evenly = torch.ones_like(x) if raw else None  # of the picture itself, whatever the pixels' values
        rest = {k: v for k, v in call.kwargs.items() if k != "input"}
        made = self._proportional(call.value, x, lambda a: call.function(a, *call.args[1:], **rest), a=evenly)
        return self._know(made, gate=self._note(x, "gate"), raw=raw)

    # Norms

    def _batch_norm(self, call: Call) -> Tensor:
        x, mean, var, weight, bias, training = leading(
            call, "input", "running_mean", "running_var", "weight", "bias", "training"
        )
        eps = call.get(7, "eps", 1e-5)
        if training or mean is None or var is None:  # by the batch's own statistics, taken as they are
            dims = [dim for dim in range(x.ndim) if dim != 1]
            var, mean = torch.var_mean(x.detach(), dims, correction=0)
        scale = (var + eps).rsqrt() if weight is None else weight * (var + eps).rsqrt()
        shift = -mean * scale if bias is None else bias - mean * scale
        linear: Linear | None = self._note(x, "linear")
        if linear is not None and linear.channels == 1 and x.ndim > 1:
            return self._folded(call, x, linear, scale, shift)
        shape = (1, -1) + (1,) * (x.ndim - 2)
        affine = Affine(x, scale, shift)
        if self._note(x, "raw"):
            made = carried(call.value, lambda relevance: (relevance,), x)
        else:
            scales = scale.view(shape)
            shifts, rule = shift.view(shape), affine.rule
            made = self._proportional(call.value, x, lambda a: a * scales, shifts, rule=rule)
        return self._know(made, affine=affine, raw=self._note(x, "raw"))

    def _folded(self, call: Call, x: Tensor, linear: Linear, scale: Tensor, shift: Tensor) -> Tensor:
        """A batch norm behind a linear operation: the two are one, of scaled weights and shifted biases."""

        before, rows = linear.read, (-1,) + (1,) * (x.ndim - 2)  # neither linear nor x, which would hold read

        def read() -> Operands:
            on: Operands = before()
            bias = shift.view(rows) if on.bias is None else on.bias * scale.view(rows) + shift.view(rows)
            return replace(on, weight=on.weight * scale.view(-1, *[1] * (on.weight.ndim - 1)), bias=bias)

        return self._merged(call, x, linear, read)

    def _layer_norm(self, call: Call) -> Tensor:
        x, shape, weight, bias = leading(call, "input", "normalized_shape", "weight", "bias")
        dims = tuple(range(-len(shape), 0))
        return self._normed(call, x, dims, weight, bias, call.get(4, "eps", 1e-5))

    def _rms_norm(self, call: Call) -> Tensor:
        x, shape, weight = leading(call, "input", "normalized_shape", "weight")
        dims = tuple(range(-len(shape), 0))
        eps = call.get(3, "eps")
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        scale = (x.detach().square().mean(dims, keepdim=True) + eps).rsqrt()
        scale = scale if weight is None else scale * weight
        return self._proportional(call.value, x, lambda a: a * scale)

    def _group_norm(self, call: Call) -> Tensor:
        x, groups, weight, bias = leading(call, "input", "num_groups", "weight", "bias")
        return self._by_groups(call, x, groups, weight, bias, call.get(4, "eps", 1e-5))

    def _instance_norm(self, call: Call) -> Any:
        x, weight, bias = call.get(0, "input"), call.get(3, "weight"), call.get(4, "bias")
        if not call.get(5, "use_input_stats", True):
            args = (x, call.get(1, "running_mean"), call.get(2, "running_var"), weight, bias, False, 0.0)
            return self._batch_norm(replace(call, args=(*args, call.get(7, "eps", 1e-5)), kwargs={},
                                            function=torch.nn.functional.batch_norm))  # fmt: skip
        return self._by_groups(call, x, x.shape[1], weight, bias, call.get(7, "eps", 1e-5))

    def _by_groups(
        self, call: Call, x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        shape = (-1,) + (1,) * (x.ndim - 2)
        weight = None if weight is None else weight.view(shape)
        bias = None if bias is None else bias.view(shape)
        dims = tuple(range(2, x.ndim + 1))
        return self._normed(call, x, dims, weight, bias, eps, groups)

    def _normed(
        self, call: Call, x: Tensor, dims: tuple[int, ...], weight: Tensor | None, bias: Tensor | None,
        eps: float, groups: int | None = None,
    ) -> Tensor:  # fmt: skip
        """weight (x - mean x) / sigma + bias, linear in x as long as sigma is taken as it is."""
        if self._note(x, "raw"):
            return self._know(whole(call, x), raw=True)

        def grouped(a: Tensor) -> Tensor:
            return a if groups is None else a.unflatten(1, (groups, -1))

        sigma = (grouped(x.detach()).var(dims, correction=0, keepdim=True) + eps).sqrt()

        def apply(a: Tensor) -> Tensor:
            parts = grouped(a)
            normed = (parts - parts.mean(dims, keepdim=True)) / sigma
            normed = normed if groups is None else normed.flatten(1, 2)
            return normed if weight is None else normed * weight

        return self._proportional(call.value, x, apply, bias)

    # Sums and products

    def _add(self, call: Call) -> Tensor:
        x, y = call.get(0, "input"), call.get(1, "other")
        return self._summed(call, x, y, 1.0, float(call.get(2, "alpha", 1)))

    def _sub(self, call: Call) -> Tensor:
        x, y = call.get(0, "input"), call.get(1, "other")
        return self._summed(call, x, y, 1.0, -float(call.get(2, "alpha", 1)))

    def _rsub(self, call: Call) -> Tensor:
        x, y = call.get(0, "input"), call.get(1, "other")
        return self._summed(call, x, y, -float(call.get(2, "alpha", 1)), 1.0)

    def _summed(self, call: Call, x: Any, y: Any, of_x: float, of_y: float) -> Tensor:
        """of_x x + of_y y: each answers for its part."""
        if not self.carries(x):
            x, y, of_x, of_y = y, x, of_y, of_x
        raw, gate = self._note(x, "raw"), self._note(x, "gate")
        if not self.carries(y):
            return self._shifted(call, x, of_x, of_y * torch.as_tensor(y, dtype=x.dtype, device=x.device))
        if raw and self._note(y, "raw") and x.numel() != y.numel():  # the picture, less its own mean
            return self._know(whole(call, max(x, y, key=Tensor.numel)), raw=True)
        a, b = x.detach(), y.detach()

        def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
            quotient = relevance / stabilised(of_x * a + of_y * b, STABILISER)
            went = (quotient * (of_x * a)).sum_to_size(a.shape), (quotient * (of_y * b)).sum_to_size(b.shape)
            self._absorb(relevance, went)
            return went

        made = carried(call.value, back, x, y)
        return self._know(made, raw=raw and self._note(y, "raw"), gate=gate and self._note(y, "gate"))

    def _shifted(self, call: Call, x: Tensor, sign: float, constant: Tensor) -> Tensor:
        """A constant added: a bias, of the operation before it where there is one with weights."""
        raw, gate, linear = (self._note(x, name) for name in ("raw", "gate", "linear"))
        size = torch.broadcast_shapes(x.shape, constant.shape)
        # What only shifts the picture, before the first layer, is no layer; sum() begins with zero.
        if raw or (constant.ndim == 0 and constant == 0):
            return self._know(whole(call, x), raw=raw, gate=gate)
        if linear is not None and sign == 1 and size == x.shape:
            before = linear.read

            def read() -> Operands:
                on: Operands = before()
                return replace(on, bias=constant if on.bias is None else on.bias + constant)

            return self._merged(call, x, linear, read)
        made = self._proportional(call.value, x, lambda a: (sign * a).expand(size), constant)
        return self._know(made, gate=gate)

    def _mul(self, call: Call) -> Tensor:
        x, y = call.get(0, "input"), call.get(1, "other")
        if not self.carries(x):
            x, y = y, x
        if not self.carries(y):
            return self._scaled(call, x)
        gated = [bool(self._note(v, "gate")) or v.numel() < max(x.numel(), y.numel()) for v in (x, y)]
        if gated[0] == gated[1] or self.composite.choice("product") == "half":
            answering = [x, y]
        else:
            answering = [y if gated[0] else x]

        sizes = [v.shape for v in answering]

        def back(relevance: Tensor) -> list[Tensor]:
            return [(relevance / len(sizes)).sum_to_size(size) for size in sizes]

        made = carried(call.value, back, *answering)
        return self._know(made, gate=all(self._note(v, "gate") for v in (x, y)))

    def _scaled(self, call: Call, x: Tensor) -> Tensor:
        """A constant factor: x answers for all of it."""
        return self._know(whole(call, x), raw=self._note(x, "raw"), gate=self._note(x, "gate"))

    def _div(self, call: Call) -> Tensor:
        x = call.get(0, "input")
        if not self.carries(x):
            return self._know(whole(call, call.get(1, "other")), gate=True)
        return self._scaled(call, x)  # what it is divided by is its scale

    def _rdiv(self, call: Call) -> Tensor:
        return self._know(whole(call, call.args[0]), gate=True)

    def _glu(self, call: Call) -> Any:
        with self:
            signal, gate = call.get(0, "input").chunk(2, call.get(1, "dim", -1))
            return signal * gate.sigmoid()


def _applied(
    function: Callable[..., Tensor], rest: Sequence[Any], options: dict[str, Any], a: Tensor, weight: Tensor
) -> Tensor:
    """A convolution without its bias."""
    return function(a, weight, None, *rest, **options)
