"""What a method found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pellucid.probe import Probe

Told = Mapping[str, Tensor | list[Tensor]]
"""Tensors by name, with the images first, or lists of one tensor per image."""

RAGGED = ("coefficients", "coefficient_stderr")
"""Details whose length differs from image to image: always lists."""


@dataclass(frozen=True)
class Finding:
    """A method's raw, signed map, and what it can tell besides.

    Attributes:
        map: (N, h, w) at a layer's resolution or (N, C, H, W) at the input's, in the model's precision.
        stderr: the standard error of `map`, of its shape, for sampled methods.
        details: tensors with the images first, such as a CAM's channel `weights`, or lists of one tensor per
            image, such as LIME's `coefficients`.
        layers: the names of the layers that were read.
        delta: (N,), by how much the map's sum misses what theory promises of it, in units of the score.
        trace: an optimisation's course, its steps second: `mask` (N, T, h, w), `deletion` (N, T), ...
    """

    map: Tensor
    stderr: Tensor | None = None
    details: Told = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    delta: Tensor | None = None
    trace: Told = field(default_factory=dict)


def each(probe: Probe, formula: Callable[[Probe, int], Finding]) -> Finding:
    """What `formula(probe of one image, its number)` finds about each image of a batch, as one finding.

    Details of different shapes, as many numbers as an image has segments, become a list.
    """
    found = [formula(probe.one(image), image) for image in range(len(probe.inputs))]
    stderrs = [one.stderr for one in found if one.stderr is not None]
    deltas = [one.delta for one in found if one.delta is not None]
    return Finding(
        torch.cat([one.map for one in found]),
        torch.cat(stderrs) if stderrs else None,
        _stacked([one.details for one in found]),
        found[0].layers,
        torch.cat(deltas) if deltas else None,
        _stacked([one.trace for one in found]),
    )


def _stacked(told: Sequence[Told]) -> Told:
    stacked: dict[str, Tensor | list[Tensor]] = {}
    for name in told[0]:
        values = [one[name][0] for one in told]
        alike = len({value.shape for value in values}) == 1 and name not in RAGGED
        stacked[name] = torch.stack(values) if alike else values
    return stacked
