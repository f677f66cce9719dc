"""Maps that are wrong in a known way: of another element or class, or of a network that knows nothing."""

from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.metrics.floors import floors
from pellucid.metrics.hiding import smoothed
from pellucid.model import Model
from pellucid.truth.units import Unit

SOFT = 1 / 32
"""The standard deviation by which the edges of a decoy are softened, as a share of the picture."""


def decoy(unit: Unit, seed: int = 0) -> Float[Tensor, "1 H W"] | None:
    """A map of an element that does not carry the decision: plausible, and wrong. None if there is none."""
    if not unit.decoys or unit.truth is None:
        return None
    draw = torch.Generator("cpu").manual_seed(seed * 1_000_003 + unit.number)
    chosen = unit.decoys[
        int(torch.randint(len(unit.decoys), (1,), generator=draw, dtype=torch.long, device="cpu"))
    ]
    region = torch.from_numpy(unit.scene.region(chosen)).float()[None, None]
    return smoothed(region, SOFT * max(region.shape[-2:]))[0]


def uninformed(unit: Unit, seed: int = 0) -> dict[str, Float[Tensor, "1 H W"]]:
    """The floors of a unit's picture, and its decoy: maps that know nothing of the network, by name."""
    draw = torch.Generator("cpu").manual_seed(seed * 1_000_003 + unit.number)
    found = {name: map[0] for name, map in floors(unit.inputs[None], draw).items()}
    wrong = decoy(unit, seed)
    return found if wrong is None else found | {"decoy": wrong}


def redrawn(model: Model, seed: int = 0) -> Model:
    """The same network with weights drawn anew: it has learned nothing.

    Modules that can draw their own weights do; other parameters come from a normal distribution of the
    standard deviation they had. Statistics of batch normalisation are those of no data.
    """
    if not isinstance(model.module, nn.Module):
        raise TypeError("the models of tasks are modules")
    module = deepcopy(model.module)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for part in module.modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()
            else:
                for parameter in part.parameters(recurse=False):
                    parameter.normal_(0, float(parameter.std(correction=0)))
    return Model(module, preprocess=model.preprocess, labels=model.labels, name=model.name)
