"""Integrated Gradients from uniform noise, averaged over several draws of it."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.paths import Quadrature
from pellucid.errors import ModelError
from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding
from pellucid.methods.path.integrated_gradients import NO_PATH, USUAL, passes, straight, warn_if_incomplete
from pellucid.methods.path.pairs import Drawn, draw_pairs, even, mean_of_draws
from pellucid.methods.registry import method
from pellucid.options.types import Samples, Steps, Tolerance
from pellucid.probe import Probe

FIRST, MOST = 10, 100
"""Baselines after which "auto" asks for the first time whether a map has converged, and where it gives up."""


def _passes(options: Mapping[str, Any]) -> Passes:
    baselines = MOST if options["samples"] == "auto" else even(options["samples"])
    forward, backward, *_ = _line(options)
    return Passes(baselines * forward, baselines * backward)


def _line(options: Mapping[str, Any]) -> Passes:
    """Those of one baseline, to which the score of the image is asked for anew."""
    forward, backward, *_ = passes(options)
    return Passes(forward + 1, backward)


@method(
    "random-baseline-ig",
    paper="Sturmfels et al. 2020, doi:10.23915/distill.00022",
    passes=_passes,
    reads="perturbed inputs",
    promises=("completeness", "dummy", "implementation invariance", "linearity", "symmetry"),
    random=True,
    quick={"samples": 2, "steps": 3},
)
def random_baseline_ig(
    probe: Probe,
    *,
    samples: Samples = 10,
    steps: Steps = "auto",
    quadrature: Quadrature = "gauss-legendre",
    tolerance: Tolerance = 0.1,
) -> Finding:
    r"""The mean of integrated gradients from baselines of uniform noise: sums to S(x) minus their mean score.

    Integrated gradients averaged over baselines of noise, so that no single colour counts as nothing.

    Each value of a baseline is drawn between those of black and of white in its channel; for a model
    that does not say how pixels become inputs, between the image's own smallest and largest value. All
    images share the draws.

    Formula:
        M = \frac{1}{N} \sum_{n=1}^N (x - r_n) \odot \int_0^1 \frac{\partial S}{\partial x}\big(r_n + t
        (x - r_n)\big)\, \mathrm{d}t

        $r_n$: baseline $n$ of $N$: uniform noise between black and white.
        $t$: where on the line.
        $\odot$: the product entry by entry.
        $M$: the map.

    Args:
        probe: the evidence.
        samples: baselines; an odd number is made even; "auto" to draw until the map has converged, up to 100.
        steps: gradients along the line from each baseline, as integrated-gradients takes them; "auto" for as
            many as bring the completeness error below a hundredth.
        quadrature: how the gradients are placed and weighted, unless steps="auto".
        tolerance: see `Tolerance`.

    Returns:
        (N, C, H, W), signed, with its standard error over the baselines; `delta` is the completeness error,
        and `details` tells its standard error, `delta_stderr`, and the `samples`.

    Raises:
        InvalidValue: fewer than one sample, too few steps, a tolerance outside (0, 1).

    Cost:
        samples * steps forward and backward, 2 samples + 1 forward; of "auto" some 60 steps on photographs.

    Source:
        the article's uniform baseline, averaged over several draws. 10 draws are those of the widespread
        PyTorch implementation by TianhongDai, which takes left sums of 50 gradients of probabilities. They
        are too few: on a photograph of a cat its standard error was about as large.

    Strengths:
        No colour is blind.
        With a standard error over the baselines.

    Weaknesses:
        Ten draws are too few: on a photograph the standard error was about as large as the map.
        Noise is no picture: what the model says of it means little.

    Pitfalls:
        A widespread implementation takes left sums of 50 gradients of probabilities.

    See Also:
        integrated-gradients, expected-gradients, smooth-grad

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> e = pellucid.explain(net, x, "random-baseline-ig", samples=2, steps=3)
        >>> e.raw.shape
        torch.Size([1, 3, 4, 4])
    """
    black, white = value_range(probe)
    probe.note(NO_PATH, (black == white).flatten(1).all(1))
    low, high = black[:, None], white[:, None]

    def draw(some: Probe, images: slice, first: int, last: int) -> Drawn:
        x = some.inputs[:, None]

        def evaluate(start: int, stop: int) -> tuple[Tensor, Tensor]:
            numbers = range(first + start, first + stop)
            drawn = [
                torch.rand(x.shape[2:], generator=some.generator(number), dtype=torch.float32, device="cpu")
                for number in numbers
            ]
            starts = torch.lerp(low[images], high[images], torch.stack(drawn).to(x))  # (N, B, C, H, W)
            copies = some.perturbed(x.expand_as(starts).flatten(0, 1))
            line = straight(copies, starts.flatten(0, 1), steps=steps, quadrature=quadrature)
            return line.map.view_as(starts), line.delta.view(starts.shape[:2])

        # As many lines together as fill a chunk with their steps.
        gradients = steps if isinstance(steps, int) else USUAL
        return draw_pairs(some, last - first, evaluate, size=gradients)

    found = mean_of_draws(probe, draw, samples=samples, tolerance=tolerance, first=FIRST, most=MOST)
    if found.delta is not None:
        warn_if_incomplete(probe, found.delta, found.map.sum((1, 2, 3)) - found.delta)
    return found


def value_range(probe: Probe) -> tuple[Float[Tensor, "N C H W"], Float[Tensor, "N C H W"]]:
    """The input values of black and of white; each image's smallest and largest if the model does not say."""
    try:
        return probe.baseline("black"), probe.baseline("white")
    except ModelError:
        return extremes(probe.inputs)


def extremes(x: Float[Tensor, "N C H W"]) -> tuple[Float[Tensor, "N C H W"], Float[Tensor, "N C H W"]]:
    """Each image's smallest and largest value, everywhere."""
    return x.amin((1, 2, 3), keepdim=True).expand_as(x), x.amax((1, 2, 3), keepdim=True).expand_as(x)
