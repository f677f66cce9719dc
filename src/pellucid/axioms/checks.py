"""The axioms, each as a check of the maps that a method gives.

None needs to know the architecture: something is put around the model, or the model is written another way,
the picture is explained again, and maps are compared. The error is |m - m'| / max(|m|, |m'|) in L2 over the
pixels, m' being the map that the axiom asks for.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pellucid.axioms.question import Question, by_name, changed
from pellucid.axioms.rewriting import REWRITINGS
from pellucid.errors import InvalidValue, PellucidError
from pellucid.explanation import Explanation
from pellucid.methods.definition import Axiom
from pellucid.options.parts import SEGMENT_MEAN
from pellucid.outputs import Reading
from pellucid.request import Request
from pellucid.target import Output, resolve

TOLERANCE = 0.01
"""The relative error up to which an axiom holds. Rounding alone brings up to half of it in float32: where the
input of a ReLU is rounded across zero, a gradient jumps."""
ERRORS = 2.0
"""Of a sampled map, the standard errors up to which it holds."""
MAX_SAMPLING_ERROR = 0.5
"""Samples whose error is a larger share of the map cannot tell whether it holds."""
NONZERO = 1e-6
"""The least share of a map's norm that counts as evidence."""
MIXED = 0.75, -0.5
"""a and b of the scores a S_c + b S_d that linearity is checked with."""


@dataclass(frozen=True)
class Found:
    """Whether an axiom holds (None: it cannot be told), the relative error, and what to know of it."""

    held: bool | None
    error: float | None = None
    note: str = ""


def completeness(question: Question, request: Request, known: Explanation) -> Found:
    """The map sums to S(x) - S(x'), of which the error is a share; of segments, their coefficients do.

    Where the method does not say by how much its sum misses, x' is its baseline, or zero if it has none.
    """
    parts = known.details["coefficients"][0] if known.segmented else known.raw
    total, notes = float(parts.double().sum()), []
    if known.delta is not None:
        difference = total - float(known.delta[0])
    else:
        start = float(question.scores(question.baseline(request), question.explains(request)))
        difference = float(known.score[0]) - start
        if "baseline" not in request.options:
            notes.append("It is compared with the score of a zero input.")
    if difference == 0:
        return Found(None, None, "The score does not differ from the baseline's.")
    error = abs(total - difference) / abs(difference)
    if error > TOLERANCE:
        notes += [f"More {name} come closer." for name in ("steps", "samples") if name in request.options]
    return Found(error <= TOLERANCE, error, " ".join(notes))


def sensitivity(question: Question, request: Request, known: Explanation) -> Found:
    """Where alone an image differs from the baseline, so that its score does too, there is evidence."""
    baseline, place = question.baseline(request), question.place
    again = with_place_as_segment(question, request)
    if "baseline" in request.options:
        again = changed(again, baseline=baseline)
    one = question.about(torch.where(place, question.inputs, baseline)).explain(again)
    start = float(question.scores(baseline, question.explains(request)))
    if abs(float(one.score[0]) - start) <= NONZERO * abs(start):
        return Found(None, None, "No one place changes the baseline's score.")
    share, error = share_of(one, place)
    if NONZERO < share <= ERRORS * error:
        return Found(None, None, "Its standard error is too large to tell.")
    return Found(share > NONZERO, None, f"{share:.0%} of the map lies where it differs.")


def dummy(question: Question, request: Request, known: Explanation) -> Found:
    """A place that the model ignores has no evidence: the error is its share of the map's norm.

    The model sees the picture's own content there whatever its input shows, so the prediction stays.
    """
    blind = Ignoring(question.model.module, question.place, question.inputs)
    again = with_place_as_segment(question, by_name(question.model, request, "net."))
    return within_tolerance(*share_of(question.around(blind).explain(again), question.place))


def implementation_invariance(question: Question, request: Request, known: Explanation) -> Found:
    """The same network written another way has the same map: the largest error over all ways.

    What another way of writing changes by rounding alone may decide a method's steps. A map that differs is
    asked for again in float64, whose verdict counts where the model can be run in it.
    """
    found = over_rewritings(question, request, known)
    if found.held is not False or question.inputs.dtype == torch.float64:
        return found
    try:
        precise, again = question.in_float64(), by_name(question.model, request)
        exact = over_rewritings(precise, again, precise.explain(again))
    except PellucidError:
        return found
    said = f"In float64; in float32 the maps differ by {found.error:.0%}."
    return replace(exact, note=f"{said} {exact.note}".strip())


def over_rewritings(question: Question, request: Request, known: Explanation) -> Found:
    """The largest error over all ways of writing the network."""
    again = by_name(question.model, request)
    errors: dict[str, float] = {}
    notes = []
    for way, rewriting in REWRITINGS.items():
        try:
            other = question.rewritten(rewriting)
        except PellucidError as error:
            notes.append(f"{way}: {error}")
        else:
            errors[way] = distance(known.attribution, other.explain(again).attribution)
    if not errors:
        return Found(None, None, " ".join(notes))
    worst = max(errors, key=lambda way: errors[way])
    if errors[worst] > TOLERANCE:
        notes.insert(0, f"{worst}: the map differs most.")
    return within_tolerance(errors[worst], note=" ".join(notes))


def linearity(question: Question, request: Request, known: Explanation) -> Found:
    """The map of a S_c + b S_d is a times that of S_c plus b times that of S_d."""
    a, b = MIXED
    other = replace(question, target=question.other).explain(request).attribution
    mixed = replace(question, target=mixture(question, question.explains(request))).explain(request)
    return within_tolerance(distance(mixed.attribution, a * known.attribution + b * other))


def symmetry(question: Question, request: Request, known: Explanation) -> Found:
    """A picture and a model that are the same in a mirror have a map that is; as f(x) + f(mirrored x) is."""
    if request.method.reads == "layers":
        return Found(
            None, None, "It reads one of two runs of its layer, which are each other's mirror image."
        )
    both = question.around(Mirrored(question.model.module, question.reading), scores=True)
    one = both.about((question.inputs + question.inputs.flip(-1)) / 2).explain(mirrored(question, request))
    error = 0.0 if one.stderr is None else 2**0.5 * norm(one.stderr) / max(norm(one.attribution), NONZERO)
    return within_tolerance(distance(one.attribution, one.attribution.flip(-1)), error)


Check = Callable[[Question, Request, Explanation], Found]
CHECKS: dict[Axiom, Check] = {
    "completeness": completeness,
    "sensitivity": sensitivity,
    "dummy": dummy,
    "implementation invariance": implementation_invariance,
    "linearity": linearity,
    "symmetry": symmetry,
}
"""Each is given the question, the method and its map of the unchanged model; it may raise a PellucidError."""


# --- models and methods made for a check --------------------------------------------------------------------


class Ignoring(nn.Module):
    """A model that sees the same content in one place whatever its input shows there."""

    def __init__(self, net: Any, place: Bool[Tensor, "H W"], content: Float[Tensor, "1 C H W"]) -> None:
        super().__init__()
        self.net, self.place, self.content = net, place, content

    def forward(self, x: Tensor) -> Any:
        """What the model gives for x with that content."""
        return self.net(torch.where(self.place, self.content, x))


class Mirrored(nn.Module):
    """The mean of a model's outputs for its input and for the mirror image."""

    def __init__(self, net: Any, reading: Reading) -> None:
        super().__init__()
        self.net, self.reading = net, reading

    def forward(self, x: Tensor) -> Tensor:
        """(f(x) + f(mirrored x)) / 2."""
        mirror = x.flip(-1)  # first: a model may normalise its input in place
        one, other = (self.reading.outputs(self.net(seen), len(x)) for seen in (x, mirror))
        return (one + other) / 2


def mixture(question: Question, output: Output) -> Callable[[Any], Tensor]:
    """The score a S_c + b S_d of a raw output."""

    def score(raw: Any) -> Tensor:
        reading = question.reading
        outputs = reading.outputs(raw, None)
        alone = replace(reading, path=())
        first, second = (
            resolve(target, outputs[:1], question.model, output, reading=alone)
            .repeat(len(outputs))
            .of_outputs(outputs)
            for target in (question.target, question.other)
        )
        return MIXED[0] * first + MIXED[1] * second

    return score


def with_place_as_segment(question: Question, request: Request) -> Request:
    """A method of segments with the place that is asked about as a segment of its own."""
    labels = question.labels(request)
    if labels is None:
        return request
    return changed(request, segments=torch.where(question.place.cpu(), labels.max() + 1, labels))


def mirrored(question: Question, request: Request) -> Request:
    """A method with a baseline, and segments, that are the same in a mirror."""
    labels, baseline = question.labels(request), request.options.get("baseline", SEGMENT_MEAN)
    if labels is not None:
        half, count = labels.shape[1] // 2, int(labels.max()) + 1
        left, middle = labels[:, :half], labels[:, half : labels.shape[1] - half]
        segments = torch.cat([left, middle + 2 * count, left.flip(1) + count], 1)
        request = changed(request, segments=segments)
    if isinstance(baseline, str) and baseline == SEGMENT_MEAN:
        return request
    values = question.baseline(request)
    return changed(request, baseline=(values + values.flip(-1)) / 2)


# --- maps compared ------------------------------------------------------------------------------------------


def within_tolerance(error: float, sampled: float = 0.0, note: str = "") -> Found:
    """An error against the tolerance, and against the standard error of a sampled map."""
    if error <= TOLERANCE or error > ERRORS * sampled:
        return Found(error <= TOLERANCE, error, note)
    precise = ERRORS * sampled <= MAX_SAMPLING_ERROR
    reason = "Within its standard error." if precise else "Its standard error is too large to tell."
    return Found(True if precise else None, error, f"{note} {reason}".strip())


def norm(map: Tensor) -> float:
    """L2 over all pixels and channels."""
    return float(map.double().norm())


def distance(one: Tensor, other: Tensor) -> float:
    """|m - m'| / max(|m|, |m'|).

    Raises:
        InvalidValue: both are zero, which tells nothing.
    """
    largest = max(norm(one), norm(other))
    if largest == 0:
        raise InvalidValue("The map is zero everywhere.")
    return norm(one.double() - other.double()) / largest


def share_of(one: Explanation, place: Bool[Tensor, "H W"]) -> tuple[float, float]:
    """The share of a map's norm in one place, and that of its standard error there."""
    whole, here = norm(one.attribution), place.cpu()
    if whole == 0:
        raise InvalidValue("The map is zero everywhere.")
    error = 0.0 if one.stderr is None else norm(one.stderr[..., here]) / whole
    return norm(one.attribution[..., here]) / whole, error
