"""SIC: how much of the score comes back with how much information, most evidence first."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import undefined
from pellucid.metrics.information import PASSES, information_curves
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.registry import metric
from pellucid.probe import Probe


@metric(
    "sic",
    paper="Kapishnikov et al. 2019, arXiv:1906.02825",
    higher_is_better=True,
    range=(0.0, 1.0),
    passes=(PASSES,),
    output="probability",
)
def sic(probe: Probe, attribution: Float[Tensor, "N D H W"], *, rescaled: bool = False) -> Measurement:
    r"""Softmax information curve: int_0^1 max_{k: I(x_k) <= i} S(x_k) / S(x) di, at most 1 at each point.

    Begin with a blurred picture, show the pixels of most evidence first, and ask how much of the score
    comes back for how much information.

    The picture is blurred by linear interpolation between 1 % of its pixels, and shares of it from 0.5 %
    to 75 % are shown. Information is measured in the bytes that the picture takes, compressed without
    loss, from 0 (blurred) to 1 (whole).

    Formula:
        \int_0^1 \max_{k:\, I(x_k) \le i} \frac{S(x_k)}{S(x)}\, \mathrm{d}i

        $x_k$: the picture with the k-th share of pixels sharp.
        $I$: the information shown, from 0 to 1.
        $i$: an amount of information.

    Args:
        probe: the evidence.
        attribution: the maps.
        rescaled: whether 0 is the score of the blurred picture, as in the authors' later code; a picture
            whose score no blur lowers then has no value.

    Returns:
        (N,), with the `curve` (N, 1001) over `information` (N, 1001) in the details.

    Cost:
        15 forward; the 14 interpolations take as long.

    Source:
        section 4.2, and `saliency.metrics.pic`.

    Strengths:
        Maps pay for the detail that they show, not for its area.
        No black holes: what is hidden is blurred.

    Weaknesses:
        It cannot tell whether the score comes back by the evidence or by what interpolation makes of
            it. Bytes are WebP's, whose versions differ a little. Fine, scattered maps show much
            information for each pixel and pay for it here, which deletion and insertion do not ask.

    See Also:
        aic, insertion

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> measure(net, torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8), "sic").value.shape
        torch.Size([1])
    """

    def scaled(scores: Tensor) -> Tensor:
        start = scores[0] if rescaled else torch.zeros_like(scores[0])
        if scores[-1] <= start:
            raise undefined("sic", "the blurred picture scores as high" if rescaled else "it scores 0")
        return ((scores - start) / (scores[-1] - start)).clamp(0, 1)

    return information_curves("sic", probe, probe, attribution, scaled)
