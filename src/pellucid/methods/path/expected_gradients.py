"""Expected Gradients, and the mean gradient between images and references that GradientSHAP shares."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.methods.definition import Axiom, Passes
from pellucid.methods.finding import Finding
from pellucid.methods.path.integrated_gradients import NO_PATH
from pellucid.methods.path.pairs import Drawn, draw_pairs, even, mean_of_draws
from pellucid.methods.path.references import References, references_of
from pellucid.methods.registry import method
from pellucid.methods.wrappers import FIRST, MOST
from pellucid.options.types import Samples, Tolerance
from pellucid.probe import Probe
from pellucid.probe.noise import drawn, sigma_of

PROMISES: tuple[Axiom, ...] = ("dummy", "implementation invariance", "linearity")
"""What every draw has. Completeness holds in expectation, and symmetry as far as the references have it."""

_PLAN = 1 << 41  # a draw of its own, apart from those of noise and baselines

Plan = Callable[[int, int, torch.Generator], tuple[Int[Tensor, " K"], Float[Tensor, " K"]]]
"""Draws K references out of R, by number, and for each how much of the image is mixed in: (R, K, source)."""


def passes(options: Mapping[str, Any]) -> Passes:
    """Those of the draws, and a score of every reference that is drawn."""
    samples = MOST if options["samples"] == "auto" else even(options["samples"])
    references = 0 if options["references"] is None else len(options["references"])
    return Passes(samples + min(samples, references), samples)


@method(
    "expected-gradients",
    paper="Erion et al. 2021, arXiv:1906.10670",
    passes=passes,
    reads="perturbed inputs",
    promises=PROMISES,
    random=True,
    quick={"samples": 4, "references": "zero,mean,blur"},
)
def expected_gradients(
    probe: Probe, *, references: References = None, samples: Samples = 200, tolerance: Tolerance = 0.1
) -> Finding:
    r"""E[(x - r) * dS/dx(r + a (x - r))] over references r and a ~ U(0, 1): mean integrated gradients.

    Integrated gradients averaged over a background of your own pictures instead of one arbitrary
    baseline, by random points on random lines.

    Formula:
        M = \mathbb{E}_{r,\, a}\Big[(x - r) \odot \frac{\partial S}{\partial x}\big(r + a (x -
        r)\big)\Big]

        $r$: a reference, drawn from the background.
        $a$: where on the line, uniform between 0 and 1.
        $\odot$: the product entry by entry.
        $M$: the map.

    Args:
        probe: the evidence.
        references: where there is no evidence, on average: pictures of one's own, the paper's a hundred or
            more of the training data; a folder of them, a tensor (R, C, H, W), or names of baselines.
        samples: gradients, each for one reference and one a; an odd number is made even; "auto" to draw until
            the map has converged, up to 1000.
        tolerance: see `Tolerance`.

    Returns:
        (N, C, H, W), signed, with its standard error. `delta` compares its sum with S(x) minus the mean
        score of the references drawn; `details` tells its standard error, `delta_stderr`, as the map is
        complete in expectation only, and the `samples`.

    Raises:
        InvalidValue: no references, or of another size; fewer than one sample; a tolerance outside (0, 1).

    Cost:
        samples forward and backward, 1 forward of the image itself and of each reference drawn.

    Source:
        the paper's expectation. Here references and a are stratified, see `stratified`, which leaves less to
        chance: on a photograph with 5 references the variance of 40 samples was half that of independent
        draws, and of 120 samples a fifth.

    Strengths:
        The question is meaningful: what sets this picture apart from those?
        Draws are stratified: on a photograph the variance of 120 samples was a fifth of that of
            independent ones.

    Weaknesses:
        Complete in expectation only; `details` tells the standard error of the sum.
        Needs references, and another background is another question.

    Pitfalls:
        Evenly spaced points in place of random ones are not the estimator, and not free of bias with
            both ends included.

    See Also:
        gradient-shap, integrated-gradients, deep-shap

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> e = pellucid.explain(net, x, "expected-gradients", target=1, references="zero", samples=4)
        >>> torch.allclose(e.raw, w * x, atol=1e-5)
        True
    """
    return mean_gradient(probe, references, stratified, samples=samples, tolerance=tolerance)


def stratified(references: int, samples: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pairs of draws in strata: the line from each reference is cut into as many equal parts as have a pair.

    Where there are more references than pairs, or some pairs are left over, every draw has a reference of
    its own, and the pairs share out the line among them.

    Example:
        >>> which, a = stratified(2, 8, torch.Generator().manual_seed(0))
        >>> which.tolist(), (a * 2).floor().tolist()
        ([0, 0, 1, 1, 0, 0, 1, 1], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    """
    rounds = samples // 2 // references
    full = 2 * rounds * references
    pair = torch.arange(samples, dtype=torch.long, device="cpu") // 2
    shuffles = 1 + (samples - full) // references
    shuffled = torch.cat(
        [
            torch.randperm(references, generator=source, dtype=torch.long, device="cpu")
            for _ in range(shuffles)
        ]
    )
    which = torch.cat([pair[:full] % references, shuffled[: samples - full]])
    part = torch.cat([pair[:full] // references, pair[: samples - full]])
    parts = torch.tensor(
        [max(rounds, 1)] * full + [(samples - full) // 2] * (samples - full), dtype=torch.long, device="cpu"
    )
    return which, (part + torch.rand(samples, generator=source, dtype=torch.float32, device="cpu")) / parts


def mean_gradient(
    probe: Probe, spec: Any, plan: Plan, *, samples: int | str, tolerance: float, noise: float = 0.0
) -> Finding:
    """The mean of (x + e - r) * dS/dx(r + a (x + e - r)) over draws of r and a by a plan, and of noise e.

    e ~ N(0, (noise * (max x - min x))^2) is of each draw, and the same for all images.
    """
    sigma = sigma_of(probe.inputs, noise)
    x, references = probe.inputs, references_of(probe, spec)
    references = references.expand(len(x), *references.shape[1:])
    probe.note(NO_PATH, torch.stack([(x == r).flatten(1).all(1) for r in references.unbind(1)]).all(0))
    known = x.new_full(references.shape[:2], torch.nan)  # the references' scores, of those drawn so far

    def draw(some: Probe, images: slice, first: int, last: int) -> Drawn:
        which, mixed = plan(references.shape[1], last - first, some.generator(_PLAN + first))
        wanted = which.unique()
        wanted = wanted[known[images][:, wanted].isnan().any(0).cpu()]

        def scores(start: int, stop: int) -> tuple[Tensor]:
            numbers = wanted[start:stop]
            copies = references[images][:, numbers].flatten(0, 1)
            return (some.perturbed(copies).score.unflatten(0, (-1, len(numbers))).to(known),)

        if len(wanted):
            (known[images, wanted],) = some.concat_over(len(wanted), scores, dim=1)

        def evaluate(start: int, stop: int) -> tuple[Tensor, Tensor]:
            chosen = which[start:stop]
            r = references[images][:, chosen]  # (N, B, C, H, W)
            ends = some.inputs[:, None].expand_as(r)
            if noise:
                ends = ends + sigma[images][:, None] * drawn(some, range(first + start, first + stop))
            points = torch.lerp(r, ends, mixed[start:stop, None, None, None].to(x))
            gradients = some.perturbed(points.flatten(0, 1)).input_gradient().view_as(points)
            maps = (ends - r) * gradients
            change = probe.score[images, None] - known[images][:, chosen]
            return maps, maps.sum((2, 3, 4)) - change

        return draw_pairs(some, last - first, evaluate)

    return mean_of_draws(probe, draw, samples=samples, tolerance=tolerance, first=FIRST, most=MOST)
