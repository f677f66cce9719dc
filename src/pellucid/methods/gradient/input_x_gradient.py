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
    r"""x * dS/dx, x being the model's own (normalised) input.

    The slope of the score at each pixel times the pixel's value: the first-order estimate of what each
    value adds, against an input of zeros.

    Sums to the score for networks of ReLUs and max pools without biases.

    Formula:
        M = x \odot \frac{\partial S}{\partial x}

        $x$: the model's own, normalised input.
        $\odot$: the product entry by entry.
        $M$: the map.

    Returns:
        (N, C, H, W), signed, in units of the score.

    Cost:
        1 forward, 1 backward.

    Source:
        section 3, as the baseline of DeepLIFT.

    Strengths:
        Two passes, signed, at full resolution.
        Sums to the score in networks of ReLUs and max pools without biases, where it equals LRP-0 and
            DeepLIFT from zero.

    Weaknesses:
        Noisy, as the gradient is.
        Zero in the normalised input is the mean colour: pixels of that colour get nothing, however much
            they matter.

    Pitfalls:
        It is the model's input that multiplies, not the picture's 0 to 255.

    See Also:
        saliency, integrated-gradients, deep-lift, lrp

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> e = pellucid.explain(net, x, "input-x-gradient", target=1)
        >>> torch.allclose(e.raw, w * x)
        True
    """
    return probe.inputs * probe.input_gradient()
