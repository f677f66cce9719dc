"""Average drop: which share of the score is lost where only what the map shows is left."""

from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.registry import metric
from pellucid.metrics.shown import as_mask, lost_share, scores_before_and_shown
from pellucid.probe import Probe


@metric(
    "average-drop",
    paper="Chattopadhay et al. 2018, arXiv:1710.11063",
    higher_is_better=False,
    range=(0.0, 1.0),
    passes=(2,),
    output="probability",
)
def average_drop(probe: Probe, attribution: Float[Tensor, "N D H W"]) -> Float[Tensor, " N"]:
    r"""max(0, Y - O) / Y: the share of the score Y of the picture that the picture times its map, O, lacks.

    Show the model only what the map shows. Which share of the score is lost?

    The map, its evidence for the class over its maximum, multiplies the model's own input, whose 0 is
    what hides a pixel. The paper gives the mean over pictures in percent: 100 times the mean of these.

    Formula:
        \frac{\max(0, Y - O)}{Y}

        $Y$: the score of the picture.
        $O$: the score of the picture times its map in [0, 1].

    Args:
        probe: the evidence.
        attribution: the maps; evidence against the class shows nothing.

    Returns:
        (N,): 0 where nothing is lost, 1 where all is. An image whose score is not above 0 has no value.

    Cost:
        2 forward.

    Source:
        section 5.1.1.

    Strengths:
        One more pass, and a number that one can read.

    Weaknesses:
        It cannot tell a precise map from one that shows everything: a map of ones loses nothing. Read
            it beside `increase-in-confidence` and the map's size, as `adcc` does. pytorch-grad-cam's
            DropInConfidence is Y - O, not divided by Y, and of logits unless told otherwise.

    See Also:
        increase-in-confidence, adcc, insertion

    Example:
        >>> import torch
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> measure(net, torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8), "average-drop").value
        tensor([0.], dtype=torch.float64)
    """
    before, shown = scores_before_and_shown(probe, as_mask(attribution))
    return lost_share("average-drop", probe, before, shown)
