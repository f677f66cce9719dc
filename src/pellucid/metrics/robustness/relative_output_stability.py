"""Relative output stability: how much a map changes beside the model's output."""

from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import Explain, MetricPasses
from pellucid.metrics.neighbours import norms, relative_stability
from pellucid.metrics.options import Count, Positive
from pellucid.metrics.registry import metric
from pellucid.probe import Probe


@metric(
    "relative-output-stability",
    paper="Agarwal et al. 2022, arXiv:2203.06877",
    higher_is_better=False,
    range=(0.0, float("inf")),
    passes=lambda options, size: MetricPasses(explanations=options["samples"]),
    quick={"samples": 3},
)
def relative_output_stability(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    explain: Explain,
    *,
    samples: Count = 10,
    radius: Positive = 0.02,
) -> Float[Tensor, " N"]:
    r"""max_e |(A(x) - A(x + e)) / A(x)| / max(|h(x) - h(x + e)|, 1e-6), e uniform in |e_i| <= r.

    How much does the map change for how much the model's outputs do? A map may follow a model that is
    not steady.

    Only neighbours that the model takes for the same class count, and the class that is explained stays
    the one of x. Where an element is below a millionth of the largest, that stands in the denominator.

    Formula:
        \max_{\lVert e \rVert_\infty \le r} \frac{\big\lVert \frac{A(x) - A(x + e)}{A(x)}
        \big\rVert}{\max\big(\lVert h(x) - h(x + e) \rVert, \epsilon\big)}

        $A$: the map of an input; divided value by value.
        $\lVert \cdot \rVert$: the length of all values, in L2.
        $e$: a change of the input, uniform in the cube of half the side r, by which the class stays.
        $r$: `radius`, as a share of the image's range.
        $\epsilon$: a millionth, in place of a denominator that is smaller.
        $h$: the model's outputs for all classes.

    Args:
        probe: the evidence.
        attribution: the maps, by the method itself.
        explain: the method that made them.
        samples: neighbours, with the same noise for every image and map.
        radius: of the cube, as a share of each image's range.

    Returns:
        (N,); a map of zeros, or a picture all of whose neighbours are of other classes, has no value.

    Cost:
        samples explanations; for methods that score only perturbed inputs, samples forward more.

    Source:
        relative output stability, as defined there.

    Strengths:
        Does not blame the map for what the model does.

    Weaknesses:
        It cannot tell whether the map is right. Its value is made by the few pixels whose evidence is
            next to 0, where any change is a large relative one, and lies orders of magnitude apart from
            map to map: compare its logarithm.

    See Also:
        relative-input-stability, relative-representation-stability

    Example:
        >>> import torch
        >>> from pellucid import explain
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> map = explain(net, x, "saliency").attribution
        >>> measure(net, x, map, "relative-output-stability", method="saliency").value  # a linear gradient
        tensor([0.], dtype=torch.float64)
    """
    outputs = probe.class_values.double()

    def change(seen: Probe, near: Tensor) -> Tensor:
        return norms(seen.class_values.double().unflatten(0, near.shape[:2]) - outputs[:, None])

    return relative_stability(
        "relative-output-stability", probe, attribution, explain, change, samples=samples, radius=radius
    )
