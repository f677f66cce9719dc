"""The local Lipschitz estimate: how steeply a map changes with its input."""

from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import Explain, MetricPasses
from pellucid.metrics.neighbours import distances, norms, over_neighbours, relative_to_norm
from pellucid.metrics.options import Count, Positive
from pellucid.metrics.registry import metric
from pellucid.probe import Probe


@metric(
    "local-lipschitz",
    paper="Alvarez-Melis and Jaakkola 2018, arXiv:1806.08049",
    higher_is_better=False,
    range=(0.0, float("inf")),
    passes=lambda options, size: MetricPasses(explanations=options["samples"]),
    quick={"samples": 3},
)
def local_lipschitz(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    explain: Explain,
    *,
    samples: Count = 10,
    radius: Positive = 0.02,
    normalised: bool = True,
) -> Float[Tensor, " N"]:
    r"""max_e |A(x + e) - A(x)| / |e|, e uniform in the cube |e_i| <= r: the steepest change of the map.

    How steeply does the map change around the picture, for its worst neighbour?

    The class that is explained stays the one of x. Methods that draw numbers draw the same ones for all
    maps.

    Formula:
        \max_{\lVert e \rVert_\infty \le r} \frac{\lVert A(x + e) - A(x) \rVert}{\lVert e \rVert}

        $A$: the map of an input.
        $\lVert \cdot \rVert$: the length of all values, in L2.
        $e$: a change of the input, uniform in the cube of half the side r.
        $r$: `radius`, as a share of the image's range.

    Args:
        probe: the evidence.
        attribution: the maps, by the method itself.
        explain: the method that made them.
        samples: neighbours, with the same noise for every image and map.
        radius: of the cube, as a share of each image's range.
        normalised: whether the map is divided by |A(x)| first, so that its scale does not matter (paper: no).

    Returns:
        (N,), per unit of the input; normalised, a map of zeros has no value.

    Cost:
        samples explanations.

    Source:
        equation 2, with random neighbours in place of a search.

    Strengths:
        Divides by the change: neighbours at any distance compare.

    Weaknesses:
        It cannot tell whether the map is right: a map that never changes has 0. The largest of a few
            random directions is far below the true maximum in so many dimensions.

    See Also:
        max-sensitivity, avg-sensitivity

    Example:
        >>> import torch
        >>> from pellucid import explain
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> map = explain(net, x, "saliency").attribution
        >>> measure(net, x, map, "local-lipschitz", method="saliency").value  # a linear model's gradient
        tensor([0.], dtype=torch.float64)
    """
    x = probe.inputs[:, None].double()

    def judge(seen: Probe, near: Tensor, maps: Tensor) -> tuple[Tensor, ...]:
        away = norms(near.double() - x)
        return (distances(attribution, maps) / away.where(away > 0, 1.0),)  # a black image has no neighbours

    (slopes,) = over_neighbours(probe, attribution, explain, judge, samples=samples, radius=radius)
    value = slopes.amax(1)
    return relative_to_norm("local-lipschitz", probe, attribution, value) if normalised else value
