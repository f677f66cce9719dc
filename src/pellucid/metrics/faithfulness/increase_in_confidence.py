"""Increase in confidence: whether the score rises where only what the map shows is left."""

from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.registry import metric
from pellucid.metrics.shown import as_mask, scores_before_and_shown
from pellucid.probe import Probe


@metric(
    "increase-in-confidence",
    paper="Chattopadhay et al. 2018, arXiv:1710.11063",
    higher_is_better=True,
    range=(0.0, 1.0),
    passes=(2,),
    output="probability",
)
def increase_in_confidence(probe: Probe, attribution: Float[Tensor, "N D H W"]) -> Float[Tensor, " N"]:
    r"""1 where O > Y, else 0: whether the picture times its map scores higher than the picture itself.

    Does the model become surer when it sees only what the map shows?

    The paper gives the mean over pictures in percent: 100 times the mean of these.

    Formula:
        \mathbb{1}[O > Y]

        $Y$: the score of the picture.
        $O$: the score of the picture times its map in [0, 1].

    Args:
        probe: the evidence.
        attribution: the maps; evidence against the class shows nothing.

    Returns:
        (N,), 0 or 1.

    Cost:
        2 forward.

    Source:
        section 5.1.2.

    Strengths:
        One more pass, shared with the average drop.

    Weaknesses:
        It cannot tell by how much the score rises: a rise of a millionth counts as much as one of a
            half, and where the score is close to 1 already hardly any map can make it rise.

    See Also:
        average-drop, adcc

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> measure(net, torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8), "increase-in-confidence").value
        tensor([0.], dtype=torch.float64)
    """
    before, shown = scores_before_and_shown(probe, as_mask(attribution))
    return (shown > before).double()
