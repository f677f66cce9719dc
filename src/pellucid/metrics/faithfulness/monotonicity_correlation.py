"""Monotonicity by correlation: whether parts of more evidence matter more when they are drawn anew."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.correlation import correlation
from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.regions import region_sums
from pellucid.metrics.registry import metric
from pellucid.metrics.removal import equal_parts, part_labels, pixel_ranks, tie_breaker
from pellucid.probe import Probe, of_each

_DRAWS = 1 << 42  # draws of its own


@metric(
    "monotonicity-correlation",
    paper="Nguyen and Martínez 2020, arXiv:2007.07584",
    higher_is_better=True,
    range=(-1.0, 1.0),
    passes=lambda options, size: MetricPasses(options["steps"] * options["samples"] + 1),
    output="probability",
    quick={"steps": 6, "samples": 3},
)
def monotonicity_correlation(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    steps: Count = 28,
    samples: Count = 10,
) -> Measurement:
    r"""Spearman's correlation of |evidence| in a part and E[(f(x) - f(x with it drawn anew))^2], over parts.

    Parts of larger evidence should matter more when they are drawn anew: a rank correlation of
    magnitudes.

    The parts are the pixels in order of the magnitude of their evidence, its channels' sum, cut into
    equal parts. Each is drawn anew alone: every value uniformly between the least and the greatest that
    the image has in its channel; the mean over draws stands for the expectation.

    Formula:
        \mathrm{rank\,corr}_P\Big(\sum_{i \in P} |A_i|,\; \mathbb{E}\big[(f(x) - f(x_{P}))^2\big]\Big)

        $P$: a part of the pixels.
        $A_i$: the evidence of pixel i, its channels' sum.
        $f$: the score.
        $x_{P}$: the picture with P drawn anew.

    Args:
        probe: the evidence.
        attribution: the maps.
        steps: how many parts (paper: single features).
        samples: how often each part is drawn anew.

    Returns:
        (N,), with `evidence` and `effects` (N, steps) in the details, most evidence first.

    Cost:
        steps x samples + 1 forward.

    Source:
        section 3.3, "monotonicity", equation 8.

    Strengths:
        An expectation over values that the picture could have, in place of one fixed replacement.

    Weaknesses:
        It cannot tell evidence for a class from evidence against it, since only magnitudes count, nor
            parts that matter only together. A constant map has 0; a model to which no part matters
            gives no value.

    See Also:
        monotonicity, faithfulness-estimate

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.rand(1, 1, 8, 8), "monotonicity-correlation:steps=4,samples=2").value.shape
        torch.Size([1])
    """
    values = per_pixel(attribution).abs()
    counts = equal_parts(values[0].numel(), steps)

    def one(probe: Probe, image: int) -> Tensor:
        labels = part_labels(pixel_ranks(values[image], tie_breaker(probe)), counts)
        scores = _drawn_anew(probe, labels, steps, samples)
        effects = (scores[1:].view(steps, samples) - scores[0]).square().mean(1)
        evidence = region_sums(values[image], labels)
        found = correlation("monotonicity-correlation", evidence, effects, probe.inputs.dtype, "spearman")
        return torch.stack([found.expand(steps), evidence, effects])

    found, evidence, effects = torch.stack(of_each(probe, one)).unbind(1)
    return Measurement(found[:, 0], {"evidence": evidence, "effects": effects})


def _drawn_anew(probe: Probe, labels: Tensor, steps: int, samples: int) -> Float[Tensor, " scores"]:
    """The score of one image, and those with each part alone drawn anew, `samples` times in a row."""
    x, labels = probe.inputs, labels.to(probe.inputs.device)
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    source = probe.generator(_DRAWS)
    shape = (samples, *x.shape[1:])
    drawn = torch.rand(shape, generator=source, dtype=torch.float32, device="cpu").to(x)
    drawn = low + (high - low) * drawn

    def copies(first: int, stop: int) -> Tensor:
        number = torch.arange(first, stop, dtype=torch.long, device=x.device) - 1
        changed = labels == torch.where(number < 0, -1, number // samples)[:, None, None]
        return torch.where(changed[:, None], drawn[number % samples], x)

    return probe.score_perturbed(copies, 0, steps * samples + 1)
