"""Layer-wise relevance propagation."""

from pellucid.engine.composites import GRADIENTS
from pellucid.engine.guided import Deconv, Guided
from pellucid.errors import InvalidValue
from pellucid.methods.finding import Finding
from pellucid.methods.registry import method
from pellucid.methods.relevance.guided_backprop import through
from pellucid.methods.relevance.propagation import (
    Biases,
    Bound,
    CompositeOption,
    Start,
    propagate,
    warn_if_faint,
    with_biases,
)
from pellucid.probe import Probe


@method(
    "lrp",
    paper="Bach et al. 2015, doi:10.1371/journal.pone.0130140",
    passes=(1, 1),
    reads="replaced operations",
)
def lrp(
    probe: Probe,
    *,
    composite: CompositeOption = "epsilon-plus-flat",
    biases: Biases = "share",
    start: Start = "logit",
    low: Bound = None,
    high: Bound = None,
) -> Finding:
    r"""R_i = sum_j (share of i in j) R_j from the score back to the pixels, by a rule for each operation.

    The score is handed back layer by layer, each unit sharing what it received among those that
    contributed to it, until it arrives at the pixels. A rule for each operation says how.

    Formula:
        R_i = \sum_j \frac{z_{ij}}{\sum_{k} z_{kj}} R_j, \qquad z_{ij} = a_i\, w_{ij}

        $R_i$: the relevance of unit i, from that of the units j behind it.
        $z_{ij}$: what i contributes to j, as the rule counts it: with epsilon added below, positive
            parts alone, gamma, or others.
        $a_i$: the activation.
        $w_{ij}$: the weight from i to j.
        $k$: all units that contribute to j.

    Args:
        probe: the evidence.
        composite: a name (epsilon-plus, epsilon-plus-flat, epsilon-alpha2-beta1, epsilon-gamma-box, ...) or
            a rule for all operations (lrp-0, epsilon, gamma, alpha-beta, z-plus, w-square, flat, with numbers
            as in "gamma:0.5", or one that `pellucid.rule` registered), then what differs, as KEY=RULE behind
            semicolons: "epsilon-plus;first=flat;layer4.*=gamma:0.5". Keys are conv, dense, first, last, names
            or patterns of layers, and the choices bias=counted|ignored, product=signal|half,
            attention=value|all, unknown=refuse|gradient. guided-backprop and deconvnet are those methods'
            maps, by another name.
        biases: "share" lets biases answer for their part of what an operation gives; "ignore" leaves it to
            the inputs, as zennit's zero_params="bias" does. A composite's own bias= comes first.
        start: what is shared out: the score, one, or the score less as much evenly over all other classes.
        low: the lowest value an input can have, for z-box; by default black's, where the model has
            preprocessing.
        high: the highest.

    Returns:
        (N, C, H, W), signed, in units of the score. `details` tells what `biases` answer for and what
        stabilisers `absorbed`; with them the map sums to the score, and `delta` is by how much it does not.

    Raises:
        InvalidValue: a composite that is none, or whose patterns match no layer, or two of which match one;
            an option that the composite does not read.
        ModelError: operations without a rule, all of them, with their places.

    Cost:
        1 forward, 1 backward, in which linear operations run once more each way.

    Source:
        Bach 2015, eqs. 56 to 60; gamma, z-box, flat, w^2: see `engine.rules`; composites: Kohlbrenner 2020,
        arXiv:1910.09840. Batch norms are folded into the linear operation before or after them (Guillemot
        2020, arXiv:2002.11018).

    Strengths:
        Nothing vanishes: pixels, biases and what stabilisers took add up to the score to a millionth.
        Rules by place calm the noise that the gradient has; composites are text, for any network.
        One forward and one backward pass.

    Weaknesses:
        Which rules? Other composites give other maps, and none is proven right.
        Rules with positive parts alone show nothing against the class.
        Not invariant: the same function written otherwise may have another map.

    Pitfalls:
        Batch norms that are passed as if nothing happened break conservation: on timm's
            EfficientNet-Lite0 zennit merges 0 of 49, and its map sums to 105.6 for a logit of 9.0.
        captum's LRP stops at ReLU6, Flatten and padded convolutions, and can explode where denominators
            cross 0 (a test shows it).

    See Also:
        attn-lrp, deep-lift, relevance-cam, excitation-backprop

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "lrp", composite="epsilon-plus")
        >>> bool(e.delta.abs() < 1e-4)
        True
    """
    if composite in GRADIENTS:
        if (start, low, high) != ("logit", None, None):
            raise InvalidValue(f"composite={composite!r} shares nothing out: leave out start, low and high.")
        return Finding(through(probe, Guided if composite == "guided-backprop" else Deconv))
    found = propagate(probe, with_biases(composite, biases), start, low=low, high=high)
    warn_if_faint(probe, found.pixel_share, biases)
    return Finding(found.at_input, details=found.details, delta=found.delta)
