"""Excitation backprop, and its contrastive form."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from pellucid.methods.cam.combining import fuse, together
from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding
from pellucid.methods.registry import method
from pellucid.methods.relevance.propagation import Relevances, propagate
from pellucid.options.types import LayerOption, LayoutOption
from pellucid.probe import Probe


def _passes(options: Mapping[str, Any]) -> Passes:
    return Passes(2, 2) if options["contrastive"] else Passes(1, 1)


@method(
    "excitation-backprop",
    paper="Zhang et al. 2016, arXiv:1608.00507",
    passes=_passes,
    reads="replaced operations",
)
def excitation_backprop(
    probe: Probe,
    *,
    layer: LayerOption = "auto",
    layout: LayoutOption = None,
    contrastive: bool = False,
    signed: bool = False,
) -> Finding:
    r"""P_i = sum_j P_j a_i w_ij+ / sum_i a_i w_ij+: where a winner-take-all process from the class comes to.

    A winner is drawn at the class, and from each unit one of those that excite it, back to a layer: the
    map is how probable it is to arrive at each place.

    Formula:
        P_i = \sum_j P_j \frac{a_i\, w_{ij}^+}{\sum_{k} a_k\, w_{kj}^+}

        $P_i$: the probability of unit i, from that of the units j that it excites.
        $a_i$: its activation.
        $w_{ij}^+$: the positive part of the weight from i to j.
        $k$: all units that excite j.

    Args:
        probe: the evidence.
        layer: where the process is looked at; "input" for the pixels. The paper's maps are those of a middle
            layer, such as VGG's fourth pooling. Of several layers the mean of their maps, each scaled to 1.
        layout: how the named layer holds its grid, where that is not proven.
        contrastive: whether the probabilities from the class's dual unit, whose weights are the negated ones
            of the last linear operation, are taken off.
        signed: whether of such a contrast what is negative is kept.

    Returns:
        (N, h, w), summed over channels: probabilities. They sum to 1, less what bypasses the layer and what
        was `absorbed` on the way: a unit that none of its inputs excites, only its bias, has no one to hand
        its probability to (in MobileNets and their kin that is most of it). Contrasts, signed, sum to about
        0. `delta` is all that arrived at the input or was absorbed, less what was shared out.

    Raises:
        ModelError: operations without a rule; a layer that holds no grid.

    Cost:
        1 forward, 1 backward; contrastive 2 of each.

    Source:
        section 3. What is negative in a contrast is left out in the authors' code. The paper has no negative
        activations: here they go with negative weights, and sums of both signs (residual networks) are shared
        in proportion, so that probabilities may be negative. Batch norms are folded; biases win nothing.

    Strengths:
        A distribution: easy to read and to compare.
        `contrastive=true` takes off what other classes find as well.

    Weaknesses:
        Without the contrast it shows much the same for every class.
        In MobileNets and their kin most probability ends at units that only their bias excites:
            `absorbed` tells how much.

    Pitfalls:
        Batch norms must be folded into weights first; left in place they are passed as if nothing
            happened.
        Negative activations have no part in the paper; here they go with negative weights.

    See Also:
        lrp, relevance-cam, pointing-game

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "excitation-backprop")
        >>> e.raw.shape
        torch.Size([1, 6, 6])
    """
    names = [] if layer == "input" else probe.layer_names(layer, layout)
    found = propagate(probe, "excitation-backprop", "one", *names)
    if contrastive:
        found = _contrast(found, propagate(probe, "excitation-backprop;last=inhibition", "one", *names))
    calls = [[found.at_layers[key].sum(1) for key in found.modified.keys(name)] for name in names]
    maps = [together(parts) for parts in calls] if names else [found.at_input.sum(1)]
    if contrastive and not signed:
        maps = [map.relu() for map in maps]
    map = maps[0] if len(maps) == 1 else fuse(maps, "mean", probe.inputs.shape[-2])
    for name in names:
        for note in found.modified.taken.found[name].notes():
            probe.note(note)
    layers = tuple(found.modified.layer(name)[0].name for name in names)
    details = {name: value for name, value in found.details.items() if name != "pixel_share" or not names}
    return Finding(map, details=details, layers=layers, delta=found.delta)


def _contrast(one: Relevances, other: Relevances) -> Relevances:
    """Where more relevance went in one than in another way back."""
    return replace(
        one,
        at_input=one.at_input - other.at_input,
        at_layers={name: at - other.at_layers[name] for name, at in one.at_layers.items()},
        start=one.start - other.start,
        biases=one.biases - other.biases,
        absorbed=one.absorbed - other.absorbed,
        pixel_share=torch.full_like(one.pixel_share, torch.nan),
        delta=one.delta - other.delta,
    )
