"""How far apart numbers may be that are equal but for rounding."""

import torch

COARSE = 1e-4
"""The rounding of half precision is coarser than this, that of float32 finer."""


def tolerance(dtype: torch.dtype) -> float:
    """The largest difference of outputs computed in two ways, as a share of their largest magnitude.

    50 eps^(3/4), which errors that add up over many layers stay below; in half precision, where that would be
    more than the outputs themselves, 8 eps.

    Example:
        >>> [f"{tolerance(dtype):.2g}" for dtype in (torch.float32, torch.float16, torch.bfloat16)]
        ['0.00032', '0.0078', '0.062']
    """
    eps = torch.finfo(dtype).eps
    return 50 * eps**0.75 if eps < COARSE else 8 * eps
