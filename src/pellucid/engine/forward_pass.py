"""One forward pass, and what is kept of it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.billing import Charge
from pellucid.engine.cheap_backward import CheapBackward
from pellucid.engine.finding.found import Found
from pellucid.engine.operations import Operations
from pellucid.engine.origins import Origins
from pellucid.engine.precision import HALF
from pellucid.engine.run import Engine
from pellucid.engine.scripted import guard_norms, scripted_parts
from pellucid.engine.taps import Tap
from pellucid.errors import PellucidError
from pellucid.structures import as_plain

Watcher = TypeVar("Watcher")
Watching = Callable[[Tensor, Operations | None, ExitStack], Watcher]
"""Puts hooks in place for a pass: (input of the model, its replaced operations, stack) -> who watches."""


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

    def keep(self, layer: str, found: Found, taps: Sequence[Tap]) -> None:
        """Keeps what the calls of a layer gave."""
        keys = (layer,) if len(taps) == 1 else tuple(f"{layer} (call {tap.call})" for tap in taps)
        for key, tap in zip(keys, taps, strict=True):
            tap.runs = found.runs
            self.taps[key] = tap
        self.calls[layer], self.found[layer] = keys, found


@dataclass(frozen=True)
class ForwardPass:
    """How one forward pass is run.

    Attributes:
        engine: what runs the model.
        inputs: (N, C, H, W), the batch.
        whole_graph: whether the graph begins at the input, so that its gradient can be had too.
        channels_last: whether the channels lie last in memory, where the model takes that.
        replaced: makes what stands for the model's operations, on the whole graph.
        numbers: which image each input was made of.
    """

    engine: Engine
    inputs: Float[Tensor, "N C H W"]
    whole_graph: bool = False
    channels_last: bool = False
    replaced: Callable[[], Operations] | None = None
    numbers: Sequence[int] | None = None

    def run(self) -> Capture:
        """The pass, of which nothing is kept but its output."""
        return self.watched(lambda *_: None)[0]

    def watched(self, watch: Watching[Watcher], grad: bool = False) -> tuple[Capture, Watcher]:
        """The pass with hooks in place, and who watched; with `grad` a graph is built in any case."""
        engine, inputs, whole_graph = self.engine, self.inputs, self.whole_graph
        operations = self.replaced() if self.replaced else None
        if operations is not None and inputs.dtype in HALF:
            inputs = inputs.float()
        leaf = inputs.detach().requires_grad_() if whole_graph else inputs.detach()
        # A copy, as the model may normalise its input in place.
        own = engine.to_memory_format(leaf.clone(), self.channels_last)
        # The first pass tells how its outputs came about.
        origins = Origins() if engine.reading is None else None
        with (
            engine.making(forward=len(inputs)) as charge,
            CheapBackward() if operations is None else operations.over(engine.running, own),
            nullcontext() if origins is None else origins,
            ExitStack() as stack,
            torch.set_grad_enabled(whole_graph or grad),
        ):
            watcher = watch(own, operations, stack)  # hooks see what operations in place made of an output
            plain = as_plain if operations is None else operations.plain
            raw = engine.forward(own, self.numbers, plain=plain)
            raw = raw if operations is None else operations.result(raw)
            if operations is None and scripted_parts(engine.model.module):
                guard_norms(raw)
        if origins is not None:
            with suppress(PellucidError):  # a callable target may read what holds no classes
                engine.read(raw, len(inputs), origins.of)
        return Capture(raw, {}, leaf if whole_graph else None, charge, operations), watcher
