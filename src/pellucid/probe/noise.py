"""Noise around images: measured by each image's range, drawn by number."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.probe.probe import Probe


def sigma_of(x: Float[Tensor, "N C H W"], noise: float) -> Float[Tensor, "N 1 1 1"]:
    """noise * (max x - min x), of each image.

    Raises:
        InvalidValue: noise below zero.
    """
    if noise < 0:
        raise InvalidValue(f"noise must be at least 0, a share of the input's range; got {noise}.")
    return noise * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))


def drawn(probe: Probe, numbers: Sequence[int]) -> Float[Tensor, "B C H W"]:
    """Standard normal noise, that of each number always the same, whatever the image, chunk and device."""
    x = probe.inputs
    return torch.stack(
        [
            torch.randn(x.shape[1:], generator=probe.generator(n), dtype=torch.float32, device="cpu")
            for n in numbers
        ]
    ).to(x)


def drawn_uniformly(probe: Probe, numbers: Sequence[int]) -> Float[Tensor, "B C H W"]:
    """Noise uniform in [-1, 1], likewise."""
    x = probe.inputs
    uniform = [
        torch.rand(x.shape[1:], generator=probe.generator(n), dtype=torch.float32, device="cpu")
        for n in numbers
    ]
    return (2 * torch.stack(uniform) - 1).to(x)


def noisy(probe: Probe, sigma: Float[Tensor, "N 1 1 1"], numbers: Sequence[int]) -> Float[Tensor, "NB C H W"]:
    """Copies x + sigma e of each image, adjacent, with the noise e of these numbers."""
    return (probe.inputs[:, None] + sigma[:, None] * drawn(probe, numbers)).flatten(0, 1)
