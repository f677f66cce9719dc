"""ROAD: the score without the pixels of most, or least, evidence, where what lies around fills the gaps."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.imputation import imputed
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.registry import metric
from pellucid.metrics.removal import pixel_ranks, tie_breaker
from pellucid.probe import Probe, of_each

Variant = Literal["combined", "morf", "lerf"]
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of the pixels that are removed, one after another."""
_NOISE = 1 << 43  # a draw of its own


def _passes(variant: Variant) -> int:
    """Both orders, or one of them and the picture itself."""
    return 2 * len(SHARES) if variant == "combined" else len(SHARES) + 1


@metric(
    "road",
    paper="Rong et al. 2022, arXiv:2202.00449",
    higher_is_better=True,
    range=(-1.0, 1.0),
    passes=lambda options, size: MetricPasses(_passes(options["variant"])),
    output="probability",
)
def road(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    variant: Variant = "combined",
    noise: float = 0.01,
) -> Measurement:
    r"""Remove and debias: mean over shares t of S(x without the least t) - S(x without the most t), halved.

    Remove pixels without leaving holes: each becomes the mean of its neighbours, so that the shape of
    what is missing gives nothing away.

    Shares are 10 % to 90 % of the pixels, ranked by the sum of the channels' evidence, ties in random
    order. Removed pixels become the weighted mean of their eight neighbours, all of them at once (see
    `pellucid.metrics.imputation`), plus noise, so that no holes give away where the map is. "combined"
    is (LeRF - MoRF) / 2; "morf" alone is the mean of S(x) - S(x without the most t), "lerf" alone the
    mean of S(x without the least t) - S(x): higher is better in each.

    Formula:
        \frac{1}{2 |T|} \sum_{t \in T} \big(S(x_{-t}^{\text{least}}) - S(x_{-t}^{\text{most}})\big)

        $T$: the shares removed, 10 % to 90 %.
        $t$: one of them.
        $x_{-t}^{\text{least}}$: the picture without the share t of least evidence, filled in from its
            neighbours; likewise of most.

    Args:
        probe: the evidence.
        attribution: the maps.
        variant: both orders against one another, or one against the picture itself.
        noise: the standard deviation of what is added to removed pixels, in the model's input space.

    Returns:
        (N,), with the scores `morf` and `lerf` (N, 9), of those removed that the variant asks for, in the
        details.

    Cost:
        18 forward ("combined"), or 10; and a sparse linear system for each removal, which takes longer.

    Source:
        section 4.2, equation 5, and the authors' code.

    Strengths:
        No retraining, and hardly a trace of the mask for the model to read.
        Both orders in one number: what every removal costs cancels.

    Weaknesses:
        It cannot tell evidence that neighbours repeat from no evidence: a smooth part of the object is
            filled in as it was. It scores outputs, where the paper also counts how often the prediction
            stays right. pytorch-grad-cam 1.5.7 ignores the weights of neighbours that it is given;
            Quantus 0.6 stops with an IndexError on maps of several channels.

    See Also:
        deletion, srg

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> measure(net, torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8), "road").value.shape
        torch.Size([1])
    """
    values = per_pixel(attribution)
    orders = ("morf", "lerf") if variant == "combined" else (variant,)

    def one(probe: Probe, image: int) -> Tensor:
        x = probe.inputs[0]
        source = probe.generator(_NOISE)
        drawn = torch.randn(x.shape, generator=source, dtype=torch.float32, device="cpu").to(x)
        inputs = [] if variant == "combined" else [x]
        for order in orders:
            ranks = pixel_ranks(values[image], tie_breaker(probe), least_first=order == "lerf").to(x.device)
            for share in SHARES:
                removed = ranks < round(share * ranks.numel())
                inputs.append(imputed(x, removed) + noise * drawn * removed)
        copies = torch.stack(inputs)
        return probe.score_perturbed(lambda start, stop: copies[start:stop].clone(), 0, len(copies))

    scores = torch.stack(of_each(probe, one))
    if variant == "combined":
        morf, lerf = scores.split(len(SHARES), 1)
        return Measurement((lerf - morf).mean(1) / 2, {"morf": morf, "lerf": lerf})
    sign = 1 if variant == "lerf" else -1
    return Measurement(sign * (scores[:, 1:] - scores[:, :1]).mean(1), {variant: scores[:, 1:]})
