"""The common form of class activation maps: L = ReLU(sum_k w_k A_k).

A CAM is registered by `@cam(...)` over a function of one layer's evidence that gives its channel weights
(N, K), its weighted maps (N, K, h, w), or, where no sum over channels is meant, its map (N, h, w); or a
`Finding` of one of these, with details of its own, standard errors of sampled weights, and by how much a sum
that its theory promises is missed. The form adds what all of them share: the layer, fusion of several layers,
the sum or the first principal component, rectification, and a word when nothing is left.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import Tensor

from pellucid.methods.cam.combining import Fusion
from pellucid.methods.cam.evaluation import evaluate
from pellucid.methods.definition import Counting, Drawing
from pellucid.methods.finding import Finding
from pellucid.methods.registry import method
from pellucid.options.signature import keyword_options
from pellucid.options.types import LayerOption, LayoutOption
from pellucid.probe import LayerEvidence, Probe, layer_evidence
from pellucid.target import Output

Formula = Callable[..., Tensor | Finding]


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
            return evaluate(partial(formula, **own), ats, probe, fusion, signed, principal, gradient)

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
