"""Intervention: whether the map says by how much the score falls when parts of the picture are hidden."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.hiding import REPLACEMENTS
from pellucid.metrics.interventions import BLOCK, cell_evidence, intervene, partial_correlation
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count
from pellucid.metrics.registry import metric
from pellucid.probe import Probe, of_each


@metric(
    "intervention",
    paper="Pellucid 2026",
    higher_is_better=True,
    range=(-1.0, 1.0),
    passes=lambda options, size: MetricPasses(BLOCK * options["blocks"] + len(REPLACEMENTS)),
    quick={"blocks": 1},
)
def intervention(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    blocks: Count = 2,
    variant: Literal["q", "r"] = "q",
) -> Measurement:
    r"""corr(sum_{c in H_k} max(E_c, 0), S(x) - S(x with H_k hidden)): do predicted and actual drops agree?

    Hide parts of the picture by boxes that every map shares, and ask of each map whether it predicted
    by how much the score falls.

    The grid has 16 cells to the longer side; channels and pixels are summed. An intervention hides one or
    two boxes of 1 to 8 cells a side, behind the picture's mean colour, its blur, or an inpainting, in
    turn. The interventions do not depend on the map: the same ones judge every map of a picture.

    Formula:
        \mathrm{corr}_k\Big(\sum_{c \in H_k} \max(E_c, 0),\; S(x) - S(x_{\setminus H_k})\Big)

        $H_k$: the cells that intervention k hides.
        $E_c$: the map's evidence in cell c of a grid.
        $x_{\setminus H_k}$: the picture with them hidden.

    Args:
        probe: the evidence.
        attribution: the maps.
        blocks: how many times 60 interventions.
        variant: "q", the correlation less what the replacement, the hidden area and its logarithm explain of
            both: that hiding more lowers a score says nothing about a map. "r", less the replacement alone.

    Returns:
        (N,), with the `predicted` and the actual `drop` (N, K) in the details.

    Cost:
        60 forward for each block, and 3 with everything hidden, for all maps of a picture together.

    Source:
        the documentation's page on verdicts, with the experiment. The idea of predicting drops by sums of
        evidence is that of sensitivity-n (Ancona et al. 2018, arXiv:1711.06104).

    Strengths:
        Contiguous holes of several sizes and three fillings, the same for all maps: what verdicts rest
            on, with measured error rates.
        The passes are shared by any number of maps.

    Weaknesses:
        It cannot tell whether a map is right within a cell, nor whether it is that of the right class
            where all classes rest on the same part; and it says nothing where the decision has no
            place, see `Verdict`.

    See Also:
        sensitivity-n, faithfulness-correlation, mu-fidelity

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 256, 2))
        >>> x = torch.rand(1, 3, 16, 16)
        >>> right = x * net[1].weight[1].view(1, 3, 16, 16)
        >>> wrong = torch.rand(1, 1, 16, 16)
        >>> q = [measure(net, x, map, "intervention", target=1).value.item() for map in (right, wrong)]
        >>> q[0] > q[1]
        True
    """

    whole = probe.score.double().cpu()

    def one(probe: Probe, image: int) -> tuple[Tensor, Tensor, Tensor]:
        (done,) = intervene(probe, float(whole[image]), blocks)
        evidence = cell_evidence(done.grid, attribution[image : image + 1])
        predicted = done.predicted(evidence)
        causes = done.causes if variant == "q" else done.centres
        return partial_correlation(predicted, done.drop, causes)[0, 0], predicted[0], done.drop

    value, predicted, drop = (torch.stack(parts) for parts in zip(*of_each(probe, one), strict=True))
    return Measurement(value, {"predicted": predicted, "drop": drop})
