"""Faithfulness correlation: whether evidence predicts by how much the score falls."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.metrics.correlation import correlation
from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.registry import metric
from pellucid.metrics.subsets import evidence_of, random_pixels, scores_without
from pellucid.options.parts import Baseline, same
from pellucid.probe import Probe, of_each


@metric(
    "faithfulness-correlation",
    paper="Bhatt et al. 2020, arXiv:2005.00631",
    higher_is_better=True,
    range=(-1.0, 1.0),
    passes=lambda options, size: MetricPasses(options["samples"]),
    quick={"size": 20, "samples": 10},
)
def faithfulness_correlation(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    size: Count = 224,
    samples: Count = 100,
    replacement: Baseline = "zero",
) -> Measurement:
    r"""corr_T (sum_{i in T} A_i, S(x) - S(x with T replaced)), over random subsets T of `size` pixels.

    If a set of pixels has twice the evidence of another, the score should fall twice as much without
    it: the correlation over random sets.

    All channels are replaced together. The correlation is Pearson's. A map that gives every subset the
    same evidence has 0.

    Formula:
        \mathrm{corr}_T\Big(\sum_{i \in T} A_i,\; S(x) - S(x_{\setminus T})\Big)

        $T$: a random set of pixels.
        $A_i$: the evidence of pixel i, its channels' sum.
        $x_{\setminus T}$: the picture with T replaced.

    Args:
        probe: the evidence.
        attribution: the maps.
        size: pixels in a subset.
        samples: subsets, the same for every image and map.
        replacement: what a pixel is replaced by.

    Returns:
        (N,), with the `evidence` (N, samples) and the `scores` (N, samples) of the subsets in the details.
        A picture whose score never changes has no value.

    Raises:
        InvalidValue: a subset of more pixels than there are.

    Cost:
        samples forward.

    Source:
        the definition of faithfulness. Quantus replaces single channels.

    Strengths:
        Uses the values of a map, with their signs, not only their order.

    Weaknesses:
        It cannot tell much from few pixels strewn over a large picture: they hardly change the score,
            and what they change is noise to the model, so right maps come close to 0 on deep networks.
            Scores are comparable only under the same size, replacement and output.

    See Also:
        sensitivity-n, mu-fidelity, intervention

    Example:
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> perfect = (x * net[1].weight[1].view(3, 8, 8)).detach()
        >>> measure(net, x, perfect, "faithfulness-correlation", size=9, target=1).value.round(decimals=4)
        tensor([1.], dtype=torch.float64)
    """
    values = per_pixel(attribution)
    if size > values[0].numel():
        raise InvalidValue(f"size must be at most the number of pixels, {values[0].numel()}; got {size}.")
    subset, end = random_pixels(probe, size), probe.baseline(replacement)
    evidence = evidence_of(values, subset, samples)

    def one(probe: Probe, image: int) -> tuple[Tensor, Tensor]:
        key = "random pixels", size, samples, same(replacement)
        scores = scores_without(probe, subset, samples, end[image : image + 1], key)
        name, precision = "faithfulness-correlation", probe.inputs.dtype
        return correlation(name, evidence[image], -scores, precision), scores

    value, scores = (torch.stack(part) for part in zip(*of_each(probe, one), strict=True))
    return Measurement(value, {"evidence": evidence, "scores": scores})
