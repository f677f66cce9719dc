"""The energy-based pointing game: how much of the evidence lies in the object's box."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.metrics.objects import of_each_object, share_inside
from pellucid.metrics.registry import metric
from pellucid.probe import Probe


@metric(
    "energy-pointing-game",
    paper="Wang et al. 2020, arXiv:1910.01279",
    higher_is_better=True,
    range=(0.0, 1.0),
)
def energy_pointing_game(
    probe: Probe, attribution: Float[Tensor, "N D H W"], truth: Bool[Tensor, "N H W"]
) -> Float[Tensor, " N"]:
    r"""sum_{i in box} max(A_i, 0) / sum_i max(A_i, 0): the share of positive evidence in the object's box.

    Which share of the evidence for a class lies in the box of its object?

    The box is the smallest one around all of `truth`.

    Formula:
        \frac{\sum_{i \in B} \max(A_i, 0)}{\sum_i \max(A_i, 0)}

        $B$: the object's box.
        $A_i$: the evidence of pixel i, its channels' sum.

    Args:
        probe: the evidence.
        attribution: the maps.
        truth: where the object is: its box or its mask.

    Returns:
        (N,); a map without positive evidence has no value.

    Cost:
        None.

    Source:
        the section on localisation. The authors' code takes the box's x for rows: another box, unless it
        lies on the diagonal.

    Strengths:
        The whole map counts, not its maximum alone.

    Weaknesses:
        It cannot tell whether the model uses the object, only where the evidence lies, and it depends
            on the box: one of half the picture already holds half of a constant map. The paper leaves
            out such pictures, and those of several objects.

    See Also:
        pointing-game, relevance-mass

    Example:
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> truth = torch.zeros(1, 8, 8, dtype=torch.bool)
        >>> truth[0, 2:4] = True
        >>> x = torch.rand(1, 3, 8, 8)
        >>> measure(net, x, torch.ones(1, 1, 8, 8), "energy-pointing-game", truth=truth).value
        tensor([0.2500], dtype=torch.float64)
    """
    name = "energy-pointing-game"
    return of_each_object(
        name, probe, attribution, truth, lambda evidence, inside: share_inside(name, evidence, box(inside))
    )


def box(inside: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """The smallest box around some pixels.

    Example:
        >>> box(torch.tensor([[True, False, False], [False, True, False]])).int()
        tensor([[1, 1, 0],
                [1, 1, 0]], dtype=torch.int32)
    """
    whole = torch.zeros_like(inside)
    (rows, columns) = (inside.any(side).nonzero()[:, 0] for side in (1, 0))
    whole[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1] = True
    return whole
