"""What all searches for a mask share: what they refuse, what they note, how they score."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.probe import Probe

LOST = "The search for a mask met a score or a gradient that is not finite and ended there."
NOTHING_HIDDEN = "The baseline is the image itself: nothing can be hidden, and the map is zero."


def check(least: Mapping[str, tuple[int | float, int]], positive: Mapping[str, float]) -> None:
    """Refuses options below their least value, and those that must be above 0.

    Raises:
        InvalidValue: naming the option.
    """
    for name, (value, bound) in least.items():
        if value < bound:
            raise InvalidValue(f"{name} must be at least {bound}; got {value}.")
    for name, value in positive.items():
        if value <= 0:
            raise InvalidValue(f"{name} must be above 0; got {value}.")


def equals_baseline(x: Float[Tensor, "N C H W"], baseline: Float[Tensor, "N C H W"]) -> Bool[Tensor, " N"]:
    """Which images equal their baselines, but for rounding.

    Baselines are computed in float32 at least: of an image in half precision that is its own baseline they
    give the very values, and a difference of one unit in the last place is one.
    """
    precise = torch.promote_types(x.dtype, torch.float32)
    off, top = ((t.to(precise).flatten(1).abs().amax(1)) for t in (x - baseline, x))
    return off <= 100 * torch.finfo(precise).eps * top


def baselines_of(probe: Probe, spec: Any) -> tuple[Float[Tensor, "N C H W"], Bool[Tensor, " N"]]:
    """The images' baselines, and which of them are the image itself: exactly so then, and noted."""
    x, hidden = probe.inputs, probe.baseline(spec)
    nothing = equals_baseline(x, hidden)
    probe.note(NOTHING_HIDDEN, nothing)
    return x.where(nothing[:, None, None, None], hidden), nothing


def scores_and_gradients(
    seen: Probe, with_gradients: bool = True
) -> tuple[Float[Tensor, " B"], Float[Tensor, "B C H W"]]:
    """The scores of perturbed inputs, and their gradients if asked for, else zeros: of one pass.

    A copy whose score is not finite has a score and a gradient of NaN; the others keep theirs.

    Raises:
        ModelError: the model cannot be run on them, or has no gradients.
    """
    seen.lenient = True
    slope = seen.input_gradient() if with_gradients else torch.zeros_like(seen.inputs)
    scores = seen.score
    lost = ~scores.isfinite()
    nan = scores.new_tensor(torch.nan)
    return scores.where(~lost, nan), slope.where(~lost[:, None, None, None], nan.to(slope))
