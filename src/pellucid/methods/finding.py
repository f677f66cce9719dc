"""What a method found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.engine.precision import HALF
from pellucid.probe import Probe, of_each

OfImages = Tensor | list[Tensor]
Details = Mapping[str, OfImages | Mapping[str, OfImages]]
"""Tensors by name, with the images first, or lists of one tensor per image; or several of these by layer."""

RAGGED = ("coefficients", "coefficient_stderr")
"""Details whose length differs from image to image: always lists."""


@dataclass(frozen=True)
class Finding:
    """A method's raw, signed map, and what it can tell besides.

    Attributes:
        map: (N, h, w) at a layer's resolution or (N, C, H, W) at the input's, in the model's precision.
        stderr: the standard error of `map`, of its shape, for sampled methods.
        details: tensors with the images first, such as a CAM's channel `weights`, or lists of one tensor per
            image, such as LIME's `coefficients`; of several layers, such a one by the name of each.
        layers: the names of the layers that were read.
        delta: (N,), by how much the map's sum misses what theory promises of it, in units of the score.
        trace: an optimisation's course, its steps second: `mask` (N, T, h, w), `deletion` (N, T), ...
    """

    map: Tensor
    stderr: Tensor | None = None
    details: Details = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    delta: Tensor | None = None
    trace: Details = field(default_factory=dict)

    def map_tensors(self, change: Callable[[OfImages], OfImages]) -> "Finding":
        """The finding with each of its tensors, or lists of tensors, changed."""

        def changed(details: Any) -> Any:
            if isinstance(details, Mapping):
                return {name: changed(value) for name, value in details.items()}
            return None if details is None else change(details)

        return replace(
            self,
            map=changed(self.map),
            stderr=changed(self.stderr),
            details=changed(self.details),
            delta=changed(self.delta),
            trace=changed(self.trace),
        )

    def pick(self, images: Sequence[int]) -> "Finding":
        """What was found about some of the images."""
        picked = list(images)
        return self.map_tensors(
            lambda values: [values[image] for image in picked] if isinstance(values, list) else values[picked]
        )

    def detached(self) -> "Finding":
        """The same outside the graph, half precision widened."""

        def kept(tensor: Tensor) -> Tensor:
            return tensor.detach().float() if tensor.dtype in HALF else tensor.detach()

        return self.map_tensors(
            lambda values: list(map(kept, values)) if isinstance(values, list) else kept(values)
        )

    def on_cpu(self) -> "Finding":
        """The same in the memory of the CPU."""
        return self.map_tensors(
            lambda values: [value.cpu() for value in values] if isinstance(values, list) else values.cpu()
        )


def concatenated(findings: Sequence[Finding]) -> Finding:
    """What was found about the images of several chunks, as one finding."""
    return _joined(findings, _concatenated)


def _joined(findings: Sequence[Finding], join: Callable[[Sequence[Details]], Details]) -> Finding:
    """The findings of several images or chunks as one, their details and traces by `join`."""
    stderrs = [one.stderr for one in findings if one.stderr is not None]
    deltas = [one.delta for one in findings if one.delta is not None]
    return Finding(
        torch.cat([one.map for one in findings]),
        torch.cat(stderrs) if stderrs else None,
        join([one.details for one in findings]),
        findings[0].layers,
        torch.cat(deltas) if deltas else None,
        join([one.trace for one in findings]),
    )


def _concatenated(details: Sequence[Details]) -> dict[str, Any]:
    """The details of all images: tensors, or lists where shapes differ from image to image; or by layer."""
    joined: dict[str, Any] = {}
    for name in details[0]:
        values: list[Any] = [one[name] for one in details]
        if isinstance(values[0], Mapping):
            joined[name] = _concatenated(values)
            continue
        tensors = [value for value in values if isinstance(value, Tensor)]
        same_shape = len(tensors) == len(values) and len({tensor.shape[1:] for tensor in tensors}) == 1
        joined[name] = torch.cat(tensors) if same_shape else [one for value in values for one in value]
    return joined


def each(probe: Probe, formula: Callable[[Probe, int], Finding]) -> Finding:
    """What `formula(probe of one image, its number)` finds about each image of a batch, as one finding.

    Details of different shapes, as many numbers as an image has segments, become a list.
    """
    return _joined(of_each(probe, formula), _stacked)


def _stacked(details: Sequence[Details]) -> Details:
    stacked: dict[str, OfImages | Mapping[str, OfImages]] = {}
    for name in details[0]:
        values = [_of_one(one[name]) for one in details]
        same_shape = len({value.shape for value in values}) == 1 and name not in RAGGED
        stacked[name] = torch.stack(values) if same_shape else values
    return stacked


def _of_one(value: OfImages | Mapping[str, OfImages]) -> Tensor:
    """A detail of a single image, by a method that reads one layer."""
    if isinstance(value, Mapping):
        raise TypeError("details of each image must not be by layer")
    return value[0]
