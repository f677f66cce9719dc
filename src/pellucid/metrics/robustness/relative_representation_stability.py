"""Relative representation stability: how much a map changes beside what a layer makes of the input."""

from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import Explain, MetricPasses
from pellucid.metrics.neighbours import relative_change, relative_stability
from pellucid.metrics.options import Count, Positive
from pellucid.metrics.registry import metric
from pellucid.options.types import LayerOption
from pellucid.probe import Probe, layer_evidence


@metric(
    "relative-representation-stability",
    paper="Agarwal et al. 2022, arXiv:2203.06877",
    higher_is_better=False,
    range=(0.0, float("inf")),
    passes=lambda options, size: MetricPasses(options["samples"] + 1, explanations=options["samples"]),
    quick={"samples": 3},
)
def relative_representation_stability(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    explain: Explain,
    *,
    samples: Count = 10,
    radius: Positive = 0.02,
    layer: LayerOption = "auto",
) -> Float[Tensor, " N"]:
    r"""max_e |(A(x) - A(x + e)) / A(x)| / max(|(L(x) - L(x + e)) / L(x)|, 1e-6), e uniform in |e_i| <= r.

    How much does the map change for how much the layer's activations do?

    Only neighbours that the model takes for the same class count, and the class that is explained stays
    the one of x. Where an element is below a millionth of the largest, that stands in the denominator.

    Formula:
        \max_{\lVert e \rVert_\infty \le r} \frac{\big\lVert \frac{A(x) - A(x + e)}{A(x)}
        \big\rVert}{\max\big(\big\lVert \frac{L(x) - L(x + e)}{L(x)} \big\rVert, \epsilon\big)}

        $A$: the map of an input; divided value by value.
        $\lVert \cdot \rVert$: the length of all values, in L2.
        $e$: a change of the input, uniform in the cube of half the side r, by which the class stays.
        $r$: `radius`, as a share of the image's range.
        $\epsilon$: a millionth, in place of a denominator that is smaller.
        $L$: the layer's activations, divided value by value.

    Args:
        probe: the evidence.
        attribution: the maps, by the method itself.
        explain: the method that made them.
        samples: neighbours, with the same noise for every image and map.
        radius: of the cube, as a share of each image's range.
        layer: whose activations: "auto" for the last feature maps, a dotted name, or a module.

    Returns:
        (N,); a map of zeros, or a picture all of whose neighbours are of other classes, has no value.

    Cost:
        samples + 1 forward, and samples explanations; less where the method reads the same layer.

    Source:
        relative representation stability, as defined there.

    Strengths:
        Looks inside: a map may follow a layer that is not steady.

    Weaknesses:
        It cannot tell whether the map is right. Its value is made by the few pixels and activations
            that are next to 0, where any change is a large relative one, and lies orders of magnitude
            apart from map to map: compare its logarithm.

    See Also:
        relative-output-stability, relative-input-stability

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), pool, torch.nn.Linear(4, 2))
        >>> x, map = torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8)
        >>> name = "relative-representation-stability"
        >>> measure(net, x, map, name, method="saliency", samples=2).value.shape
        torch.Size([1])
    """
    (name,) = probe.layer_names(layer)
    own = layer_evidence(probe, name)[0]

    def change(seen: Probe, near: Tensor) -> Tensor:
        return relative_change(own.A, own.of(seen).A.unflatten(0, near.shape[:2]))

    return relative_stability(
        "relative-representation-stability",
        probe,
        attribution,
        explain,
        change,
        samples=samples,
        radius=radius,
        before=lambda seen: own.of(seen),
    )
