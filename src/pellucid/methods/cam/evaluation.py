"""A CAM's formula evaluated at layers, and what is said of its maps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.combining import Fusion, combined, fuse, together
from pellucid.methods.finding import Details, Finding
from pellucid.probe import LayerEvidence, Probe


def by_layer(layers: Sequence[str], details: Sequence[Mapping[str, Any]]) -> Details:
    """The details of a layer as they are; of several, each detail as a dict by layer."""
    if len(details) == 1:
        return details[0]
    names = dict.fromkeys(name for detail in details for name in detail)
    return {
        name: {at: detail[name] for at, detail in zip(layers, details, strict=True) if name in detail}
        for name in names
    }


def layer_title(at: LayerEvidence) -> str:
    """A layer as results name it: with its call, where one was asked for."""
    return at.name if at.key == at.asked else at.tap.name


def warn(probe: Probe, at: LayerEvidence, map: Float[Tensor, "N h w"], gradient: bool) -> None:
    """Says why a map is empty, where it is, and which of a layer's calls it is of."""
    none = torch.zeros(len(map), dtype=torch.bool, device="cpu")
    blind = (at.G == 0).flatten(1).all(1) if gradient else none
    probe.note(f"The score does not depend on layer {at.name}: the map is empty.", blind)
    if at.tap.runs > 1 and at.key == at.asked and at.asked != "auto" and "#" not in at.asked:
        probe.note(
            f"Layer {at.name} runs {at.tap.runs} times in one pass, each time on what the one before led to: "
            f'the last time is explained. layer="{at.name}#1" reads the first.'
        )


def warn_if_negative(probe: Probe, layer: str, map: Float[Tensor, "N h w"]) -> None:
    """Says that all evidence is negative, where it is."""
    negative = (map.amax((1, 2)) <= 0) & (map.amin((1, 2)) < 0)
    probe.note(
        f"All evidence for this class at layer {layer} is negative: the map is empty. "
        "signed=True keeps it; another layer or target may have positive evidence.",
        negative,
    )


def evaluate(
    formula: Callable[[LayerEvidence], Tensor | Finding],
    evidence: Sequence[LayerEvidence],
    probe: Probe,
    fusion: Fusion,
    signed: bool,
    principal: bool,
    gradient: bool,
) -> Finding:
    """The map of all layers by a CAM's formula: summed over channels and calls, rectified, fused."""
    maps: dict[str, list[Tensor]] = {}
    details: list[Mapping[str, Any]] = []
    stderr = None
    for at in evidence:
        given = formula(at)
        found = given if isinstance(given, Finding) else Finding(given)
        weights = {"weights": found.map} if found.map.ndim == 2 else {}
        details.append({**found.details, **weights})
        map = found.map if found.map.ndim == 3 else combined(found.map, at, principal)
        maps.setdefault(at.asked, []).append(map)
        warn(probe, at, map, gradient)
        if found.stderr is not None and not principal and len(evidence) == 1:
            stderr = torch.einsum("nk,nkhw->nhw", found.stderr**2, at.A**2).sqrt()
    titles = {at.asked: layer_title(at) for at in evidence}
    found_as = {at.asked: at.found for at in evidence}
    layers = []
    for asked, calls in maps.items():
        map = together(calls)
        layers.append(map if signed else map.relu())
        for note in found_as[asked].notes():
            probe.note(note)
        if not signed:
            warn_if_negative(probe, titles[asked], map)
    fused = layers[0] if len(layers) == 1 else fuse(layers, fusion, probe.inputs.shape[-2])
    return Finding(fused, stderr, by_layer([at.name for at in evidence], details), tuple(titles.values()))
