"""Floors: maps that know nothing of the model. What is no better than these shows nothing about it."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

from pellucid.metrics.hiding import smoothed

FLOORS = {
    "random": "a random map",
    "smooth random": "a smooth random map",
    "blob": "a blob in the middle",
    "edges": "an edge detector",
    "colour": "a map of unusual colours",
}
"""Every floor, and what it is called in a sentence."""


def floors(x: Float[Tensor, "1 C H W"], generator: torch.Generator) -> dict[str, Float[Tensor, "1 1 H W"]]:
    """The floors of one picture, all positive, by name as in `FLOORS`.

    Example:
        >>> found = floors(torch.rand(1, 3, 8, 8), torch.Generator())
        >>> list(found), found["edges"].shape
        (['random', 'smooth random', 'blob', 'edges', 'colour'], torch.Size([1, 1, 8, 8]))
    """
    height, width = x.shape[-2:]
    x = x.detach().float().cpu()
    noise = torch.rand(2, 1, 1, height, width, generator=generator, dtype=torch.float32, device="cpu")
    smooth = smoothed(noise[1], max(height, width) / 12)
    return {
        "random": noise[0],
        "smooth random": smooth - smooth.min(),
        "blob": _blob(height, width),
        "edges": smoothed(_edges(x.mean(1, keepdim=True)), max(height, width) / 64),
        "colour": smoothed(
            (x - x.flatten(2).median(2).values[..., None, None]).norm(dim=1, keepdim=True),
            max(height, width) / 64,
        ),
    }


def _blob(height: int, width: int) -> Float[Tensor, "1 1 H W"]:
    """A Gaussian in the middle, its standard deviation a fifth of each side."""
    rows, columns = (
        torch.exp(-(torch.linspace(-2.5, 2.5, side, dtype=torch.float32, device="cpu") ** 2) / 2)
        for side in (height, width)
    )
    return (rows[:, None] * columns)[None, None]


def _edges(grey: Float[Tensor, "1 1 H W"]) -> Float[Tensor, "1 1 H W"]:
    """The magnitude of Sobel's gradient."""
    kernel = torch.tensor(
        [[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]], dtype=torch.float32, device="cpu"
    )
    both = torch.stack([kernel, kernel.T])[:, None]
    found: Tensor = conv2d(pad(grey, (1, 1, 1, 1), mode="replicate"), both).norm(dim=1, keepdim=True)
    return found
