"""The model parameter randomisation test: whether the map changes when the weights are drawn anew."""

from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import Explain, MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count
from pellucid.metrics.randomised import Order, similarities
from pellucid.metrics.registry import metric
from pellucid.metrics.similarity import Similarity
from pellucid.probe import Probe


@metric(
    "mprt",
    paper="Adebayo et al. 2018, arXiv:1810.03292",
    higher_is_better=False,
    range=(-1.0, 1.0),
    passes=lambda options, size: MetricPasses(explanations=options["steps"]),
    quick={"steps": 2},
)
def mprt(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    explain: Explain,
    *,
    steps: Count = 10,
    order: Order = "top-down",
    similarity: Similarity = "spearman",
    absolute: bool = False,
) -> Measurement:
    r"""mean_k sim(A, A_k), A_k the map by the model with the weights of step k drawn anew.

    Draw the model's weights anew, layer by layer from the output on. A map that explains the model must
    change.

    The map's channels are summed. The target stays the class of the trained model. Weights are drawn by
    every module's own `reset_parameters`, from the seed alone, in the model's order; buffers are kept, so
    a batch norm goes on with the statistics that it has learnt.

    Formula:
        \frac{1}{K} \sum_{k=1}^K \mathrm{sim}(A, A_k)

        $A$: the map.
        $A_k$: the map by the model with the weights of step k drawn anew.
        $K$: the number of steps.
        $\mathrm{sim}$: a similarity.

    Args:
        probe: the evidence.
        attribution: the maps, by the method itself.
        explain: the method that made them.
        steps: the modules are taken in as many parts of about equal numbers, at most one module a step.
        order: "top-down" draws everything from the output on, up to all weights in the last step (the paper's
            cascading randomisation); "bottom-up" from the input on; "independent" one part alone.
        similarity: "spearman", the rank correlation of the pixels, or "ssim", the structural similarity.
        absolute: whether magnitudes are compared, else signed evidence (the paper reports both).

    Returns:
        (N,), with the `similarity` (N, steps) in the details. A constant map has no value.

    Raises:
        InvalidValue: no module has a `reset_parameters`.

    Cost:
        steps explanations.

    Source:
        sections 3 and 4. Quantus has one step for each module, and draws batch norms' statistics anew, too.

    Strengths:
        Finds maps that redraw the picture whatever the model says: guided backprop and its kin.

    Weaknesses:
        It cannot tell a right map from any other that depends on the weights, and the values of a map
            that keeps the picture's edges stay high though its evidence changes. Noisy maps are
            dissimilar to everything.

    See Also:
        efficient-mprt, smooth-mprt, random-logit

    Example:
        >>> import torch
        >>> from pellucid import explain
        >>> from pellucid.measure import measure
        >>> pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), pool, torch.nn.Linear(4, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> map = explain(net, x, "saliency").attribution
        >>> measure(net, x, map, "mprt", method="saliency").details["similarity"].shape
        torch.Size([1, 2])
    """
    return similarities(
        "mprt",
        probe,
        attribution,
        lambda change: explain.with_model(probe, change),
        steps=steps,
        order=order,
        kind=similarity,
        absolute=absolute,
    )
