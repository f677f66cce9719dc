"""Tensors given as a model's own input: what they must be, and what they show."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidType, InvalidValue
from pellucid.images import Picture, open_picture
from pellucid.structures import plain


def refuse_nonfinite(inputs: Float[Tensor, "N C H W"]) -> None:
    """Refuses pixels that are NaN or infinite, and says which the first is."""
    finite = inputs.isfinite()
    if not finite.all():
        n, c, y, x = (int(i) for i in (~finite).nonzero()[0])
        raise InvalidValue(
            f"Every pixel must be finite; image {n} has {inputs[n, c, y, x].item()} at channel {c}, row {y}, "
            f"column {x} (in {inputs.dtype})."
        )


def as_picture(image: Float[Tensor, "C H W"]) -> Picture:
    """An input for display only: its range stretched to 8 bits; other than 1 or 3 channels as their mean."""
    image = image.cpu().double()
    if image.shape[0] not in (1, 3):  # which of them are red, green and blue, if any, is not known
        image = image.mean(0, keepdim=True)
    low, high = image.min(), image.max()
    stretched = (image - low) / (high - low if high > low else 1) * 255
    return open_picture(stretched.round().to(torch.uint8).permute(1, 2, 0).numpy())


def checked_tensor(images: Tensor) -> Tensor:
    """A tensor given as a model's own input, as a plain one outside the graph.

    Raises:
        InvalidType: one that is not floating, or holds no value for every pixel.
        InvalidValue: not (C, H, W) or (N, C, H, W), or empty.
    """
    images = plain(images.detach())
    if images.layout is not torch.strided or images.is_meta or images.is_nested:
        kind = "on the meta device" if images.is_meta else "nested" if images.is_nested else "sparse"
        raise InvalidType(
            f"A tensor must hold the value of every pixel, densely; got one that is {kind}"
            f"{': pass images.to_dense()' if kind == 'sparse' else ''}."
        )
    if not images.is_floating_point():
        raise InvalidType(
            f"A tensor must be floating, the model's own input; got {images.dtype}: "
            "pass pictures of 8-bit pixels as arrays (H, W, C)."
        )
    if images.ndim not in (3, 4) or images.numel() == 0:
        raise InvalidValue(
            f"A tensor must be (C, H, W) or (N, C, H, W) with at least one pixel; got {tuple(images.shape)}."
        )
    return images
