"""Activations and gradients at layers: one forward and one backward for all of them.

A hook at the layer keeps the layer's output and passes a copy on, so that an in-place operation
behind the layer cannot overwrite what was kept. Before the first kept layer the model runs without a
graph: no gradient is asked for there, and frozen parameters or a caller's `no_grad` make no difference.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.engine.billing import Charge
from pellucid.engine.cheap_backward import CheapBackward
from pellucid.engine.finding import (
    Event,
    Finder,
    Found,
    NoGrid,
    Unclear,
    forget,
    found_of,
    keep_found,
    without_batch,
)
from pellucid.engine.operations import Operations
from pellucid.engine.origins import Origins
from pellucid.engine.precision import HALF
from pellucid.engine.run import Engine
from pellucid.engine.scripted import guard_norms, scripted_parts
from pellucid.engine.scripted import of_this_thread as here
from pellucid.engine.taps import Tap, make_tap
from pellucid.engine.tracing import trace_changes
from pellucid.errors import ModelError, PellucidError
from pellucid.layers import first_tensor, with_first_tensor
from pellucid.structures import as_plain


@dataclass(eq=False)
class Capture:
    """One forward pass: its raw output, what was kept of it, and the input, if its gradient was wanted.

    `calls` has for each layer that was asked for ("auto" too) the keys in `taps` of the calls that are read,
    `found` what is known of it; `operations` is what stood for the model's own, if anything did.
    """

    raw: Any
    taps: dict[str, Tap]
    leaf: Float[Tensor, "N C H W"] | None
    charge: Charge
    operations: Operations | None = None
    calls: dict[str, tuple[str, ...]] = field(default_factory=dict)
    found: dict[str, Found] = field(default_factory=dict)

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
            key: tap.read_as.maps(grad) for (key, tap), grad in zip(self.taps.items(), filled, strict=False)
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
    numbers: Sequence[int] | None = None,
) -> Capture:
    """Runs the model once and keeps the outputs of `layers`, as `layer_names` writes them, "auto" among them.

    The first time that a layer is asked for it is found in that same pass; one pass more is run where it then
    proves another than the pass kept, and one over 17 changed pictures where its axes cannot be followed.
    `whole_graph` builds the graph from the input on, so that the input's gradient can be had too;
    `channels_last` lets the channels lie last in memory, where the model takes that; `replaced` makes what
    stands for the model's operations, on the whole graph; `numbers` tells which image each input was made of.

    Raises:
        ModelError: a layer that was not reached or holds no grid; no layer found for "auto"; a model
            that is no nn.Module; an operation that cannot be replaced.
        InvalidValue: a layout that does not hold.
    """

    def run() -> Capture:
        found = {layer: found_of(engine, inputs, layer) for layer in layers}
        known = {layer: one for layer, one in found.items() if one is not None}
        for _ in range(2):
            if len(known) < len(layers):
                known, taken, _ = _find(engine, inputs, layers, whole_graph, channels_last, replaced, numbers)
                if taken is not None:
                    return taken
            taken = _keep(engine, inputs, known, whole_graph, channels_last, replaced, numbers)
            if taken is not None:
                return taken
            forget(engine, inputs)  # the model has been changed
            known = {}
        raise ModelError("The model runs its layers in another way each time: explain it in parts.")

    if layers:
        return engine.with_layout_fallback(run)
    return engine.with_layout_fallback(
        lambda: _pass(engine, inputs, whole_graph, channels_last, replaced, numbers, None)
    )


Hooks = Callable[[Tensor, Operations | None], Any]


def _pass(
    engine: Engine,
    inputs: Float[Tensor, "N C H W"],
    whole_graph: bool,
    channels_last: bool,
    replaced: Callable[[], Operations] | None,
    numbers: Sequence[int] | None,
    hooks: Hooks | None,
    grad: bool = False,
) -> Capture:
    """One pass with hooks in place."""
    operations = replaced() if replaced else None
    if operations is not None and inputs.dtype in HALF:
        inputs = inputs.float()
    leaf = inputs.detach().requires_grad_() if whole_graph else inputs.detach()
    own = engine.to_memory_format(leaf.clone(), channels_last)  # the model may normalise its input in place
    origins = Origins() if engine.reading is None else None  # the first pass tells how its outputs came about
    with (
        engine.making(forward=len(inputs)) as charge,
        CheapBackward() if operations is None else operations.over(engine.running, own),
        nullcontext() if origins is None else origins,
        ExitStack() as stack,
        torch.set_grad_enabled(whole_graph or grad),
    ):
        if hooks is not None:  # they see what operations in place have made of an output
            stack.enter_context(hooks(own, operations))
        plain = as_plain if operations is None else operations.plain
        raw = engine.forward(own, numbers, plain=plain)
        raw = raw if operations is None else operations.result(raw)
        if operations is None and scripted_parts(engine.model.module):
            guard_norms(raw)
    if origins is not None:
        with suppress(PellucidError):  # a callable target may read what holds no classes
            engine.read(raw, len(inputs), origins.of)
    return Capture(raw, {}, leaf if whole_graph else None, charge, operations)


def _find(
    engine: Engine,
    inputs: Tensor,
    layers: Sequence[str],
    whole_graph: bool,
    channels_last: bool,
    replaced: Callable[[], Operations] | None,
    numbers: Sequence[int] | None,
) -> tuple[dict[str, Found], Capture | None, Finder]:
    """The layers as they are found in a pass that follows them; and the pass, if it kept what is needed."""
    finder: Finder | None = None
    network = engine.network

    def hooks(own: Tensor, operations: Operations | None) -> Any:
        nonlocal finder
        finder = Finder(own, layers, whole_graph, operations)
        return finder.watching(network)

    taken = _pass(engine, inputs, whole_graph, channels_last, replaced, numbers, hooks, grad="auto" in layers)
    assert finder is not None
    known: dict[str, Found] = {}
    whole = True
    for layer in layers:
        found, taps = _found(engine, inputs, layer, finder, taken.raw, numbers)
        keep_found(engine, inputs, layer, found)
        known[layer] = found
        whole = whole and bool(taps)
        _put(taken, layer, found, taps)
    return known, taken if whole else None, finder


def _found(
    engine: Engine,
    inputs: Tensor,
    layer: str,
    finder: Finder,
    raw: Any,
    numbers: Sequence[int] | None,
) -> tuple[Found, list[Tap]]:
    """A layer as a pass found it; what the pass could not follow is traced."""
    outputs = None
    with suppress(PellucidError):  # a callable target may read what holds no classes
        outputs = engine.read(raw, len(inputs)).outputs(raw, len(inputs))
    while True:
        try:
            return finder.result(layer, outputs)
        except Unclear as unclear:
            finder.resolve(trace_changes(engine, inputs, sorted(unclear.names), numbers), unclear.names)
        except NoGrid as none:
            auto = None if layer == "auto" else _auto(engine, inputs, numbers)
            raise _refused(none, auto, tuple(scripted_parts(engine.network))) from None


def _auto(engine: Engine, inputs: Tensor, numbers: Sequence[int] | None) -> Found | None:
    """What "auto" would be."""
    try:
        found = found_of(engine, inputs, "auto")
        return found or _find(engine, inputs, ("auto",), False, False, None, numbers)[0]["auto"]
    except ModelError:
        return None


def survey(engine: Engine, inputs: Float[Tensor, "N C H W"]) -> tuple[Found | None, list[Event]]:
    """What "auto" is, and what every module gives: one pass, and where it takes one, one of changed pictures.

    Raises:
        ModelError: the model fails, or is no nn.Module.
    """

    def run() -> tuple[Found | None, list[Event]]:
        finder: Finder | None = None

        def hooks(own: Tensor, operations: Operations | None) -> Any:
            nonlocal finder
            finder = Finder(own, ("auto",), False)
            return finder.watching(engine.network)

        taken = _pass(engine, inputs, False, False, None, None, hooks)
        if finder is None:
            return None, []
        unknown = {event.name for event in finder.events if event.unknown}
        if unknown:
            finder.resolve(trace_changes(engine, inputs, sorted(unknown)), unknown)
        try:
            found, _ = _found(engine, inputs, "auto", finder, taken.raw, None)
        except ModelError:
            return None, finder.events
        return found, finder.events

    return engine.with_layout_fallback(run)


def _put(taken: Capture, layer: str, found: Found, taps: Sequence[Tap]) -> None:
    """Keeps what the calls of a layer gave."""
    keys = (layer,) if len(taps) == 1 else tuple(f"{layer} (call {tap.call})" for tap in taps)
    for key, tap in zip(keys, taps, strict=True):
        tap.runs = found.runs
        taken.taps[key] = tap
    taken.calls[layer], taken.found[layer] = keys, found


def _keep(
    engine: Engine,
    inputs: Tensor,
    known: Mapping[str, Found],
    whole_graph: bool,
    channels_last: bool,
    replaced: Callable[[], Operations] | None,
    numbers: Sequence[int] | None,
) -> Capture | None:
    """A pass that keeps layers that are known; None where they do not run as they did."""
    keeper: Any = None

    def hooks(own: Tensor, operations: Operations | None) -> Any:
        nonlocal keeper
        keeper = Keeper(known, operations)
        return keeper.watching(engine.network)

    taken = _pass(engine, inputs, whole_graph, channels_last, replaced, numbers, hooks)
    for layer, found in known.items():
        reads = zip(found.calls, found.layouts, strict=True)
        taps = [keeper.kept.get((found.name, *read)) for read in reads]
        if keeper.calls[found.name] != found.runs or any(tap is None for tap in taps):
            return None
        _put(taken, layer, found, [tap for tap in taps if tap is not None])
    return taken


class Keeper:
    """The hooks of a pass in which layers are kept that are known already."""

    def __init__(self, known: Mapping[str, Found], operations: Operations | None) -> None:
        self.operations = operations
        self.wanted: dict[str, dict[int, dict[Any, tuple[int, ...]]]] = defaultdict(lambda: defaultdict(dict))
        for found in known.values():
            for call, layout, shape in zip(found.calls, found.layouts, found.shapes, strict=True):
                self.wanted[found.name][call][layout] = shape
        self.kept: dict[tuple[str, int, Any], Tap] = {}
        self.calls: Counter[str] = Counter()

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Hooks in place for this block, and gone after it whatever happens."""
        with ExitStack() as hooks:
            for name in self.wanted:
                child = network.get_submodule(name)
                hooks.callback(child.register_forward_pre_hook(here(self._counting(name), child)).remove)
                hooks.callback(child.register_forward_hook(here(self._keeping(name), child)).remove)
            yield

    def _counting(self, name: str) -> Any:
        def count(module: nn.Module, args: Any) -> None:
            self.calls[name] += 1

        return count

    def _keeping(self, name: str) -> Any:
        def keep(module: nn.Module, args: Any, output: Any) -> Any:
            tensor, call = first_tensor(output), self.calls[name]
            wanted = self.wanted[name].get(call, {})
            fits = [
                k
                for k, shape in wanted.items()
                if tensor is not None and without_batch(tensor.shape, k) == shape
            ]
            if tensor is None or not fits:
                return output
            tap = make_tap(name, fits[0], tensor, call)
            for layout in fits:  # one call may be asked for in several ways
                self.kept[name, call, layout] = replace(tap, layout=layout)
            if self.operations is not None and self.operations.depends_on_input(tap.passed):
                self.operations.tags[tap.passed].notes["kept"] = True
            torch.set_grad_enabled(True)  # the graph begins here; the caller's mode comes back at the end
            return with_first_tensor(output, tap.passed)

        return keep


def _refused(none: NoGrid, auto: Found | None, scripted: Sequence[str]) -> ModelError:
    """The error for a layer whose output holds no grid, which names layers that do."""
    if none.name is None:
        return ModelError(
            "No layer of this model gives feature maps (N, K, h, w), (N, h, w, K) or (N, tokens, K) whose "
            "cells are known to be parts of the picture: name one with layer= and layout=, or use a gradient "
            "method."
            + (f" Layers in {scripted[0]!r}, TorchScript, are not read." if scripted else "")
            + (f" {none.why}." if none.why else "")
        )
    shape = f" {tuple(none.shape)}" if none.shape is not None else " none"
    why = f": {none.why}" if none.why else ""
    others = [auto.name, *(name for name, _ in auto.others[:2])] if auto is not None else []
    instead = f"such as {', '.join(others)}" if others else "`pellucid doctor` lists those that do"
    return ModelError(
        "layer must give feature maps whose cells are parts of the picture; "
        f"{none.name!r} gives{shape}{why}. Choose one that does, {instead}."
    )
