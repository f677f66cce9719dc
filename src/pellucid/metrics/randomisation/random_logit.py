"""The random logit test: whether the map of another class is another map."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.metrics.definition import Explain, MetricPasses
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.registry import metric
from pellucid.metrics.similarity import Similarity, refuse_constant
from pellucid.metrics.similarity import similarity as similar
from pellucid.probe import Probe, of_each

_DRAW = 1 << 48  # a draw of its own


@metric(
    "random-logit",
    paper="Sixt et al. 2020, arXiv:1912.09818",
    higher_is_better=False,
    range=(-1.0, 1.0),
    passes=lambda options, size: MetricPasses(explanations=1),
)
def random_logit(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    explain: Explain,
    *,
    similarity: Similarity = "ssim",
) -> Float[Tensor, " N"]:
    r"""sim(A_c, A_d): how similar the map of the class c is to that of a class d drawn at random.

    Ask for another class at random. A map that explains a class must change.

    All other classes are as likely; the map's channels are summed. A method that does not depend on the
    class has 1, as Eigen-CAM.

    Formula:
        \mathrm{sim}(A_c, A_d)

        $A_c$: the map of class c, that of the picture.
        $A_d$: the map of class d, drawn at random.
        $d$: the other class.
        $\mathrm{sim}$: a similarity.

    Args:
        probe: the evidence.
        attribution: the maps, by the method itself.
        explain: the method that made them.
        similarity: "ssim", the structural similarity, or "spearman", the rank correlation of the pixels.

    Returns:
        (N,); a constant map has no value.

    Raises:
        InvalidValue: the target is a function, or a contrast, or there is no other class.

    Cost:
        1 explanation, of which forward passes are shared.

    Source:
        section 5, with the structural similarity.

    Strengths:
        Two explanations tell whether a method knows of classes at all.

    Weaknesses:
        It cannot tell whether the map is right; and two classes may well have their evidence in the
            same place, where only its sign can differ.

    See Also:
        mprt, guided-backprop, eigen-cam

    Example:
        >>> from pellucid import explain
        >>> from pellucid.measure import measure
        >>> pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), pool, torch.nn.Linear(4, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> map = explain(net, x, "eigen-cam").attribution
        >>> measure(net, x, map, "random-logit", method="eigen-cam").value
        tensor([1.], dtype=torch.float64)
    """
    target, count = probe.target_fn, probe.class_values.shape[1]
    if target.classes is None or target.against is None or (target.against >= 0).any() or count < 2:
        raise InvalidValue("random-logit needs a class as the target, and another one to compare it with.")
    drawn = torch.randint(1, count, (), generator=probe.generator(_DRAW), device="cpu", dtype=torch.long)
    others = (target.classes.cpu() + drawn) % count
    other = probe.about(others.tolist(), probe.output)
    own, maps = per_pixel(attribution), per_pixel(explain(other))
    for image, error in other.failures.items():
        probe.fail(image, error)

    def one(probe: Probe, image: int) -> Tensor:
        refuse_constant("random-logit", own[image])
        return similar(own[image], maps[image], similarity)

    return torch.stack(of_each(probe, one))
