"""A model's weights drawn anew, module by module, as its own initialisation draws them."""

from collections.abc import Iterable

import torch
from torch import nn

from pellucid.engine.randomness import Drawing


def redrawable(module: nn.Module) -> list[str]:
    """The names of the modules that know how to draw their weights anew, in the model's order.

    Example:
        >>> redrawable(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)))
        ['0', '2']
    """
    return [
        name
        for name, part in module.named_modules()
        if callable(getattr(part, "reset_parameters", None)) and any(True for _ in part.parameters())
    ]


def redraw(module: nn.Module, names: Iterable[str], seed: int) -> None:
    """Draws the weights of the modules so named anew, by their `reset_parameters`.

    Buffers, such as a batch norm's statistics, stay as they are. A module draws the same numbers whatever
    others are drawn, and the host's random numbers are not touched.
    """
    numbers = {name: number for number, (name, _) in enumerate(module.named_modules())}
    with torch.no_grad():
        for name in names:
            part = module.get_submodule(name)
            buffers = [(buffer, buffer.clone()) for buffer in part.buffers()]
            with Drawing(seed * 1_000_003 + numbers[name]):
                part.reset_parameters()  # type: ignore[operator]
            for buffer, before in buffers:
                buffer.copy_(before)
