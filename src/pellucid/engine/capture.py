"""Activations and gradients at layers: one forward and one backward for all of them.

A hook at the layer keeps the layer's output and passes a copy on, so that an in-place operation
behind the layer cannot overwrite what was kept. Before the first kept layer the model runs without a
graph: no gradient is asked for there, and frozen parameters or a caller's `no_grad` make no difference.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.engine.lean import Lean
from pellucid.engine.operations import Operations
from pellucid.engine.run import Charge, Engine
from pellucid.errors import ModelError
from pellucid.layers import Layout, first_tensor, layout_of, no_grid, prefix_tokens, with_first_tensor


@dataclass(eq=False)
class Tap:
    """What one layer gave: `value` is in the graph; the model went on with `passed`, a copy of it.

    `calls` tells which of the layer's calls in this pass it was, from 1 on.
    """

    name: str
    layout: Layout
    value: Tensor
    passed: Tensor
    calls: int

    def __post_init__(self) -> None:
        # Asked later, under replaced operations, a tensor answers as what became of it.
        self._address = self.passed.data_ptr()

    def holds(self, output: Tensor) -> bool:
        """Whether an output met later is what was passed on, untouched: itself, or in another shape."""
        if output is self.passed:
            return output._version == 0
        return output.data_ptr() == self._address

    @property
    def maps(self) -> Float[Tensor, "N K h w"]:
        """The activations as feature maps, outside the graph."""
        return self.layout.maps(self.value.detach())


@dataclass(eq=False)
class Capture:
    """One forward pass: its raw output, what was kept of it, and the input, if its gradient was wanted.

    `taps` maps each name that was asked for ("auto" too) to what that layer gave; `operations` is what stood
    for the model's own, if anything did.
    """

    raw: Any
    taps: dict[str, Tap]
    leaf: Float[Tensor, "N C H W"] | None
    charge: Charge
    operations: Operations | None = None

    def gradients(
        self, outputs: Tensor, start: Tensor | None = None, *, of_input: bool = True
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """d(outputs)/d(each tap), as feature maps, and d(outputs)/d(input): one backward for all of them.

        `start` is what goes into the way back at each output, ones by default; without `of_input` it ends at
        the first tap. A layer on which the outputs do not depend has the gradient zero; such an input has
        None.
        """
        further = [self.leaf] if of_input and self.leaf is not None else []
        leaves = [tap.value for tap in self.taps.values()] + further
        start = torch.ones_like(outputs) if start is None else start
        grads = torch.autograd.grad(outputs, leaves, start, retain_graph=True, allow_unused=True)
        filled = [torch.zeros_like(x) if g is None else g for g, x in zip(grads, leaves, strict=True)]
        at_taps = {
            name: tap.layout.maps(grad) for (name, tap), grad in zip(self.taps.items(), filled, strict=False)
        }
        return at_taps, grads[-1] if further else None


def capture(
    engine: Engine,
    inputs: Float[Tensor, "N C H W"],
    layers: Sequence[str] = (),
    whole_graph: bool = False,
    *,
    channels_last: bool = False,
    replaced: Callable[[], Operations] | None = None,
) -> Capture:
    """Runs the model once and keeps the outputs of `layers`, by name, "auto" among them.

    `whole_graph` builds the graph from the input on, so that the input's gradient can be had too;
    `channels_last` lets the channels lie last in memory, where the model takes that; `replaced` makes what
    stands for the model's operations, on the whole graph.

    Raises:
        ModelError: a layer that was not reached or holds no grid; no layer found for "auto"; a model
            that is no nn.Module; an operation that cannot be replaced.
    """

    def run() -> Capture:
        operations = replaced() if replaced else None
        return _captured(engine, inputs, layers, whole_graph, channels_last, operations)

    return engine.either_way(run)


def _captured(
    engine: Engine,
    inputs: Float[Tensor, "N C H W"],
    layers: Sequence[str],
    whole_graph: bool,
    channels_last: bool,
    operations: Operations | None,
) -> Capture:
    auto = engine.auto_layers.get(inputs.shape[1:])
    keeper = Keeper(inputs, layers, auto, whole_graph, operations)
    leaf = inputs.detach().requires_grad_() if whole_graph else inputs.detach()
    own = engine.laid(leaf.clone(), channels_last)  # the model may normalise its input in place
    with (
        engine.making(forward=len(inputs)) as charge,
        Lean() if operations is None else operations.over(engine.running, own),
        keeper.watching(engine),  # whose hooks see what operations in place have made of an output
        torch.set_grad_enabled(whole_graph or keeper.finding),
    ):
        raw = engine.forward(own)
        raw = raw if operations is None else operations.current(raw)
    taps = keeper.taken(layers)
    if "auto" in taps:
        engine.auto_layers[inputs.shape[1:]] = taps["auto"].name
    return Capture(raw, taps, leaf if whole_graph else None, charge, operations)


class Keeper:
    """The hooks of one forward pass, and what they kept.

    To find the layer for "auto" every module is watched, and the last feature maps win: those of the
    last module whose output holds a grid and is not pooled. If they hold prefix tokens, as a ViT's, the
    class token is what the head reads and the patch tokens of the last block get no gradient; then the
    maps that went into the last attention win.
    """

    def __init__(
        self,
        inputs: Float[Tensor, "N C H W"],
        layers: Sequence[str],
        auto: str | None,
        whole_graph: bool,
        operations: Operations | None = None,
    ) -> None:
        self.inputs, self.whole_graph, self.operations = inputs.shape, whole_graph, operations
        self.finding = "auto" in layers and auto is None
        self.auto = auto
        self.names = {auto if name == "auto" else name for name in layers} - {None}
        self.kept: dict[str, Tap] = {}
        self.shapes: dict[str, torch.Size] = {}
        self.calls: Counter[str] = Counter()
        self.last: Tap | None = None
        self.before_attention: Tap | None = None
        self.attending = 0
        self.pooled: Tensor | None = None
        self.prefix: int | None = None

    @contextmanager
    def watching(self, engine: Engine) -> Iterator[None]:
        """Hooks in place for this block, and gone after it whatever happens."""
        if not self.names and not self.finding:
            yield
            return
        module = engine.network
        self.prefix = prefix_tokens(module)
        with ExitStack() as hooks:
            for name, child in module.named_modules():
                if name in self.names or (self.finding and name):
                    hooks.callback(child.register_forward_pre_hook(self.counting(name)).remove)
                if self.finding and name:
                    if is_attention(child):
                        hooks.callback(child.register_forward_pre_hook(self.enter_attention).remove)
                    hooks.callback(child.register_forward_hook(self.watcher(name, child)).remove)
                if name in self.names:
                    hooks.callback(child.register_forward_hook(self.keeper(name)).remove)
            yield

    def counting(self, name: str) -> Any:
        """The hook that knows which call of a module this is."""

        def count(module: nn.Module, args: Any) -> None:
            self.calls[name] += 1

        return count

    def tapped(self, name: str, layout: Layout, output: Tensor) -> Tap:
        """Keeps an output, and tells whoever replaces operations that the way back shall lead through it."""
        tap = make_tap(name, layout, output, self.calls[name])
        if self.operations is not None and self.operations.carries(tap.passed):
            self.operations.tags[tap.passed].notes["kept"] = True
        return tap

    def keeper(self, name: str) -> Any:
        """The hook of a layer that was asked for; of several calls the last one counts."""

        def keep(module: nn.Module, args: Any, output: Any) -> Any:
            tensor = first_tensor(output)
            if tensor is None:
                return output
            self.shapes[name] = tensor.shape
            layout = layout_of(tensor.shape, self.inputs, self.prefix)
            if layout is None:
                return output
            self.kept[name] = tap = self.tapped(name, layout, tensor)
            torch.set_grad_enabled(True)  # the graph begins here; the caller's mode comes back at the end
            return with_first_tensor(output, tap.passed)

        return keep

    def enter_attention(self, module: nn.Module, args: Any) -> None:
        """Remembers what goes into an attention; what happens inside holds no feature maps."""
        if not self.attending:
            self.before_attention = self.last
        self.attending += 1

    def watcher(self, name: str, module: nn.Module) -> Any:
        """The hook of a module that may turn out to be the last with feature maps."""
        attention, pooling = is_attention(module), "Pool" in type(module).__name__

        def watch(module: nn.Module, args: Any, output: Any) -> Any:
            self.attending -= attention
            tensor = first_tensor(output)
            if self.attending or tensor is None or tensor is self.pooled:
                return output
            if pooling:
                self.pooled = tensor
                return output
            if self.last is not None and self.last.holds(tensor):
                if output is self.last.passed and self.last.name.startswith(name + "."):
                    # The enclosing module runs once where its parts may be reused; but not one that gives
                    # more besides, such as features already pooled, which bypass the tap.
                    self.last.name, self.last.calls = name, self.calls[name]
                return output
            layout = layout_of(tensor.shape, self.inputs, self.prefix)
            if layout is None:
                return output
            # Unless a gradient further up is wanted (the input's, another layer's, that of the layer before
            # the attention), only the last is read: each begins the graph anew and lets go what was before.
            attached = self.whole_graph or self.names or layout.prefix
            kept = tensor if attached else tensor.detach()
            self.last = self.tapped(name, layout, kept)
            return with_first_tensor(output, self.last.passed)

        return watch

    def taken(self, layers: Sequence[str]) -> dict[str, Tap]:
        """What was kept, by the names that were asked for."""
        taken = {}
        for name in layers:
            if name == "auto":
                tap = self.found() if self.finding else self.kept.get(self.auto or "")
            else:
                tap = self.kept.get(name)
            if tap is None:
                raise self.missing(name)
            taken[name] = tap
        return taken

    def found(self) -> Tap | None:
        """The layer of "auto"."""
        if self.last is not None and self.last.layout.prefix and self.before_attention is not None:
            return self.before_attention
        return self.last

    def missing(self, name: str) -> ModelError:
        """Why nothing was kept under a name."""
        if name in self.shapes:
            return no_grid(name, self.shapes[name], self.inputs)
        if name == "auto":
            return ModelError(
                "No layer of this model gives feature maps (N, K, h, w), (N, h, w, K) or (N, tokens, K) "
                "with a grid of the input's aspect ratio: name one with layer=, or use a gradient method."
            )
        return ModelError(f"The model does not run its layer {name!r} on this input: choose another layer.")


def make_tap(name: str, layout: Layout, output: Tensor, calls: int) -> Tap:
    """Keeps an output in the graph: as it is if a gradient reaches it already, else as a new leaf."""
    with torch.enable_grad():
        value = output if output.requires_grad else output.detach().requires_grad_()
        return Tap(name, layout, value, value.clone(), calls)


def is_attention(module: nn.Module) -> bool:
    """Whether a module mixes tokens: by its class's name, as libraries have no common base for it."""
    name = type(module).__name__.lower()
    return "attention" in name or "attn" in name


def look(
    engine: Engine, inputs: Float[Tensor, "N C H W"], see: Callable[[str, nn.Module, Tensor], None]
) -> None:
    """One more forward pass, in which `see` is shown every layer's name, module and output as it finishes."""

    def showing(name: str) -> Callable[..., None]:
        def show(module: nn.Module, args: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is not None:
                see(name, module, tensor)

        return show

    with ExitStack() as hooks:
        if engine.running.is_module:
            for name, child in engine.network.named_modules():
                if name:
                    hooks.callback(child.register_forward_hook(showing(name)).remove)
        with engine.making(forward=len(inputs)), torch.no_grad():
            engine.forward(inputs.clone())


def first_nonfinite(engine: Engine, inputs: Float[Tensor, "N C H W"]) -> str | None:
    """The first layer that gives a NaN or an infinity on these inputs: one more forward pass."""
    seen: list[str] = []

    def see(name: str, module: nn.Module, output: Tensor) -> None:
        if output.is_floating_point() and not output.isfinite().all():
            seen.append(name)

    look(engine, inputs, see)
    return seen[0] if seen else None
