"""The same network written another way: batch norms folded, layers split, units permuted.

Every rewriting is made in a copy, from what a run of the network shows, and its outputs are compared with
those of the original before anyone may use it.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pellucid.engine.rounding import tolerance
from pellucid.engine.run import Engine
from pellucid.errors import ModelError
from pellucid.model import Model

Layer = nn.Conv2d | nn.Linear


@dataclass(frozen=True, eq=False)
class Trace:
    """What a run showed: plain layers in the order they ran, and which batch norm alone reads one's output.

    The two of such a pair ran once each.
    """

    layers: tuple[Layer, ...]
    norms: Mapping[Layer, nn.BatchNorm2d]


Rewriting = Callable[[nn.Module, Trace], int]
"""Rewrites a module in place and gives the number of layers that it changed."""


def rewrite(model: Model, inputs: Float[Tensor, "N C H W"], rewriting: Rewriting) -> Model:
    """A copy of the model whose module is written another way, checked to give the same outputs.

    Args:
        model: the original, which stays as it is.
        inputs: what the network is run on; it is compared on them and on noisy copies of them.
        rewriting: one of `REWRITINGS`.

    Raises:
        ModelError: the model cannot be copied, has nothing to rewrite, or gives other outputs afterwards.

    Cost:
        5 forward passes per input.
    """
    before = _outputs(model, inputs)
    other = duplicate(model)
    engine = Engine(other)
    with engine.session(0):
        seen = trace(engine, inputs)
    with torch.no_grad():
        if not rewriting(other.network, seen):
            raise ModelError("Nothing to re-write.")
    after = _outputs(other, inputs)
    for a, b in zip(before, after, strict=True):
        if not (a - b).abs().max() <= tolerance(a.dtype) * a.abs().max():
            raise ModelError("The re-written network gives other outputs, so it is not the same.")
    return other


def duplicate(model: Model) -> Model:
    """The model with a copy of its module.

    Raises:
        ModelError: there is no module, or it cannot be copied.
    """
    other, network = copy(model), model.network
    try:
        other.module = deepcopy(network)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(f"{model.name} cannot be copied, and so not be re-written: {error}") from error
    return other


def trace(engine: Engine, inputs: Float[Tensor, "N C H W"]) -> Trace:
    """Runs a network once and looks at which plain layers run, and which batch norms read their outputs."""
    given: dict[Layer, list[Tensor]] = {}
    read: dict[nn.BatchNorm2d, list[Tensor]] = {}
    readers = Readers()

    def see(runs: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        module: Any = own[runs]
        if isinstance(module, nn.BatchNorm2d):
            read.setdefault(module, []).append(inputs[0])
        else:
            given.setdefault(module, []).append(output)

    # What runs is a shadow; what is to be rewritten is the module itself.
    pairs = zip(engine.network.modules(), engine.model.network.modules(), strict=True)
    own = {runs: module for runs, module in pairs if _plain(module) or isinstance(module, nn.BatchNorm2d)}
    hooks = [runs.register_forward_hook(see) for runs in own]
    try:
        with torch.no_grad(), readers:
            engine.forward(inputs.clone())
    finally:
        for hook in hooks:
            hook.remove()
    norms: dict[Layer, nn.BatchNorm2d] = {
        layer: norm
        for layer, outputs in given.items()
        for norm, sources in read.items()
        if isinstance(layer, nn.Conv2d) and norm.running_mean is not None
        if len(outputs) == len(sources) == 1 and outputs[0] is sources[0] and readers.of(outputs[0]) == 1
    }
    return Trace(tuple(given), norms)


class Readers(TorchFunctionMode):
    """Counts the operations that read a tensor, asking for its shape and the like apart."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[int, tuple[Tensor, int]] = {}  # a tensor kept alive keeps its id

    def of(self, tensor: Tensor) -> int:
        """How many operations read it."""
        return self._seen.get(id(tensor), (tensor, 0))[1]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(True for _ in tensors(result)):
            for tensor in tensors([args, kwargs or {}]):
                self._seen[id(tensor)] = tensor, self.of(tensor) + 1
        return result


# --- the rewritings -----------------------------------------------------------------------------------------


def fold(module: nn.Module, seen: Trace) -> int:
    """Every batch norm becomes part of the convolution before it; what else it did is kept behind it.

    W' = W g / sqrt(v + e), b' = (b - m) g / sqrt(v + e) + beta.
    """
    for conv, norm in seen.norms.items():
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        scale = (variance + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
        shift = (0 if conv.bias is None else conv.bias) - mean
        conv.weight = nn.Parameter(conv.weight * scale[:, None, None, None])
        conv.bias = nn.Parameter(shift * scale + (0 if norm.bias is None else norm.bias))
        replace(module, norm, nn.Sequential(*norm.children()))  # timm's have an activation of their own
    return len(seen.norms)


def split(module: nn.Module, seen: Trace) -> int:
    """Every layer becomes two, each of which gives half of its channels."""
    layers = [m for m in seen.layers if len(m.weight) > 1 and (_groups(m) == 1 or _groups(m) % 2 == 0)]
    for layer in layers:
        replace(module, layer, Halves(layer))
    return len(layers)


def add(module: nn.Module, seen: Trace) -> int:
    """Every layer becomes the sum of two: W = W r + W (1 - r), r random between -0.5 and 1.5."""
    source = torch.Generator(device="cpu").manual_seed(0)
    for layer in seen.layers:
        share = (
            2 * torch.rand(layer.weight.shape, generator=source, dtype=torch.float32, device="cpu") - 0.5
        ).to(layer.weight)
        first = _like(layer, layer.weight * share, layer.bias)
        replace(module, layer, Sum(first, _like(layer, layer.weight * (1 - share), None)))
    return len(seen.layers)


def permute(module: nn.Module, seen: Trace) -> int:
    """Every layer's units stand in another order, up to behind the batch norm that follows, if one does."""
    source = torch.Generator(device="cpu").manual_seed(0)
    changed = 0
    for layer in seen.layers:
        groups, units = _groups(layer), len(layer.weight)
        within = torch.rand(
            groups, units // groups, generator=source, dtype=torch.float32, device="cpu"
        ).argsort(1)
        order = (
            (within + units // groups * torch.arange(groups, dtype=torch.long, device="cpu")[:, None])
            .flatten()
            .to(layer.weight.device)
        )
        norm = seen.norms.get(layer)
        for holder in filter(None, (layer, norm)):
            for name, values in [
                *holder.named_parameters(recurse=False),
                *holder.named_buffers(recurse=False),
            ]:
                if values.ndim:  # the number of batches seen is one number
                    permuted = values[order]
                    setattr(
                        holder, name, nn.Parameter(permuted) if isinstance(values, nn.Parameter) else permuted
                    )
        last = layer if norm is None else norm
        replace(module, last, nn.Sequential(last, Reordered(order.argsort(), _axis(layer))))
        changed += units > groups
    return changed


REWRITINGS: dict[str, Rewriting] = {
    "batch norms folded": fold,
    "layers split": split,
    "layers added up": add,
    "units permuted": permute,
}
"""Ways to write the same network, by name."""


class Halves(nn.Module):
    """A layer as two, each with half of the channels; where it has groups, each reads half of its input."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        half = len(layer.weight) // 2
        biases = (None, None) if layer.bias is None else (layer.bias[:half], layer.bias[half:])
        self.first = _like(layer, layer.weight[:half], biases[0], parts=2)
        self.second = _like(layer, layer.weight[half:], biases[1], parts=2)
        self.axis, self.grouped = _axis(layer), _groups(layer) > 1

    def forward(self, x: Tensor) -> Tensor:
        """Both halves of the output, side by side."""
        first, second = x.chunk(2, self.axis) if self.grouped else (x, x)
        return torch.cat([self.first(first), self.second(second)], self.axis)


class Sum(nn.Module):
    """The sum of two layers."""

    def __init__(self, first: Layer, second: Layer) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        """What the first gives plus what the second gives."""
        total: Tensor = self.first(x) + self.second(x)
        return total


class Reordered(nn.Module):
    """Its input's channels in another order."""

    def __init__(self, order: Int[Tensor, " K"], axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("order", order)

    def forward(self, x: Tensor) -> Tensor:
        """The channels in their order."""
        return x.index_select(self.axis, self.get_buffer("order"))


# --- what they share ----------------------------------------------------------------------------------------


def replace(module: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Puts `new` wherever `old` stands inside `module`."""
    for name, child in list(module.named_modules(remove_duplicate=False)):
        if child is old and name:
            parent, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(parent), attribute, new)


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors(item)


def _outputs(model: Model, inputs: Float[Tensor, "N C H W"]) -> list[Tensor]:
    """All that a model gives for the inputs, and for noisy copies of them."""
    noise = torch.randn(
        inputs.shape[1:],
        generator=torch.Generator(device="cpu").manual_seed(0),
        dtype=torch.float32,
        device="cpu",
    ).to(inputs)
    engine = Engine(model)
    with engine.session(0), torch.no_grad():
        raw = engine.forward(torch.cat([inputs, inputs + inputs.std() * noise]))
    return [tensor for tensor in tensors(raw) if tensor.is_floating_point()]


def _plain(module: nn.Module) -> bool:
    """Whether it is a layer that does nothing but its own product: subclasses may do anything else."""
    return type(module) in (nn.Conv2d, nn.Linear)


def _groups(layer: Layer) -> int:
    return layer.groups if isinstance(layer, nn.Conv2d) else 1


def _axis(layer: Layer) -> int:
    return 1 if isinstance(layer, nn.Conv2d) else -1


def _like(layer: Layer, weight: Tensor, bias: Tensor | None, parts: int = 1) -> Layer:
    """A layer as the given one, with other weights; of groups it has its part."""
    new: Layer
    if isinstance(layer, nn.Linear):
        new = nn.Linear(weight.shape[1], len(weight), bias is not None, device="meta")
    else:
        groups = max(1, layer.groups // parts)
        new = nn.Conv2d(
            weight.shape[1] * groups,
            len(weight),
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            groups,
            bias is not None,
            layer.padding_mode,
            device="meta",
        )
    new.weight = nn.Parameter(weight.clone())
    if bias is not None:
        new.bias = nn.Parameter(bias.clone())
    return new.train(layer.training)
