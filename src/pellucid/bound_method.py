"""A method with its options, as metrics that explain again are given it."""

from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, nn

from pellucid.engine.randomness import inherit_draws
from pellucid.engine.run import Engine
from pellucid.explain import at_input
from pellucid.probe import Probe
from pellucid.request import Request
from pellucid.target import Output


class BoundMethod:
    """`metrics.definition.Explain` for one request; passes are billed to whoever asks.

    Args:
        request: the method.
        output: which number it explains, whatever the metric scores.
    """

    def __init__(self, request: Request, output: Output) -> None:
        self.request, self.output = request, output

    def __call__(self, probe: Probe) -> Float[Tensor, "N D H W"]:
        """Maps of a probe's inputs, at their resolution."""
        asked = probe
        if probe.target_fn.output != self.output:
            asked = probe.about(replace(probe.target_fn, output=self.output), self.output)
        found = self.request.method(asked, **self.request.options).detached()
        if asked is not probe:
            failed(probe, asked)
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
        inherit_draws(probe.model.module, model.module)
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
            failed(probe, asked)
        engine.take(other.spent)
        return maps


def failed(probe: Probe, asked: Probe) -> None:
    """Images that failed for one probe have no answer for another about the same images."""
    for image, error in asked.failures.items():
        probe.fail(image, error)
