"""The verb `axioms`: what methods promise of their maps, checked on a user's own model and picture."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from pellucid.axioms.checks import CHECKS, TOLERANCE, Found
from pellucid.axioms.question import Question, by_name
from pellucid.axioms.report import AxiomReport, Row
from pellucid.engine.progress import showing
from pellucid.errors import InvalidValue, PellucidError, short_traceback
from pellucid.explanation import Explanation
from pellucid.methods import METHODS, Method
from pellucid.methods.definition import Axiom
from pellucid.model import Model
from pellucid.request import Request
from pellucid.target import OneTarget, Output

MOST = 100
"""Passes beyond which a method that nobody asked for by name is run with `FEW`."""
FEW: dict[str, Any] = {
    "samples": 64,
    "segments": "grid:3",
    "window": 64,
    "stride": 32,
    "references": "zero,mean",
}


@short_traceback
def axioms(
    model: Model | nn.Module | Callable[[Tensor], Any],
    image: Any,
    methods: Sequence[str | tuple[str, Mapping[str, Any]]] | None = None,
    *,
    target: OneTarget = None,
    output: Output | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    progress: bool | None = None,
    forward_kwargs: Mapping[str, Any] | None = None,
) -> AxiomReport:
    """Checks which axioms methods keep on this model and image, and says which of them they promise.

    - completeness: the map sums to S(x) - S(x').
    - sensitivity: where alone an image differs from the baseline, and so in its score, there is evidence.
    - dummy: a part of the input that the model ignores gets none.
    - implementation invariance: the same network written another way has the same map (`rewriting`).
    - linearity: the map of a S_c + b S_d is a times that of S_c plus b times that of S_d.
    - symmetry: an image and a model that are the same in a mirror have a map that is.

    No check needs to know the architecture: something is put around the model, or the model is written
    another way, and maps are compared. The error is |m - m'| / max(|m|, |m'|) in L2 over the pixels, m' being
    the map that the axiom asks for; of dummy, the share of the map's norm in the ignored part; of
    completeness, a share of the difference of scores. An axiom holds up to 1%, and of a map with standard
    errors up to two of them; where these are half of the map nothing is said. Sensitivity asks for any
    evidence that is not rounding. Methods of segments get the place that is asked about as a segment of its
    own, or segments that are mirrored. Where the way of writing changes a float32 map, float64 is asked.

    Args:
        model: as for `explain`; it stays as it is, rewritings are made in copies.
        image: one image, as for `explain`.
        methods: names with options, "integrated-gradients:steps=100", or (name, options); None for all that
            promise more than implementation invariance; those of many passes take few (`promising`).
        target: a class, a `Contrast`, or None for the predicted class.
        output: as for `explain`, and so are `seed`, `batch_size`, `progress` and `forward_kwargs`.
        seed: see `output`.
        batch_size: see `output`.
        progress: see `output`.
        forward_kwargs: see `output`.

    Returns:
        An `AxiomReport` of one row per method and axiom.

    Raises:
        InvalidValue, InvalidType: several images, or a method, option or target that does not hold.
        ModelError: the model fails on the image.

    Cost:
        About ten times each method's own.

    Source:
        Sundararajan, Taly & Yan 2017, arXiv:1703.01365, sections 2 to 4.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(108, 2))
        >>> report = axioms(net, torch.rand(3, 6, 6), ["input-x-gradient"])
        >>> [(row.axiom, row.held) for row in report.rows if row.axiom in ("dummy", "linearity")]
        [('dummy', True), ('linearity', True)]
    """
    wrapped = Model.wrap(model)
    asked = promising() if methods is None else methods
    requests = [Request.of(m) if isinstance(m, str) else Request.of(*m) for m in asked]
    if not requests:
        raise InvalidValue("methods must name at least one method; got none.")
    question = Question.of(wrapped, image, target, output, seed, batch_size, forward_kwargs)
    inside = wrapped.is_module and question.model is not wrapped
    unique = {request.title: request for request in requests}
    rows: list[Row] = []
    with showing(f"axioms, {wrapped.name}", len(unique) * len(CHECKS), progress) as bar:
        for title, request in unique.items():
            promised = request.method.promised(request.options)
            there = by_name(wrapped, request, "net.") if inside else request
            for axiom, found in _checked(question, there):
                rows.append(Row(title, axiom, axiom in promised, found.held, found.error, found.note))
                bar.advance(1)
    picture = question.batch.pictures[0].name
    return AxiomReport(wrapped.name, picture, question.label, TOLERANCE, tuple(rows))


def promising() -> list[tuple[str, dict[str, Any]]]:
    """All methods that promise an axiom, with options by which those of many passes take few.

    Implementation invariance alone does not count: whatever reads scores and input gradients only has it.
    """
    promises = {name: method.promised(method.resolve_options({})) for name, method in METHODS.items()}
    return [(name, _few(METHODS[name])) for name in METHODS if promises[name] - {"implementation invariance"}]


def _few(method: Method) -> dict[str, Any]:
    many = method.cost(method.resolve_options({})).forward > MOST
    taken = [o for o in method.options if o.name in FEW and (many or o.default is None)]
    return {o.name: FEW[o.name] for o in taken if not isinstance(o.default, int) or o.default > FEW[o.name]}


def _checked(question: Question, request: Request) -> Iterator[tuple[Axiom, Found]]:
    """Every axiom of one method; a check that cannot be made says why."""
    known: Explanation | None = None
    for axiom, check in CHECKS.items():
        try:
            known = known or question.explain(request)
            found = check(question, request, known)
            if found.held is False and not found.note:
                found = replace(found, note=" ".join(known.warnings))
            yield axiom, found
        except PellucidError as error:
            yield axiom, Found(None, None, str(error))
