"""Integrated Gradients, and the integral along a straight line that its kin share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.engine.paths import Node, Quadrature, refine, rule
from pellucid.errors import InvalidValue
from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding
from pellucid.methods.registry import method
from pellucid.options.parts import Baseline
from pellucid.options.types import Steps
from pellucid.probe import Probe, of_each

USUAL, MOST = 64, 512
"""What steps="auto" takes on photographs as a rule, and where it gives up."""
TOLERATED = 0.05
"""A larger completeness error is noted: the paper takes as many steps as bring it below."""
NO_PATH = "The baseline is the image itself: there is no path between them, and the map is zero."


@dataclass(frozen=True)
class Line:
    """What the gradients along straight lines to the images add up to.

    Attributes:
        map: (x - x') times the mean gradient.
        delta: the map's sum minus the change of the score.
        change: of the score, from x' to x.
        steps: gradients taken of each image.
    """

    map: Float[Tensor, "N C H W"]
    delta: Float[Tensor, " N"]
    change: Float[Tensor, " N"]
    steps: Int[Tensor, " N"]


def passes(options: Mapping[str, Any]) -> Passes:
    """Of one line: its gradients, the score at its start and the score of the image; of "auto" the usual."""
    steps = USUAL if options["steps"] == "auto" else options["steps"]
    return Passes(steps + 1, steps)


@method(
    "integrated-gradients",
    paper="Sundararajan et al. 2017, arXiv:1703.01365",
    passes=passes,
    reads="perturbed inputs",
    promises=("completeness", "sensitivity", "dummy", "implementation invariance", "linearity", "symmetry"),
    quick={"steps": 4},
)
def integrated_gradients(
    probe: Probe,
    *,
    baseline: Baseline = "zero",
    steps: Steps = "auto",
    quadrature: Quadrature = "gauss-legendre",
    tolerance: float = 0.01,
) -> Finding:
    r"""(x - x') * integral of dS/dx(x' + t (x - x')) over t from 0 to 1: sums to S(x) - S(x').

    Go from a baseline to the picture in a straight line, and add up for each pixel what the score gains
    while that pixel changes. Together the pixels get the whole difference of the two scores.

    Formula:
        M = (x - x') \odot \int_0^1 \frac{\partial S}{\partial x}\big(x' + t (x - x')\big)\,
        \mathrm{d}t, \qquad
        \sum_i M_i = S(x) - S(x')

        $t$: where on the line.
        $\odot$: the product entry by entry.
        $M$: the map.

    Args:
        probe: the evidence.
        baseline: x', where there is no evidence: "zero" in the model's input space is the mean colour for
            most models, "black" the paper's.
        steps: gradients along the line; "auto" takes them where the score changes, as many as bring the
            completeness error below `tolerance`, up to 512.
        quadrature: how the gradients are placed and weighted, unless steps="auto".
        tolerance: of "auto": the completeness error allowed, as a share of S(x) - S(x').

    Returns:
        (N, C, H, W), signed, in units of the score; `delta` is the completeness error, and `details` tells
        the `steps` taken.

    Raises:
        InvalidValue: too few steps, a tolerance outside (0, 1), a baseline that does not fit.

    Cost:
        steps forward and backward, 1 forward of the image and 1 of the baseline; of "auto" some 60 steps on
        photographs, at most 512.

    Source:
        eq. 1; the paper's approximation (eq. 3) is quadrature="right". "auto" halves the parts of the line
        whose gradients do not add up to the score's change over them: see `engine.paths.refine`.

    Strengths:
        Complete: the map sums to the difference of the scores, with signs.
        Each part of the line knows its own error: steps go where it is large, to 1 % with 61 to 77
            steps where 200 fixed ones miss by up to 5 % (benchmarks/results/completeness.md).
        Sensitive, and blind to unused pixels, as its theory promises.

    Weaknesses:
        The baseline is part of the question: a pixel as in the baseline gets nothing, so black things
            get nothing on black.
        Speckled, as all sums of gradients.

    Pitfalls:
        Black is not 0 in a normalised input: 0 is the mean colour. `baseline="black"` says which is
            meant.
        captum's trapezoid rule leaves out a part of the line, so its sum is 1 - 1/n of what it should
            be (a test shows it).
        With probabilities for scores the gradient is vanishing over most of the line: most steps are
            wasted there.
        Averaging squares over noise, a common recipe, ends both completeness and signs.

    See Also:
        blur-ig, guided-ig, expected-gradients, deep-lift, completeness

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> e = pellucid.explain(net, x, "integrated-gradients", target=1, steps=4)
        >>> torch.allclose(e.raw, w * x, atol=1e-5)
        True
    """
    start = probe.baseline(baseline)
    line = straight(probe, start, steps=steps, quadrature=quadrature, tolerance=tolerance)
    warn_if_incomplete(probe, line.delta, line.change, "Take more steps, or steps='auto'.")
    return Finding(line.map, delta=line.delta, details={"steps": line.steps})


def straight(
    probe: Probe,
    start: Float[Tensor, "N C H W"],
    *,
    steps: int | str,
    quadrature: Quadrature = "gauss-legendre",
    tolerance: float = 0.01,
) -> Line:
    """The integral of the gradient along the straight lines from `start` to the images."""
    if not 0 < tolerance < 1:
        raise InvalidValue(f"tolerance must be between 0 and 1; got {tolerance}.")
    probe.note(NO_PATH, (probe.inputs == start).flatten(1).all(1))
    if not isinstance(steps, int):
        lines = of_each(probe, lambda one, i: _converged(one, start[i : i + 1], tolerance))
        parts = zip(*((line.map, line.delta, line.change, line.steps) for line in lines), strict=True)
        return Line(*(torch.cat(part) for part in parts))
    x = probe.inputs
    nodes, weights = (values.to(x) for values in rule(quadrature, steps))

    def gradients(first: int, last: int) -> Tensor:
        points = torch.lerp(start[:, None], x[:, None], nodes[first:last, None, None, None])
        found = probe.perturbed(points.flatten(0, 1)).input_gradient().view_as(points)
        return torch.einsum("b,nbchw->nchw", weights[first:last], found)

    mean = probe.sum_over(steps, gradients)
    change = probe.score - probe.perturbed(start).score
    total = (x - start) * mean
    delta = total.sum((1, 2, 3)) - change
    return Line(total, delta, change, torch.full((len(x),), steps, dtype=torch.long, device="cpu"))


def _converged(probe: Probe, start: Float[Tensor, "1 C H W"], tolerance: float) -> Line:
    """The line of a single image, with gradients where they are needed."""
    way = probe.inputs - start

    def evaluate(times: Sequence[float]) -> list[Node]:
        def nodes(first: int, last: int) -> list[Node]:
            at = way.new_tensor(times[first:last])[:, None, None, None]
            seen = probe.perturbed(torch.lerp(start, probe.inputs, at))
            gradients = seen.input_gradient()
            slopes = (gradients * way).sum((1, 2, 3), dtype=torch.float64).tolist()
            rows = zip(times[first:last], seen.score.tolist(), slopes, gradients, strict=True)
            return [Node(*each) for each in rows]

        return probe.sum_over(len(times), nodes)

    found = refine(evaluate, tolerance=tolerance, most=MOST)
    total = way * found.gradient
    change = way.new_tensor([found.change])
    delta = total.sum((1, 2, 3)) - change
    if found.error > tolerance:
        probe.note(f"After {found.steps} steps the map is not known to be complete to {tolerance:.1%}.")
    return Line(total, delta, change, torch.tensor([found.steps], dtype=torch.long, device="cpu"))


def warn_if_incomplete(
    probe: Probe,
    delta: Float[Tensor, " N"],
    change: Float[Tensor, " N"],
    advice: str = "Take more steps.",
    *,
    tolerated: float = TOLERATED,
) -> None:
    """Notes a completeness error above 5 % of the score's change, or another share.

    Raises:
        InvalidValue: an error that is not finite.
    """
    probe.refuse_nonfinite("The map's sum", delta[:, None])
    for image, (missed, whole) in enumerate(zip(delta.tolist(), change.tolist(), strict=True)):
        if abs(missed) > tolerated * abs(whole):
            probe.note(
                f"The map is not complete: it sums to {whole + missed:.3g}, where the score changes by "
                f"{whole:.3g} from the baseline to the image. {advice}",
                torch.arange(len(delta), dtype=torch.long, device="cpu") == image,
            )
