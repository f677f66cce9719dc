"""The head that CAM needs, found among the model's own layers and proven on the batch at hand.

What lies between a layer and the outputs need not be made of modules: DenseNet's ReLU is a function call. So
nothing is read off the code: forms are tried, and the one counts that gives the model's outputs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from pellucid.engine.rounding import COARSE, tolerance
from pellucid.errors import ModelError
from pellucid.probe import LayerEvidence

Elementwise = Callable[[Tensor], Tensor]
_NORMS = 4  # batch norms of the layer's width that are tried, the last ones of the model


@dataclass(frozen=True)
class Head:
    """How the outputs follow from a layer's maps.

    Attributes:
        weight: W of the Linear.
        maps: g(A), what the pool reads.
        class_maps: where an activation lies behind W and before the pool, the maps that are pooled.
        form: the formula in words.
    """

    weight: Float[Tensor, "classes K"]
    maps: Float[Tensor, "N K h w"]
    form: str
    class_maps: Float[Tensor, "N classes h w"] | None = None


def head_of(at: LayerEvidence) -> Head:
    """The head of the model behind a layer.

    The plain form, outputs = W mean(A) + b, is tried first. Then A is replaced by g(A), g an activation, a
    batch norm of the model, or the norm and then the activation; then the Linear may stand before the pool.

    Raises:
        ModelError: no form gives the outputs of this batch.
    """
    modules = list(at.probe.network.modules())
    activations = list(_activations(modules))
    linears = list(_linears(modules, at.A.shape[1], at.probe.outputs))
    # In half precision forms are told apart only by which one comes closest.
    exact = torch.finfo(at.probe.outputs.dtype).eps < COARSE
    # The plain form first, then form by form; within a form the one that comes closest.
    for forms in (
        _behind_the_pool([("A", at.A)], linears) if exact else (),
        _behind_the_pool(_applied(at.A, modules, activations), linears) if linears else (),
        _of_classes(at, modules, activations),
        _before_the_pool(at.A, activations, linears),
    ):
        near = [(off, head) for head, found, bias in forms if (off := _off(found, bias, at)) is not None]
        if near:
            return min(near, key=lambda one: one[0])[1]
    raise ModelError(
        "CAM needs a global average pool and one Linear behind its layer, with nothing but elementwise "
        f"activations and batch norms between them; behind {at.name} this model has something else. "
        "grad-cam generalises it to any head."
    )


Form = tuple[Head, Tensor, Tensor | float]
"""A head, the outputs that it would give, and their bias."""


def _off(found: Tensor, bias: Tensor | float, at: LayerEvidence) -> float | None:
    """How far a form is from the model's outputs; None where it is not theirs.

    Measured against what the outputs hold besides the bias, which any form has.
    """
    outputs = at.probe.outputs
    if found.shape != outputs.shape:
        return None
    eps = torch.finfo(outputs.dtype).eps
    off, held = (found - outputs).abs().max(), (outputs - bias).abs().max()
    return float(off) if off <= tolerance(outputs.dtype) * held + 2 * eps * outputs.abs().max() else None


def _behind_the_pool(
    inner: Iterable[tuple[str, Tensor]], linears: Sequence[tuple[Tensor, Tensor]]
) -> Iterator[Form]:
    """outputs = W mean(g(A)) + b."""
    for name, maps in inner:
        for W, bias in linears:
            for pool, pooled in _pooled(maps, bias):
                yield Head(W, maps, f"outputs = W {pool}({name}) + b"), pooled @ W.T + bias, bias


def _of_classes(
    at: LayerEvidence, modules: list[nn.Module], activations: list[tuple[str, Elementwise]]
) -> Iterator[Form]:
    """outputs = mean(g(A)): the layer holds the classes' own maps."""
    outputs = at.probe.outputs
    if at.A.shape[1] != outputs.shape[1]:
        return
    one = torch.eye(at.A.shape[1], dtype=outputs.dtype, device=outputs.device)
    for name, maps in _applied(at.A, modules, activations):
        for pool, pooled in _pooled(maps, outputs):
            yield Head(one, maps, f"outputs = {pool}({name})"), pooled, 0.0


def _before_the_pool(
    A: Tensor, activations: list[tuple[str, Elementwise]], linears: Sequence[tuple[Tensor, Tensor]]
) -> Iterator[Form]:
    """outputs = mean(h(W g(A) + b)), with an activation h."""
    for W, bias in linears:
        for inner, maps in (("A", A), *((f"{name}(A)", activation(A)) for name, activation in activations)):
            scores = torch.einsum("ck,nkhw->nchw", W, maps.to(W)) + bias[:, None, None]
            for name, activation in activations:
                mapped = activation(scores)
                for pool, pooled in _pooled(mapped, bias):
                    yield Head(W, maps, f"outputs = {pool}({name}(W {inner} + b))", mapped), pooled, 0.0


def _pooled(maps: Tensor, like: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The global pools that CAM's formula holds for."""
    mean = maps.mean((2, 3)).to(like)
    yield "mean", mean
    if maps.shape[2:].numel() > 1:
        yield "sum", mean * maps.shape[2:].numel()


def _linears(modules: list[nn.Module], channels: int, outputs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The weights and biases of the Linears that could be the head; half, where that is what ran."""
    for module in modules:
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue
        weight = module.weight.detach()
        if weight.flatten(1).shape != (outputs.shape[1], channels) or weight[0, 0].numel() != 1:
            continue
        W = weight.flatten(1).to(outputs)
        yield W, W.new_zeros(len(W)) if module.bias is None else module.bias.detach().to(outputs)


def _applied(
    A: Tensor, modules: list[nn.Module], activations: list[tuple[str, Elementwise]]
) -> Iterator[tuple[str, Tensor]]:
    """What the pool may read: A, and A under what acts on each value alone."""
    yield "A", A
    for name, activation in activations:
        yield f"{name}(A)", activation(A)
    norms = (m for m in reversed(modules) if isinstance(m, _BatchNorm) and m.num_features == A.shape[1])
    for norm in islice((m for m in norms if m.running_mean is not None), _NORMS):
        normed = _batch_norm(norm, A)
        yield "batch_norm(A)", normed
        for name, activation in activations:
            yield f"{name}(batch_norm(A))", activation(normed)


def _batch_norm(norm: _BatchNorm, A: Tensor) -> Tensor:
    """A batch norm by its running statistics, which is a factor and a shift of each channel."""
    tensors = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    mean, var, weight, bias = (None if t is None else t.detach().to(A) for t in tensors)
    result: Tensor = functional.batch_norm(A, mean, var, weight, bias, training=False, eps=norm.eps)
    return result


_ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.Softsign,
    nn.LogSigmoid,
    nn.Threshold,
)
_PARAMETERS = ("negative_slope", "alpha", "approximate", "beta", "threshold", "min_val", "max_val", "value")


def _activations(modules: list[nn.Module]) -> Iterator[tuple[str, Elementwise]]:
    """Activations: those that the model has as modules, then those that it may call as functions."""
    seen: set[tuple[object, ...]] = set()
    for module in modules:
        if type(module) in _ACTIVATIONS or isinstance(module, nn.PReLU):
            # One ReLU is like another; a learnt slope is its module's own.
            own = id(module) if isinstance(module, nn.PReLU) else None
            kind = (type(module), own, *(getattr(module, name, None) for name in _PARAMETERS))
            if kind not in seen:
                seen.add(kind)
                yield type(module).__name__, partial(_alone, module)
    names = ("relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish", "hardtanh")
    functions: list[Elementwise] = [getattr(functional, name) for name in (*names, "hardsigmoid", "softplus")]
    functions += [torch.sigmoid, torch.tanh, torch.abs, torch.square, torch.exp]
    for function in functions:
        yield function.__name__, function


def _alone(module: nn.Module, values: Tensor) -> Tensor:
    """A module's function, outside the graph, with nothing written over and no hook fired."""
    with torch.no_grad():
        if isinstance(module, nn.PReLU) and module.weight.numel() not in (1, values.shape[1]):
            return torch.full_like(values, torch.nan)
        result: Tensor = module.forward(values.clone())
    return result
