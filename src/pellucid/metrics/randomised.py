"""Maps of the same images by models whose weights are drawn anew, step by step."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.engine.redrawing import redraw, redrawable
from pellucid.errors import InvalidValue
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.similarity import Similarity, refuse_constant, similarity
from pellucid.probe import Probe, of_each

Order = Literal["top-down", "bottom-up", "independent"]
"""Which weights are drawn anew at each step: all from the output on, all from the input on, or one part."""


def parts(names: list[str], steps: int, order: Order) -> list[list[str]]:
    """The modules whose weights are drawn anew at each step: about as many more, or others, each time.

    Example:
        >>> parts(["stem", "block", "head"], 2, "top-down")
        [['head'], ['head', 'block', 'stem']]
        >>> parts(["stem", "block", "head"], 9, "independent")
        [['head'], ['block'], ['stem']]
    """
    steps = min(steps, len(names))
    ordered = names if order == "bottom-up" else names[::-1]
    edges = [len(names) * step // steps for step in range(steps + 1)]
    first = edges[:-1] if order == "independent" else [0] * steps
    return [ordered[start:stop] for start, stop in zip(first, edges[1:], strict=True)]


def randomised(probe: Probe, steps: int, order: Order) -> list[Callable[[nn.Module], None]]:
    """What draws the weights of a model anew, for each step.

    Raises:
        InvalidValue: the model has no weights that know how.
    """
    names = redrawable(probe.model.network)
    if not names:
        raise InvalidValue(
            f"No module of {probe.model.name} has a reset_parameters(): its weights cannot be drawn anew."
        )

    def change(chosen: list[str]) -> Callable[[nn.Module], None]:
        return lambda module: redraw(module, chosen, probe.seed)

    return [change(chosen) for chosen in parts(names, steps, order)]


def similarities(
    name: str,
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    maps: Callable[[Callable[[nn.Module], None]], Float[Tensor, "N D H W"]],
    *,
    steps: int,
    order: Order,
    kind: Similarity,
    absolute: bool,
) -> Measurement:
    """The mean over steps of the similarity of each image's map to that by the changed model.

    `maps(change)` makes the maps by a changed model.
    """

    def read(attribution: Float[Tensor, "N D H W"]) -> Float[Tensor, "N H W"]:
        return per_pixel(attribution).abs() if absolute else per_pixel(attribution)

    own = read(attribution)
    changed = [read(maps(change)) for change in randomised(probe, steps, order)]

    def one(probe: Probe, image: int) -> Tensor:
        refuse_constant(name, own[image])
        return torch.stack([similarity(own[image], step[image], kind) for step in changed])

    found = torch.stack(of_each(probe, one))
    return Measurement(found.mean(1), {"similarity": found})


def averaged(
    probe: Probe,
    explain: Callable[[Probe], Float[Tensor, "_ D H W"]],
    noisy: Callable[[range], Float[Tensor, "_ C H W"]],
    count: int,
) -> Float[Tensor, "N D H W"]:
    """The mean of the maps of `count` noisy copies of each image, which `noisy(numbers)` makes."""

    def maps(first: int, stop: int) -> Tensor:
        found = explain(probe.perturbed(noisy(range(first, stop))))
        several: Tensor = found.double().unflatten(0, (len(probe.inputs), stop - first))
        return several.sum(1)

    total: Tensor = probe.sum_over(count, maps)
    return total / count
