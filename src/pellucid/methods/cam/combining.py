"""Maps of channels, calls and layers made one: sums, principal components, fusion."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.probe import LayerEvidence

Fusion = Literal["mean", "max", "tanh-max"]
SHALLOW_STRIDE = 4
"""Layers of up to this stride are LayerCAM's shallow ones (VGG's stages 1 to 3)."""


def combined(found: Tensor, at: LayerEvidence, principal: bool) -> Float[Tensor, "N h w"]:
    """Channel weights or weighted maps, summed over channels or projected on their principal component."""
    if principal:
        weighted = found if found.ndim == 4 else found[..., None, None] * at.A
        return principal_component(weighted, toward=weighted.sum(1), at=at)
    if found.ndim == 4:
        return found.sum(1)
    wider = torch.promote_types(found.dtype, at.A.dtype)  # activations may be half where scores are not
    return torch.einsum("nk,nkhw->nhw", found.to(wider), at.A.to(wider))


def principal_component(
    maps: Float[Tensor, "N K h w"], *, toward: Float[Tensor, "N h w"], at: LayerEvidence, center: bool = True
) -> Float[Tensor, "N h w"]:
    """The projection of each position's K values on their first right singular vector.

    The sign of a singular vector is arbitrary: it is chosen so that the map does not run against `toward`.
    Computed from the smaller Gram matrix in float64.
    """
    at.probe.refuse_nonfinite(f"What layer {at.name} gives", maps)  # of which no component is principal
    maps = maps.nan_to_num(0.0, 0.0, 0.0) if at.probe.failures else maps
    M = maps.flatten(2).transpose(1, 2).double()  # (N, Z, K)
    if center:
        M = M - M.mean(1, keepdim=True)
    Z, K = M.shape[1:]
    gram = M @ M.mT if Z <= K else M.mT @ M
    values, vectors = torch.linalg.eigh(gram)
    top = vectors[..., -1:]  # (N, Z or K, 1)
    projected = top * values[:, None, -1:].clamp(min=0).sqrt() if Z <= K else M @ top  # (N, Z, 1)
    if values.shape[1] > 1:
        tied = (values[:, -1] > 0) & (values[:, -1] - values[:, -2] < 1e-9 * values[:, -1])
        at.probe.note(f"The first two principal components at {at.name} are equally strong: "
                      "the map is one of many.", tied)  # fmt: skip
    aim = toward.flatten(1).double()
    against = (projected[..., 0] * (aim - aim.mean(1, keepdim=True))).sum(1) < 0
    map = torch.where(against[:, None], -projected[..., 0], projected[..., 0])
    return map.reshape(len(maps), *maps.shape[2:]).to(maps.dtype)


def fuse(maps: Sequence[Float[Tensor, "N _ _"]], fusion: Fusion, height: int) -> Float[Tensor, "N h w"]:
    """Maps of several layers in one, at the finest resolution among them; it has no unit.

    Each map is divided by its largest magnitude, since layers differ in scale by orders; then the mean or
    the maximum is taken. `tanh-max` is LayerCAM's: the maximum, with tanh(2 M / max M) for shallow layers.
    """
    size = max((tuple(map.shape[1:]) for map in maps), key=lambda hw: hw[0] * hw[1])
    scaled = []
    for map in maps:
        top = map.abs().amax((1, 2), keepdim=True)
        unit = map / torch.where(top > 0, top, torch.ones_like(top))
        if fusion == "tanh-max" and height / map.shape[1] <= SHALLOW_STRIDE:
            unit = torch.tanh(2 * unit)
        scaled.append(interpolate(unit[:, None], size, mode="bilinear", align_corners=False)[:, 0])
    stack = torch.stack(scaled)
    return stack.mean(0) if fusion == "mean" else stack.amax(0)


def together(calls: Sequence[Float[Tensor, "N _ _"]]) -> Float[Tensor, "N h w"]:
    """The sum of the maps of a layer's calls, at the finest resolution among them: evidence adds up."""
    if len(calls) == 1:
        return calls[0]
    size = max((tuple(map.shape[1:]) for map in calls), key=lambda hw: hw[0] * hw[1])
    placed = [
        map
        if tuple(map.shape[1:]) == size
        else interpolate(map[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        for map in calls
    ]
    return torch.stack(placed).sum(0)
