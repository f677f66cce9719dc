"""Linear imputation: removed pixels become the weighted mean of their neighbours, all at once.

Every removed pixel x_i solves d_i x_i = sum_n w_n x_n over its eight neighbours within the picture, where
w_n is 1/6 beside and 1/12 across, and d_i the sum of these weights, 1 away from the picture's edge: one
sparse linear system for each set of removed pixels, factorised once for all channels.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

BESIDE, ACROSS = 1 / 6, 1 / 12


def imputed(x: Float[Tensor, "C H W"], removed: Bool[Tensor, "H W"]) -> Float[Tensor, "C H W"]:
    """The picture with some pixels replaced by what their neighbours say, which leaves a constant as it is.

    Where nothing is left of a picture, nothing says anything: it becomes its mean colour.

    Example:
        >>> imputed(torch.tensor([[[1.0, 9.0, 3.0]]]), torch.tensor([[False, True, False]]))
        tensor([[[1., 2., 3.]]])
    """
    from scipy.sparse.linalg import splu

    gone = removed.flatten().cpu().numpy()
    if not gone.any():
        return x.clone()
    if gone.all():
        return x.mean((1, 2), keepdim=True).expand_as(x).clone()
    pixels = x.detach().flatten(1).double().cpu().numpy()
    rows = _laplacian(*removed.shape)[gone]
    # The matrix is symmetric and diagonally dominant: no pivots are needed, and the order may be symmetric.
    solver = splu(
        rows[:, gone].tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    filled = pixels.copy()
    filled[:, gone] = solver.solve(-(rows[:, ~gone] @ pixels[:, ~gone].T)).T
    return torch.from_numpy(filled).view_as(x).to(x)


@lru_cache(maxsize=4)
def _laplacian(height: int, width: int) -> Any:
    """The matrix of d_i x_i - sum_n w_n x_n of all pixels."""
    from scipy.sparse import coo_matrix, diags

    number = np.arange(height * width).reshape(height, width)
    pairs = [
        (number[:, :-1], number[:, 1:], BESIDE),
        (number[:-1], number[1:], BESIDE),
        (number[:-1, :-1], number[1:, 1:], ACROSS),
        (number[:-1, 1:], number[1:, :-1], ACROSS),
    ]
    one = np.concatenate([a.ravel() for a, _, _ in pairs])
    other = np.concatenate([b.ravel() for _, b, _ in pairs])
    weight = np.concatenate([np.full(a.size, w) for a, _, w in pairs])
    shape = (height * width, height * width)
    half = coo_matrix((weight, (one, other)), shape).tocsr()
    near = half + half.T
    return (diags(np.asarray(near.sum(1)).ravel()) - near).tocsr()
