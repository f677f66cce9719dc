"""Average sensitivity: by how much a map changes where the input hardly does."""

from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import Explain, MetricPasses
from pellucid.metrics.neighbours import map_changes, relative_to_norm
from pellucid.metrics.options import Count, Positive
from pellucid.metrics.registry import metric
from pellucid.probe import Probe


@metric(
    "avg-sensitivity",
    paper="Yeh et al. 2019, arXiv:1901.09392",
    higher_is_better=False,
    range=(0.0, float("inf")),
    passes=lambda options, size: MetricPasses(explanations=options["samples"]),
    quick={"samples": 3},
)
def avg_sensitivity(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    explain: Explain,
    *,
    samples: Count = 10,
    radius: Positive = 0.02,
) -> Float[Tensor, " N"]:
    r"""mean_e |A(x + e) - A(x)| / |A(x)|, e uniform in the cube |e_i| <= r: the mean change.

    Change the picture by next to nothing: how much does the map change, on average?

    The class that is explained stays the one of x. Methods that draw numbers draw the same ones for all
    maps.

    Formula:
        \mathbb{E}_{\lVert e \rVert_\infty \le r} \frac{\lVert A(x + e) - A(x) \rVert}{\lVert A(x)
        \rVert}

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

    Returns:
        (N,); a map of zeros has no value.

    Cost:
        samples explanations.

    Source:
        definition 3.1, with the mean in place of the maximum; divided by |A(x)|, as captum's is, so that the
        map's scale does not matter. captum's radius is in units of the input.

    Strengths:
        A mean: steadier than the maximum over few draws.

    Weaknesses:
        It cannot tell whether the map is right: a map that never changes has 0. A map follows its
            model, so what is not robust may be the model.

    See Also:
        max-sensitivity, local-lipschitz

    Example:
        >>> import torch
        >>> from pellucid import explain
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> map = explain(net, x, "saliency").attribution
        >>> measure(net, x, map, "avg-sensitivity", method="saliency").value  # a linear model's gradient
        tensor([0.], dtype=torch.float64)
    """
    moved = map_changes(probe, attribution, explain, samples=samples, radius=radius)
    return relative_to_norm("avg-sensitivity", probe, attribution, moved.mean(1))
