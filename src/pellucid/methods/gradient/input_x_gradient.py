"""Input x gradient."""

from jaxtyping import Float
from torch import Tensor

from pellucid.methods.registry import method
from pellucid.probe import Probe


@method(
    "input-x-gradient",
    paper="Shrikumar et al. 2016, arXiv:1605.01713",
    passes=(1, 1),
    promises=("dummy", "implementation invariance", "linearity", "symmetry"),
)
def input_x_gradient(probe: Probe) -> Float[Tensor, "N C H W"]:
    """x * dS/dx, x being the model's own (normalised) input.

    Sums to the score for networks of ReLUs and max pools without biases.

    Cost:
        1 forward, 1 backward.

    Source:
        section 3, as the baseline of DeepLIFT.
    """
    return probe.inputs * probe.input_gradient()
