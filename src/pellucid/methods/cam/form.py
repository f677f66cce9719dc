"""The common form of class activation maps: L = ReLU(sum_k w_k A_k).

A CAM is registered by `@cam(...)` over a function of one layer's evidence that gives its channel weights
(N, K), its weighted maps (N, K, h, w), or, where no sum over channels is meant, its map (N, h, w); or a
`Finding` of one of these, with details of its own, standard errors of sampled weights, and by how much a sum
that its theory promises is missed. The form adds what all of them share: the layer, fusion of several layers,
the sum or the first principal component, rectification, and a word when nothing is left.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.methods.finding import Details, Finding
from pellucid.methods.option_types import LayerOption, LayoutOption
from pellucid.methods.registry import Counting, Drawing, keyword_options, method
from pellucid.probe import LayerEvidence, Probe, layer_evidence
from pellucid.target import Output

Fusion = Literal["mean", "max", "tanh-max"]
Formula = Callable[..., Tensor | Finding]
SHALLOW_STRIDE = 4
"""Layers of up to this stride are LayerCAM's shallow ones (VGG's stages 1 to 3)."""


def cam(
    name: str,
    *,
    paper: str,
    gradient: bool = True,
    passes: tuple[int, ...] | Counting | None = None,
    output: Output | Callable[[Mapping[str, Any]], Output] = "logit",
    signed: bool = False,
    fusion: Fusion = "mean",
    sums: bool = True,
    evidence: Callable[..., Sequence[LayerEvidence]] | None = None,
    family: str | None = None,
    random: bool | Drawing = False,
    quick: Mapping[str, Any] = MappingProxyType({}),
) -> Callable[[Formula], Formula]:
    """Registers a formula `(at, *, options) -> weights, weighted maps or map` as a CAM.

    Args:
        name: the paper's name, in kebab-case.
        paper: authors, year, arXiv.
        gradient: whether the formula reads `at.G`.
        passes: what the formula runs, for its options; None for one forward, and a backward for `at.G`.
        output: what it explains, for its options.
        signed: the default of `signed=`, as in the paper: whether negative evidence is kept.
        fusion: the default of `fusion=`.
        sums: whether the formula leaves the sum over channels to the form, so that `principal=` applies.
        evidence: `(probe, layers, options) -> evidence at each layer`, where it is not of a plain pass.
        family: "cam", of CAMs that are not built in; of those that are, the folder they live in.
        random: whether the formula draws random numbers; or a function of the options.
        quick: options by which a test or a demonstration is quick.

    Raises:
        InvalidValue: as `pellucid.method` does.
    """

    def register(formula: Formula) -> Formula:
        def run(
            probe: Probe,
            *,
            layer: LayerOption = "auto",
            layout: LayoutOption = None,
            fusion: Fusion = fusion,
            signed: bool = signed,
            principal: bool = False,
            **own: Any,
        ) -> Finding:
            names = probe.layer_names(layer, layout)
            ats = evidence(probe, names, own) if evidence else layer_evidence(probe, *names)
            maps: dict[str, list[Tensor]] = {}
            details: list[Mapping[str, Any]] = []
            stderr = None
            for at in ats:
                told = formula(at, **own)
                about = told if isinstance(told, Finding) else Finding(told)
                found = about.map
                weights = {"weights": found} if found.ndim == 2 else {}
                details.append({**about.details, **weights})
                map = found if found.ndim == 3 else combined(found, at, principal)
                maps.setdefault(at.asked, []).append(map)
                warn(probe, at, map, gradient)
                if about.stderr is not None and not principal and len(ats) == 1:
                    stderr = torch.einsum("nk,nkhw->nhw", about.stderr**2, at.A**2).sqrt()
            titles = {at.asked: layer_title(at) for at in ats}
            found_as = {at.asked: at.found for at in ats}
            layers = []
            for asked, calls in maps.items():
                map = together(calls)
                layers.append(map if signed else map.relu())
                if part := found_as[asked].partly():
                    probe.note(part)
                if not signed:
                    warn_if_negative(probe, titles[asked], map)
            fused = layers[0] if len(layers) == 1 else fuse(layers, fusion, probe.inputs.shape[-2])
            told_of = by_layer(tuple(at.name for at in ats), details)
            return Finding(fused, stderr, told_of, tuple(titles.values()))

        taken = [p for p in inspect.signature(run).parameters.values() if p.kind is not p.VAR_KEYWORD]
        if not sums:
            taken = [p for p in taken if p.name != "principal"]
        run.__doc__, run.__module__ = formula.__doc__, formula.__module__
        run.__name__, run.__qualname__ = formula.__name__, formula.__qualname__
        run.__signature__ = inspect.Signature([*taken, *keyword_options(formula)])  # type: ignore[attr-defined]
        method(
            name,
            paper=paper,
            passes=passes or (1, int(gradient)),
            family=family,
            reads="replaced operations" if evidence else "layers",
            output=output,
            random=random,
            quick=quick,
        )(run)
        return formula

    return register


def by_layer(layers: Sequence[str], details: Sequence[Mapping[str, Any]]) -> Details:
    """The details of a layer as they are; of several, each detail as a dict by layer."""
    if len(details) == 1:
        return details[0]
    names = dict.fromkeys(name for told in details for name in told)
    return {
        name: {at: told[name] for at, told in zip(layers, details, strict=True) if name in told}
        for name in names
    }


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
