"""What a map shows of a picture: the picture multiplied by the map as a mask."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import undefined
from pellucid.metrics.pixels import per_pixel
from pellucid.probe import Probe, of_each


def as_mask(attribution: Float[Tensor, "N D H W"]) -> Float[Tensor, "N H W"]:
    """Maps in [0, 1]: evidence for the class, the channels' summed, over the most that a pixel has.

    Evidence against the class is 0. A map with none for it shows nothing: it is 0 everywhere.

    Example:
        >>> as_mask(torch.tensor([[[[2.0, -3.0, 4.0]]]]))
        tensor([[[0.5000, 0.0000, 1.0000]]], dtype=torch.float64)
    """
    evidence = per_pixel(attribution).clamp(min=0)
    most = evidence.amax((1, 2), keepdim=True)
    return evidence / torch.where(most > 0, most, torch.ones_like(most))


def shown_inputs(probe: Probe, masks: Float[Tensor, "N H W"]) -> Float[Tensor, "N C H W"]:
    """The model's inputs times their masks: 0 of the input space where a mask is 0."""
    return probe.inputs * masks[:, None].to(probe.inputs)


def scores_before_and_shown(
    probe: Probe, masks: Float[Tensor, "N H W"]
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """The scores of the inputs, and those of what their masks show.

    Cost:
        2 forward.
    """

    def one(probe: Probe, image: int) -> Tensor:
        both = torch.cat([probe.inputs, shown_inputs(probe, masks[image : image + 1])])
        return probe.score_perturbed(lambda start, stop: both[start:stop].clone(), 0, 2)

    before, shown = torch.stack(of_each(probe, one)).unbind(1)
    return before, shown


def lost_share(
    name: str, probe: Probe, before: Float[Tensor, " N"], shown: Float[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """max(0, Y - O) / Y; images whose score Y is not above 0 have no value.

    Raises:
        InvalidValue: no image has one.
    """
    for image in (before <= 0).nonzero()[:, 0].tolist():
        if image not in probe.failures:
            probe.fail(
                image, undefined(name, f"it divides by the picture's score, which is {before[image]:g}")
            )
    return (before - shown).clamp(min=0) / before
