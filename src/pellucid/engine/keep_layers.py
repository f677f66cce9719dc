"""A forward pass that keeps the outputs of layers that were found before."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.engine.finding.found import Found, without_batch
from pellucid.engine.forward_pass import Capture, ForwardPass
from pellucid.engine.operations import Operations
from pellucid.engine.scripted import of_this_thread as here
from pellucid.engine.taps import Tap, make_tap
from pellucid.layers import first_tensor, with_first_tensor


def keep_layers(forward: ForwardPass, known: Mapping[str, Found]) -> Capture | None:
    """A pass that keeps layers that are known; None where they do not run as they did."""
    network = forward.engine.network

    def watch(own: Tensor, operations: Operations | None, stack: ExitStack) -> Keeper:
        keeper = Keeper(known, operations)
        stack.enter_context(keeper.watching(network))
        return keeper

    capture, keeper = forward.watched(watch)
    for layer, found in known.items():
        reads = zip(found.calls, found.layouts, strict=True)
        taps = [keeper.kept.get((found.name, *read)) for read in reads]
        if keeper.calls[found.name] != found.runs or any(tap is None for tap in taps):
            return None
        capture.keep(layer, found, [tap for tap in taps if tap is not None])
    return capture


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
