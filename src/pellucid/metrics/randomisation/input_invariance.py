"""Input invariance: whether the map stays where input and model are shifted alike."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from pellucid.metrics.definition import Explain
from pellucid.metrics.neighbours import relative_to_norm
from pellucid.metrics.registry import metric
from pellucid.probe import Probe


@metric(
    "input-invariance",
    paper="Kindermans et al. 2019, arXiv:1711.00867",
    higher_is_better=False,
    range=(0.0, float("inf")),
    passes=(0, 0, 1),
)
def input_invariance(
    probe: Probe, attribution: Float[Tensor, "N D H W"], explain: Explain, *, shift: float = 1.0
) -> Float[Tensor, " N"]:
    r"""|A'(x + s) - A(x)| / |A(x)|, A' the map by a model that takes the shift s off its input first.

    Add a constant to the input, and take it off again inside the model. Does the map stay?

    A(x) is the map of the input x, |.| the L2 norm and s a constant. Both models say the same of the
    two inputs, so their maps should be the same: gradients' are, while those multiplied by the input,
    or that compare it with a baseline, depend on where 0 is.

    Formula:
        \frac{\lVert A'(x + s) - A(x) \rVert}{\lVert A(x) \rVert}

        $A$: the map.
        $\lVert \cdot \rVert$: the length of all values, in L2.
        $A'$: the map by a model that takes the shift off first.
        $s$: the shift.

    Args:
        probe: the evidence.
        attribution: the maps, by the method itself.
        explain: the method that made them.
        shift: in the unit of the model's input.

    Returns:
        (N,); a map of zeros has no value.

    Cost:
        1 explanation.

    Source:
        section 2. The paper takes the shift off in the bias of the first layer, which is the same function.

    Strengths:
        Finds what a map owes to where 0 is.

    Weaknesses:
        It cannot tell whether the map is right, and where a baseline has a meaning, such as black, it
            holds against the method that it stays where it is.

    See Also:
        mprt, input-x-gradient, integrated-gradients

    Example:
        >>> import torch
        >>> from pellucid import explain
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> map = explain(net, x, "saliency").attribution
        >>> measure(net, x, map, "input-invariance", method="saliency").value
        tensor([0.], dtype=torch.float64)
    """

    def take_off(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args[0] - shift, *args[1:]

    def change(module: nn.Module) -> None:
        module.register_forward_pre_hook(take_off)

    maps = explain.with_model(probe.perturbed(probe.inputs + shift), change)
    moved = (maps.double() - attribution.double()).flatten(1).norm(dim=1).cpu()
    return relative_to_norm("input-invariance", probe, attribution, moved)
