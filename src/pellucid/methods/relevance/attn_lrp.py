"""AttnLRP: layer-wise relevance propagation for transformers."""

from typing import Literal

from pellucid.errors import InvalidValue
from pellucid.methods.finding import Finding
from pellucid.methods.registry import method
from pellucid.methods.relevance.propagation import (
    Biases,
    Start,
    propagate,
    warn_if_faint,
    with_biases,
)
from pellucid.probe import Probe


@method(
    "attn-lrp", paper="Achtibat et al. 2024, arXiv:2402.05602", passes=(1, 1), reads="replaced operations"
)
def attn_lrp(
    probe: Probe,
    *,
    attention: Literal["value", "all"] = "value",
    conv_gamma: float = 0.25,
    linear_gamma: float = 0.05,
    biases: Biases = "share",
    start: Start = "logit",
) -> Finding:
    r"""R_i = sum_j (share of i in j) R_j, through attention as well, with gamma rules against ViTs' noise.

    LRP that goes through attention: softmax, products and norms have rules of their own, and rules with
    gamma calm what ViTs make noisy.

    Softmax: R_i = x_i (R_i - s_i sum R), its first-order expansion. Products of two: half for each.
    Norms: their scale taken as it is. Activations: R_i = R_i. Sums, and what else is linear without
    weights: in proportion.

    Formula:
        R_i = \sum_j \frac{z_{ij}}{\sum_{k} z_{kj}} R_j, \qquad
        \text{softmax: } R_i = x_i \Big(R_i - s_i \sum_j R_j\Big)

        $R_i$: the relevance of value i, from that of the values j behind it.
        $z_{ij}$: what i contributes to j.
        $s_i$: the softmax of x_i, its input.
        $k$: all that contribute to j.

    Args:
        probe: the evidence.
        attention: "all" is the paper's; "value" takes attention weights and sigmoid gates as they are, by
            CP-LRP (Ali 2022), as the authors' code does for ViTs, where that is easier to tune.
        conv_gamma: gamma of convolutions; the authors try 0.1, 0.25 and 100.
        linear_gamma: gamma of linear layers; the authors try 0, 0.01, 0.05, 0.1 and 1, and choose by eye.
        biases: "share" lets biases answer for their part of what an operation gives; "ignore" leaves it to
            the inputs, as zennit's zero_params="bias" does.
        start: what is shared out: the score, one, or the score less as much evenly over all other classes.

    Returns:
        (N, C, H, W), signed, in units of the score. `details` tells what `biases` answer for and what was
        `absorbed`; with them the map sums to the score, and `delta` is by how much it does not.

    Raises:
        InvalidValue: a negative gamma.
        ModelError: operations without a rule, all of them, with their places.

    Cost:
        1 forward, 1 backward, in which linear operations run once more each way.

    Source:
        section 3. Two things differ from the authors' code: gamma also holds for the
        projections within torch.nn.MultiheadAttention, which their hooks do not reach, and stabilisers have
        the sign of what they stabilise. A model without attention gives what lrp gives by the same gammas.

    Strengths:
        Made for transformers, at the resolution of pixels, with signs.
        Everything is accounted for: map, biases and what stabilisers took add up to the score.

    Weaknesses:
        Where biases hold much of the score the pixels hold little.
        Gammas are settings; other values, other maps.

    Pitfalls:
        LXT adds stabilisers without the sign of what they stabilise, and its hooks do not reach the
            projections inside torch.nn.MultiheadAttention.

    See Also:
        lrp, transformer-attribution, legrad

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "attn-lrp")
        >>> bool(e.delta.abs() < 1e-4)
        True
    """
    for name, gamma in (("conv_gamma", conv_gamma), ("linear_gamma", linear_gamma)):
        if gamma < 0:
            raise InvalidValue(f"{name} must be at least 0; got {gamma}.")
    product = "half" if attention == "all" else "signal"
    rules = f"gamma:{conv_gamma};dense=gamma:{linear_gamma}"
    composite = with_biases(f"{rules};attention={attention};product={product}", biases)
    found = propagate(probe, composite, start)
    warn_if_faint(probe, found.pixel_share, biases)
    return Finding(found.at_input, details=found.details, delta=found.delta)
