"""Inputs close to the images, and the maps of these by the same method."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.metrics.definition import Explain, undefined
from pellucid.probe import Probe
from pellucid.probe.noise import drawn_uniformly, sigma_of

_DRAW = 1 << 46  # draws of their own, apart from those of methods
FLOOR = 1e-6
"""The least denominator of a relative change, as a share of the largest magnitude."""

Judge = Callable[[Probe, Float[Tensor, "N B C H W"], Float[Tensor, "N B D H W"]], tuple[Tensor, ...]]
"""What is made of B neighbours of each image and their maps: tensors (N, B)."""


def over_neighbours(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    explain: Explain,
    judge: Judge,
    *,
    samples: int,
    radius: float,
    before: Callable[[Probe], object] = lambda seen: None,
) -> tuple[Float[Tensor, "N samples"], ...]:
    """What `judge` makes of neighbours x + e of each image, e uniform in a cube, and of their maps.

    Args:
        probe: the evidence.
        attribution: the maps of the images themselves.
        explain: the method that made them.
        judge: given the neighbours' probe, the neighbours and their maps, chunk by chunk.
        samples: how many neighbours, with the same noise for every image and map.
        radius: |e| at most, as a share of each image's range.
        before: called with the neighbours' probe before they are explained.

    Raises:
        InvalidValue: the method's maps have other channels than those given.
    """
    x, reach = probe.inputs, sigma_of(probe.inputs, radius)

    def rows(first: int, stop: int) -> tuple[Tensor, ...]:
        noise = drawn_uniformly(probe, range(_DRAW + first, _DRAW + stop))
        near = x[:, None] + reach[:, None] * noise
        seen = probe.perturbed(near.flatten(0, 1))
        before(seen)
        maps = explain(seen)
        if maps.shape[1] != attribution.shape[1]:
            raise InvalidValue(
                f"The maps must be the method's own, of {maps.shape[1]} channels; "
                f"those given have {attribution.shape[1]}."
            )
        return judge(seen, near, maps.unflatten(0, near.shape[:2]))

    return probe.concat_over(samples, rows, dim=1)


def map_changes(
    probe: Probe, attribution: Float[Tensor, "N D H W"], explain: Explain, *, samples: int, radius: float
) -> Float[Tensor, "N samples"]:
    """The L2 norm of the difference between each neighbour's map and the image's: see `over_neighbours`."""
    (moved,) = over_neighbours(
        probe,
        attribution,
        explain,
        lambda seen, near, maps: (distances(attribution, maps),),
        samples=samples,
        radius=radius,
    )
    return moved


def distances(
    attribution: Float[Tensor, "N D H W"], maps: Float[Tensor, "N B D H W"]
) -> Float[Tensor, "N B"]:
    """The L2 norms of the differences of maps, in float64 on the CPU."""
    return norms(maps.double() - attribution[:, None].double())


def norms(values: Float[Tensor, "N B *rest"]) -> Float[Tensor, "N B"]:
    """L2 over all but the first two dimensions, on the CPU."""
    norm: Tensor = values.flatten(2).norm(dim=2)
    return norm.cpu()


def relative_change(
    values: Float[Tensor, "N *rest"], near: Float[Tensor, "N B *rest"]
) -> Float[Tensor, "N B"]:
    """The L2 norm of (v - v') / v, element by element, in float64 on the CPU.

    Where |v| is below a millionth of its largest, that stands in the denominator.
    """
    values, near = values.detach().double()[:, None], near.detach().double()
    least = FLOOR * values.flatten(1).abs().amax(1).view(-1, *(1,) * (values.ndim - 1))
    denominator = torch.where(values.abs() < least, least, values.abs())
    return norms((values - near) / torch.where(denominator == 0, 1.0, denominator))


def relative_stability(
    name: str,
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    explain: Explain,
    change: Callable[[Probe, Float[Tensor, "N B C H W"]], Float[Tensor, "N B"]],
    *,
    samples: int,
    radius: float,
    before: Callable[[Probe], object] = lambda seen: None,
) -> Float[Tensor, " N"]:
    """max over neighbours of the same class of the relative change of the map over another change.

    `change(seen, near)` is the other one, of which a millionth is the least.
    """
    own = probe.class_values.argmax(1).cpu()

    def judge(
        seen: Probe, near: Float[Tensor, "N B C H W"], maps: Float[Tensor, "N B D H W"]
    ) -> tuple[Tensor, ...]:
        ratio = relative_change(attribution, maps) / change(seen, near).clamp(min=FLOOR)
        classes = seen.class_values.argmax(1).cpu().view(ratio.shape)
        return (torch.where(classes == own[:, None], ratio, -torch.inf),)

    (ratios,) = over_neighbours(
        probe, attribution, explain, judge, samples=samples, radius=radius, before=before
    )
    value = ratios.amax(1)
    for image in range(len(value)):
        if (attribution[image] == 0).all():
            probe.fail(image, undefined(name, "it is 0 everywhere"))
        elif value[image] == -torch.inf:
            probe.fail(image, undefined(name, "no neighbour is of the image's class: take a smaller radius"))
    return value


def relative_to_norm(
    name: str, probe: Probe, attribution: Float[Tensor, "N D H W"], value: Float[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """`value` over the map's L2 norm; a map of zeros has none."""
    norm = attribution.double().flatten(1).norm(dim=1).cpu()
    for image in (norm == 0).nonzero()[:, 0].tolist():
        probe.fail(image, undefined(name, "it is 0 everywhere"))
    return value / torch.where(norm == 0, 1.0, norm)
