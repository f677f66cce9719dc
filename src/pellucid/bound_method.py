"""A method with its options, as metrics that explain again are given it."""

from collections.abc import Callable
from copy import copy, deepcopy

from jaxtyping import Float
from torch import Tensor, nn

from pellucid.engine.run import Engine
from pellucid.explain import at_input
from pellucid.probe import Probe
from pellucid.request import Request


class BoundMethod:
    """`metrics.definition.Explain` for one request; passes are billed to whoever asks."""

    def __init__(self, request: Request) -> None:
        self.request = request

    def __call__(self, probe: Probe) -> Float[Tensor, "N D H W"]:
        """Maps of a probe's inputs, at their resolution."""
        found = self.request.method(probe, **self.request.options).detached()
        height, width = probe.inputs.shape[-2:]
        return at_input(found.map, (height, width))

    def with_model(self, probe: Probe, change: Callable[[nn.Module], None]) -> Float[Tensor, "N D H W"]:
        """Maps of the probe's inputs and targets by a copy of the model that `change` has changed.

        Raises:
            ModelError: the model is no `nn.Module`.
        """
        engine, model = probe.engine, copy(probe.model)
        model.module = deepcopy(probe.model.network)
        change(model.module)
        other = Engine(model, engine.precision, engine.batch_size, progress=engine.progress)
        other.extras, other.images, other.reading = engine.extras, engine.images, engine.reading
        with other.session(probe.seed):
            asked = Probe(
                other,
                probe.inputs,
                probe.target_fn,
                probe.output,
                seed=probe.seed,
                limit=probe.limit,
                numbers=probe.numbers,
            )
            maps = self(asked)
        engine.take(other.spent)
        return maps
