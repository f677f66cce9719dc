"""What mask methods share: masks at the input's size, images seen through them, how rough they are.

Everything is a plain function of tensors that gradients pass through. A mask is 1 where the image is kept.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate


def enlarged(mask: Float[Tensor, "N 1 h w"], size: tuple[int, int]) -> Float[Tensor, "N 1 H W"]:
    """Masks at another size (H, W): bilinear, as torch's `align_corners=False`."""
    if mask.shape[-2:] == torch.Size(size):
        return mask
    return interpolate(mask, size, mode="bilinear", align_corners=False)


def blend(
    x: Float[Tensor, "N C H W"], baseline: Float[Tensor, "N C H W"], mask: Float[Tensor, "N 1 H W"]
) -> Float[Tensor, "N C H W"]:
    """Phi(x, M) = M x + (1 - M) x': the image where the mask is 1, its baseline where it is 0."""
    return torch.lerp(baseline, x, mask)


def total_variation(
    mask: Float[Tensor, "N 1 h w"], beta: float = 2.0, mean: bool = True
) -> Float[Tensor, " N"]:
    """sum |M(i+1, j) - M(i, j)|^beta + |M(i, j+1) - M(i, j)|^beta; with `mean`, that of each axis's pairs.

    A mask of a single row or column varies along the other axis only.
    """
    rough = mask.new_zeros(len(mask))
    for axis in (-1, -2):
        steps = mask.diff(dim=axis).abs().pow(beta).flatten(1)
        if steps.shape[1]:
            rough = rough + (steps.mean(1) if mean else steps.sum(1))
    return rough


def bilateral_total_variation(
    mask: Float[Tensor, "N 1 h w"], x: Float[Tensor, "N C H W"], sigma: float = 0.01
) -> Float[Tensor, " N"]:
    """(TV(M) + mean exp(-mean_c (dx)^2 / sigma) (dM)^2, M at the image's size, summed over both axes) / 2.

    A mask may be rough where the image is. The authors' code squares the channels' mean along one axis.
    """
    M = enlarged(mask, (x.shape[-2], x.shape[-1]))
    rough = total_variation(mask)
    for axis in (-1, -2):
        steps, edges = M.diff(dim=axis), x.diff(dim=axis).square().mean(1, keepdim=True)
        if steps.numel():
            rough = rough + ((-edges / sigma).exp() * steps.square()).mean((1, 2, 3))
    return rough / 2


def smoothed(maps: Float[Tensor, "N C h w"], size: tuple[int, int], sigma: float) -> Float[Tensor, "N C H W"]:
    """sum_u g(v / s - u) maps(u), g a Gaussian of `sigma` cells, its weights at each pixel v summing to 1.

    At the same size it is a blur; for a sigma near 0 every pixel takes the nearest cell's value. Nothing lies
    beyond the edges, so a constant map stays what it is. Maps in half precision are computed in float32.
    """
    given, maps = maps, maps.to(torch.promote_types(maps.dtype, torch.float32))
    for axis, pixels in zip((-2, -1), size, strict=True):
        cells = maps.shape[axis]
        at = (torch.arange(pixels, dtype=torch.float64, device="cpu") + 0.5) * cells / pixels - 0.5
        off = at[:, None] - torch.arange(cells, dtype=torch.long, device="cpu")  # (pixels, cells)
        weights = (off / sigma).square().div(-2).softmax(1).to(maps)
        maps = weights @ maps if axis == -2 else maps @ weights.T
    return maps.to(given.dtype)
