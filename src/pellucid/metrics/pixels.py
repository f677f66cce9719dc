"""Maps as metrics read them: one number a pixel, and the order of the pixels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def per_pixel(attribution: Float[Tensor, "N D H W"]) -> Float[Tensor, "N H W"]:
    """The evidence of each pixel: its channels' sum, in float64 on the CPU."""
    return attribution.detach().double().sum(1).cpu()


def order(values: Float[Tensor, "H W"], generator: torch.Generator) -> Int[Tensor, " P"]:
    """The numbers of the pixels, those of the most evidence first; ties are in random order.

    A map that is constant thereby is judged as a random one, not as one that begins at the top left.

    Example:
        >>> order(torch.tensor([[0.0, 3.0], [2.0, 1.0]]), torch.Generator())
        tensor([1, 2, 3, 0])
    """
    flat = values.flatten()
    shuffled = torch.randperm(len(flat), generator=generator, dtype=torch.long, device="cpu")
    return shuffled[flat[shuffled].argsort(descending=True, stable=True)]


def magnitudes(attribution: Float[Tensor, "N D H W"]) -> Float[Tensor, "N P"]:
    """The magnitude of each pixel's evidence, pixels in a row."""
    return per_pixel(attribution).abs().flatten(1)
