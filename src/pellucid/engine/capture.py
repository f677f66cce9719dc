"""Activations and gradients at layers: one forward and one backward for all of them.

A hook at the layer keeps the layer's output and passes a copy on, so that an in-place operation
behind the layer cannot overwrite what was kept. Before the first kept layer the model runs without a
graph: no gradient is asked for there, and frozen parameters or a caller's `no_grad` make no difference.
"""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from pellucid.engine.find_layers import find_layers
from pellucid.engine.finding.found import forget, found_of
from pellucid.engine.forward_pass import Capture, ForwardPass
from pellucid.engine.keep_layers import keep_layers
from pellucid.engine.operations import Operations
from pellucid.engine.run import Engine
from pellucid.errors import ModelError


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

    forward = ForwardPass(engine, inputs, whole_graph, channels_last, replaced, numbers)

    def run() -> Capture:
        found = {layer: found_of(engine, inputs, layer) for layer in layers}
        known = {layer: one for layer, one in found.items() if one is not None}
        for _ in range(2):
            if len(known) < len(layers):
                known, kept = find_layers(forward, layers)
                if kept is not None:
                    return kept
            kept = keep_layers(forward, known)
            if kept is not None:
                return kept
            forget(engine, inputs)  # the model has been changed
            known = {}
        raise ModelError("The model runs its layers in another way each time: explain it in parts.")

    return engine.with_layout_fallback(run if layers else forward.run)
