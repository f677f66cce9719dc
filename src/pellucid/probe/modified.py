"""One batch run with the model's operations replaced, and the way back through what replaced them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from pellucid.engine.forward_pass import Capture
from pellucid.engine.operations import Operations
from pellucid.engine.taps import Tap
from pellucid.errors import ModelError
from pellucid.probe.pass_cache import NO_GRADIENT
from pellucid.probe.probe import Probe


@dataclass(frozen=True)
class ModifiedRun:
    """One batch run with the model's operations replaced: what came out, and the way back through them."""

    probe: Probe
    taken: Capture

    @property
    def operations(self) -> Operations:
        """What stood for the model's own, with what it kept of this run."""
        if self.taken.operations is None:
            raise AssertionError("a run under operations has them")
        return self.taken.operations

    @property
    def score(self) -> Float[Tensor, " N"]:
        """The explained number of each sample, in the graph of this run."""
        return self.probe.checked(self.probe.target_fn(self.taken.raw))

    @property
    def outputs(self) -> Float[Tensor, "N K"]:
        """The model's outputs, in the graph of this run."""
        return self.probe.reading.outputs(self.taken.raw, len(self.probe.inputs))

    def layer(self, layer: str) -> list[Tap]:
        """What the calls gave of one of the layers that were asked for."""
        return [self.taken.taps[key] for key in self.taken.calls[layer]]

    def keys(self, layer: str) -> tuple[str, ...]:
        """The keys of the calls of one of the layers that were asked for, as `back` gives them."""
        return self.taken.calls[layer]

    def backward(
        self, outputs: Tensor, start: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Float[Tensor, "N C H W"]]:
        """What comes back at each layer that was asked for, as feature maps, and at the input.

        Args:
            outputs: where the way back begins: the score, outputs, ...
            start: what goes into it there, of the same shape; ones by default.
        """
        at_layers, at_input = self.probe.passes.backward(self.taken, outputs, start)
        if at_input is None:
            raise ModelError(NO_GRADIENT)
        return at_layers, at_input

    def backward_to_layers(self, outputs: Tensor, start: Tensor | None = None) -> dict[str, Tensor]:
        """What comes back at the layers alone; nothing is run back beyond them."""
        return self.probe.passes.backward(self.taken, outputs, start, of_input=False)[0]


def run_with(probe: Probe, key: Hashable, make: Callable[[], Operations], *layers: str) -> ModifiedRun:
    """One pass with the model's operations replaced by what `make` gives, kept for all who give its key.

    Args:
        probe: the evidence.
        key: what tells these operations apart from others.
        make: makes them, new each time.
        layers: layers that are kept, by name or "auto".

    Raises:
        ModelError: an operation that cannot be replaced, a layer that is not run or holds no grid.
    """
    taken = probe.passes.modified(probe, key, make, layers)
    probe.report_layers([taken.found[layer] for layer in layers])
    return ModifiedRun(probe, taken)
