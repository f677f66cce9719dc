"""AIC: with how much information the prediction is right again, most evidence first."""

from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.metrics.information import PASSES, information_curves
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.registry import metric
from pellucid.probe import Probe


@metric(
    "aic",
    paper="Kapishnikov et al. 2019, arXiv:1906.02825",
    higher_is_better=True,
    range=(0.0, 1.0),
    passes=(PASSES,),
)
def aic(probe: Probe, attribution: Float[Tensor, "N D H W"]) -> Measurement:
    r"""Accuracy information curve: int_0^1 max_{k: I(x_k) <= i} 1[the class of x_k is that of x] di.

    Begin with a blurred picture, show the pixels of most evidence first, and ask how soon, measured in
    information, the model predicts what it predicts of the whole.

    The pictures x_k and their information I are those of `sic`. What is asked is whether the model
    predicts the class that it predicts for the whole picture, whatever class the map is about.

    Formula:
        \int_0^1 \max_{k:\, I(x_k) \le i} \mathbb{1}[\hat{y}(x_k) = \hat{y}(x)]\, \mathrm{d}i

        $x_k$: the picture with the k-th share of pixels sharp.
        $I$: the information shown, from 0 to 1.
        $i$: an amount of information.
        $\hat{y}$: the class predicted.

    Args:
        probe: the evidence.
        attribution: the maps.

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
        It cannot tell by how much the class is ahead, and where the blurred picture is of the class
            already it is 1 for every map. The paper's curve is the mean over many pictures; one
            picture's is a step.

    See Also:
        sic, insertion

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> measure(net, torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8), "aic").value.shape
        torch.Size([1])
    """
    reading, first = probe.reading, min(probe.numbers)
    if reading.scale.name == "value":
        raise InvalidValue("aic needs a model that predicts a class; its outputs are values.")
    predicted = torch.zeros(max(probe.numbers) + 1 - first, dtype=torch.long, device="cpu")
    predicted[torch.tensor(probe.numbers, dtype=torch.long, device="cpu") - first] = (
        probe.class_values.argmax(1).cpu()
    )

    def right(raw: Tensor, numbers: Tensor) -> Tensor:
        values = reading.scale.class_values(reading.outputs(raw), "logit")
        return (
            values.argmax(1).cpu()
            == predicted[torch.as_tensor(numbers, dtype=torch.long, device="cpu") - first]
        ).double()

    # A target may take the images' numbers too, which its type does not say.
    asked = probe.about(cast(Callable[[Any], Tensor], right), "logit")
    return information_curves("aic", probe, asked, attribution, lambda scores: scores)
